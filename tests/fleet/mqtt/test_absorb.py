# SPDX-License-Identifier: Apache-2.0
"""What becomes of messages, good and bad, on both databases."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from fleet.home import Home
from fleet.mqtt.ingest import absorb_all
from fleet.mqtt.link import Incoming
from fleet.service import devices
from fleet.store import audit, schema
from fleet.wire import messages as m
from fleet.wire.topics import ROOT

DIGEST = bytes(range(32))


def hello(boot_id: int = 1, seq: int = 0, **changes: object) -> m.Hello:
    fields: dict[str, object] = {
        "boot_id": boot_id, "seq": seq, "protocol": 1, "vendor": "generic", "hardware": "posix",
        "firmware": "1.0", "abi": 2**64 - 1, "opset": 3, "arena_bytes": 5000, "slot_bytes": 9000,
        "packet_bytes": 2048, "model": m.ModelInfo(digest=DIGEST, sequence=0,
                                                   state=m.SlotState.CONFIRMED),
        "can_rollback": False, "reset_reason": m.ResetReason.POWER_ON, "resets": 0,
        "twin_version": 0, "sensors": ("microphone",), **changes,
    }  # fmt: skip
    return m.Hello(**fields)


def report(boot_id: int = 1, seq: int = 1) -> m.Report:
    return m.Report(boot_id=boot_id, seq=seq, uptime_s=1, model_sequence=0, inferences=seq)


def incoming(message: m.Message | bytes, channel: str, device: str = "a") -> Incoming:
    payload = message if isinstance(message, bytes) else message.encode()
    return Incoming(f"{ROOT}/default/{device}/up/{channel}", payload, time.time(), 1, 1)


def count(home: Home, table) -> int:
    with home.store.read() as connection:
        return connection.scalar(select(func.count()).select_from(table))


@pytest.fixture
def known(home: Home) -> Home:
    devices.add(home, "default", ["a", "b"], "test", tags={"site": "hall"})
    return home


def test_a_hello_fills_the_device(known):
    absorb_all(known.store, [incoming(hello(), "hello")])
    shown = devices.shown(known, "default", "a")
    assert (shown["state"], shown["online"], shown["boots"]) == ("active", True, 1)
    assert shown["abi"] == "ffffffffffffffff"
    assert shown["sensors"] == ["microphone"]
    assert shown["model_digest"] == DIGEST.hex()
    listed = devices.listed(known, "default", ["class=posix", "tag.site=hall", "online=true"])
    assert [d["device"] for d in listed] == ["a"]
    assert [d["device"] for d in devices.listed(known, "default", ["sensor!=microphone"])] == ["b"]


def test_duplicates_change_nothing(known):
    batch = [incoming(hello(), "hello"), incoming(report(), "report")]
    absorb_all(known.store, batch + batch)
    absorb_all(known.store, batch)
    assert count(known, schema.telemetry) == 1
    assert count(known, schema.inbox) == 1
    with known.store.read() as connection:
        actions = [e["action"] for e in audit.entries(connection)]
    assert actions.count("device.activated") == 1


def test_the_will_of_an_earlier_boot_is_not_believed(known):
    absorb_all(known.store, [incoming(hello(7), "hello")])
    gone = incoming(m.Presence(boot_id=6, online=False), "presence")
    absorb_all(known.store, [gone])
    assert devices.shown(known, "default", "a")["online"]
    absorb_all(known.store, [incoming(m.Presence(boot_id=7, online=False), "presence")])
    assert not devices.shown(known, "default", "a")["online"]
    assert count(known, schema.dead_letter) == 0


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (incoming(b"", "hello"), "no CBOR"),
        (incoming(b"\xff" * 9, "report"), "CBOR"),
        (incoming(b"\xa0", "report"), "boot_id is missing"),
        (incoming(hello(), "report"), "Report"),
        (incoming(hello(), "hello", "nobody"), "not registered"),
        (Incoming("elsewhere", b"", 0.0, 1, 1), "no topic"),
        (Incoming(f"{ROOT}/default/a/up/blob", b"", 0.0, 1, 1), "no topic"),
        (Incoming(f"{ROOT}/default/A\0/up/hello", b"", 0.0, 1, 1), "no topic"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_messages_are_kept_and_told(known, message, why):
    good = incoming(report(), "report")
    result = absorb_all(known.store, [message, good, message])
    assert result.received["report"] == 1
    assert sum(result.refused.values()) == 2
    with known.store.read() as connection:
        dead = list(connection.execute(select(schema.dead_letter)).mappings())
        entries = [e for e in audit.entries(connection) if e["action"] == "message.refused"]
    assert [d["payload"] for d in dead] == [message.payload] * 2
    assert why in dead[0]["reason"]
    assert len(entries) == 1  # one line for all of a kind
    assert entries[0]["detail"]["count"] == 2
    assert count(known, schema.telemetry) == 1


def test_a_revoked_device_is_refused(known):
    devices.revoke(known, "default", "a", "test")
    result = absorb_all(known.store, [incoming(report(), "report"), incoming(hello(), "hello")])
    assert result.refused["revoked"] == 2
    assert count(known, schema.telemetry) == 0
    assert devices.shown(known, "default", "a")["state"] == "revoked"


def test_texts_that_a_database_may_not_hold(known):
    line = m.Log(boot_id=1, seq=3, uptime_s=0, severity=m.Severity.ERROR, text="a\0b")
    absorb_all(known.store, [incoming(line, "log"), incoming(hello(firmware="1\0"), "hello")])
    assert count(known, schema.log) == 1
    assert devices.shown(known, "default", "a")["firmware"] == "1"


@given(payloads=st.lists(st.binary(max_size=40), max_size=5), channel=st.sampled_from(
    ["hello", "presence", "twin", "job", "report", "log", "rpc"]))  # fmt: skip
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_accounted_for(known, payloads, channel):
    before = count(known, schema.dead_letter)
    result = absorb_all(known.store, [incoming(p, channel) for p in payloads])
    received, refused = sum(result.received.values()), sum(result.refused.values())
    assert received + refused == len(payloads)
    assert count(known, schema.dead_letter) == before + refused


def test_one_message_that_breaks_a_transaction_does_not_take_others_along(known, monkeypatch):
    from fleet.mqtt import absorb as module

    real = module.telemetry.add_reports

    def broken(connection, rows):
        if any(r["seq"] == 5 for r in rows):
            raise ValueError("cannot be kept")
        real(connection, rows)

    monkeypatch.setattr(module.telemetry, "add_reports", broken)
    result = absorb_all(known.store, [incoming(report(seq=s), "report") for s in range(9)])
    assert result.received["report"] == 8
    assert result.refused["unprocessable"] == 1
    assert count(known, schema.telemetry) == 8
    assert count(known, schema.dead_letter) == 1


def test_large_payloads_are_kept_in_part(known):
    absorb_all(known.store, [incoming(os.urandom(10_000), "report")])
    with known.store.read() as connection:
        assert len(connection.scalar(select(schema.dead_letter.c.payload))) == 4096
