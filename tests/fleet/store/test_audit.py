# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from fleet.errors import FleetError
from fleet.store import Store, audit, schema
from fleet.store.audit import Entry


def fill(store: Store, count: int, subject: str = "device/a") -> None:
    for number in range(count):
        with store.write() as connection:
            audit.append(connection, [Entry("tested", subject, detail={"n": number, "ü": 1.5})])


def test_a_whole_chain_verifies(database):
    store = Store(database)
    fill(store, 5)
    with store.read() as connection:
        count, last = audit.verify(connection)
        assert count == 5
        assert last == list(audit.entries(connection))[-1]["hash"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: update(t).where(t.c.id == 3).values(actor="nobody"),
        lambda t: update(t).where(t.c.id == 3).values(detail={"n": 2}),
        lambda t: t.delete().where(t.c.id == 3),
        lambda t: t.delete().where(t.c.id == 5),
        lambda t: update(t).where(t.c.id == 5).values(id=6),
    ],
)
def test_a_changed_chain_does_not(database, damage):
    store = Store(database)
    fill(store, 5)
    with store.write() as connection:
        connection.execute(damage(schema.audit))
    with store.read() as connection, pytest.raises(FleetError, match="broken"):
        audit.verify(connection)


def test_writers_do_not_fork_the_chain(database):
    store = Store(database)
    threads = [threading.Thread(target=fill, args=(store, 10, f"device/{i}")) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert audit.verify(connection)[0] == 40
        assert len(list(audit.entries(connection, subject="device/2"))) == 10


def test_what_fails_leaves_no_entry(database):
    store = Store(database)
    with pytest.raises(RuntimeError), store.write() as connection:
        audit.append(connection, [Entry("tested", "device/a")])
        raise RuntimeError
    with store.read() as connection:
        assert audit.verify(connection)[0] == 0
