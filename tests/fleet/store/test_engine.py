# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

import pytest

from fleet.errors import FleetError
from fleet.store import Store, queues, schema, telemetry
from fleet.store.devices import insert


def device(store: Store, name: str = "a") -> int:
    row = {"tenant": "t", "name": name, "state": "registered", "credential": "password",
           "verifier": "", "tags": {}, "created_at": 0.0}  # fmt: skip
    with store.write() as connection:
        insert(connection, [row])
        return connection.scalar(schema.device.select().where(schema.device.c.name == name))


def test_a_database_is_opened_again_and_a_newer_one_is_refused(database):
    Store(database).close()
    store = Store(database)
    with store.write() as connection:
        connection.execute(schema.schema_version.insert(), {"version": 99, "applied_at": 0})
    with pytest.raises(FleetError, match="version 99"):
        Store(database)


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "postgresql://nobody@127.0.0.1:1/none"])
def test_urls_that_lead_nowhere(url):
    with pytest.raises(FleetError):
        Store(url)


def test_a_report_is_kept_once(database):
    store = Store(database)
    number = device(store)
    row = {"device_id": number, "boot_id": 7, "seq": 1, "received_at": 1.0, "body": b"x"}
    for _ in range(2):
        with store.write() as connection:
            telemetry.add_reports(connection, [row, {**row, "seq": 2}])
            connection.execute(schema.outgoing.delete())
    with store.read() as connection:
        assert [r["seq"] for r in telemetry.reports(connection, [number])] == [1, 2]


def test_messages_are_new_once(database):
    store = Store(database)
    number = device(store)
    rows = [{"device_id": number, "boot_id": 1, "seq": s, "received_at": 0.0} for s in range(3)]
    with store.write() as connection:
        assert telemetry.first_time(connection, rows[:2]) == {(number, 1, 0), (number, 1, 1)}
        assert telemetry.first_time(connection, rows) == {(number, 1, 2)}
        assert telemetry.first_time(connection, []) == set()


def test_the_inbox_gives_each_row_to_one(database):
    store = Store(database)
    number = device(store)
    rows = [{"kind": "job", "device_id": number, "body": {"n": n}} for n in range(60)]
    with store.write() as connection:
        queues.put_inbox(connection, rows)
    taken: list[int] = []

    def work() -> None:
        while True:
            with store.write() as connection:
                batch = queues.take_inbox(connection, 7)
            if not batch:
                return
            taken.extend(r["body"]["n"] for r in batch)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(60))


def test_a_batch_that_fails_comes_back(database):
    store = Store(database)
    number = device(store)
    with store.write() as connection:
        queues.put_inbox(connection, [{"kind": "job", "device_id": number, "body": {}}])
    with pytest.raises(RuntimeError), store.write() as connection:
        assert len(queues.take_inbox(connection, 10)) == 1
        raise RuntimeError
    with store.write() as connection:
        assert len(queues.take_inbox(connection, 10)) == 1


def test_a_role_has_one_holder_until_its_lease_ends(database):
    store = Store(database)
    with store.write() as connection:
        assert queues.hold(connection, "rollout", "a", 0.2)
    with store.write() as connection:
        assert not queues.hold(connection, "rollout", "b", 5)
        assert queues.hold(connection, "rollout", "a", 0.2)
    time.sleep(0.3)
    with store.write() as connection:
        assert queues.hold(connection, "rollout", "b", 5)
        assert not queues.hold(connection, "rollout", "a", 5)
        queues.release(connection, "rollout", "b")
        assert queues.hold(connection, "rollout", "a", 5)
