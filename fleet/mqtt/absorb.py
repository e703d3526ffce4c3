# SPDX-License-Identifier: Apache-2.0
"""From messages of devices to rows: one batch, one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from fleet.domain import registry
from fleet.domain.registry import Device
from fleet.mqtt.link import Incoming
from fleet.service.devices import as_domain, presence_row
from fleet.store import audit, devices, queues, telemetry
from fleet.store.audit import Entry
from fleet.store.queues import Change
from fleet.wire import Message, WireError, decode, topics
from fleet.wire.messages import (
    Hello,
    JobStatus,
    Log,
    ModelInfo,
    Presence,
    Report,
    RpcReply,
    SlotState,
    TwinReported,
)

# Channels that ingest subscribes to, and their messages. `presence` is not shared among workers:
# the broker gives retained messages to plain subscriptions only.
KINDS: dict[str, type[Message]] = {
    "hello": Hello,
    "presence": Presence,
    "twin": TwinReported,
    "job": JobStatus,
    "report": Report,
    "log": Log,
    "rpc": RpcReply,
}
# A last_seen that is this old is written again: not each message needs a write.
LAST_SEEN_S = 5.0
PAYLOAD_KEPT = 4096


@dataclass
class Absorbed:
    """What became of a batch.

    Args:
        received: messages by channel.
        refused: dead letters by reason.
    """

    received: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass
class _One:
    incoming: Incoming
    address: topics.Address
    message: Any
    row: RowMapping


def absorb(connection: Connection, batch: Sequence[Incoming]) -> Absorbed:
    """Writes everything that a batch says.

    Messages that are none, of unknown devices or of revoked ones, become dead letters with an
    audit entry; repeated ones change nothing.
    """
    result = Absorbed()
    dead: list[tuple[Incoming, str, str]] = []
    understood: list[tuple[Incoming, topics.Address, Message]] = []
    for incoming in batch:
        try:
            address = topics.parse(incoming.topic)
            kind = KINDS[address.channel]
            understood.append((incoming, address, decode(kind, incoming.payload)))
        except (ValueError, KeyError) as error:
            why = str(error) if isinstance(error, WireError) else "no topic of ingest"
            dead.append((incoming, "bad_message", why))
    rows = _rows(connection, understood)
    known: list[_One] = []
    for incoming, address, message in understood:
        row = rows.get((address.tenant, address.device))
        if row is None:
            dead.append((incoming, "unknown_device", "the device is not registered"))
        else:
            known.append(_One(incoming, address, message, row))
    work = _Batch(connection)
    for one in work.fresh(known):
        refusal = work.take(one)
        if refusal:
            dead.append((one.incoming, "revoked", refusal))
        else:
            result.received[one.address.channel] += 1
    work.flush()
    _bury(connection, dead)
    result.refused.update(reason for _, reason, _ in dead)
    return result


def bury(connection: Connection, incoming: Incoming, why: str) -> None:
    """Keeps one message that broke its transaction."""
    _bury(connection, [(incoming, "unprocessable", why)])


def _rows(
    connection: Connection, understood: Sequence[tuple[Incoming, topics.Address, Message]]
) -> dict[tuple[str, str], RowMapping]:
    names: dict[str, set[str]] = {}
    for _, address, _ in understood:
        names.setdefault(address.tenant, set()).add(address.device)
    found = {}
    for tenant, wanted in names.items():
        for name, row in devices.by_names(connection, tenant, sorted(wanted)).items():
            found[(tenant, name)] = row
    return found


def _bury(connection: Connection, dead: Sequence[tuple[Incoming, str, str]]) -> None:
    telemetry.add_dead_letters(
        connection,
        [
            {
                "received_at": i.at,
                "topic": i.topic.replace("\0", "\ufffd")[:1000],
                "payload": i.payload[:PAYLOAD_KEPT],
                "reason": f"{reason}: {why}".replace("\0", "\ufffd")[:1000],
            }
            for i, reason, why in dead
        ],
    )
    # One entry for all of a kind: a device gone mad must not drown the trail.
    counts = Counter((i.topic.replace("\0", "\ufffd"), reason) for i, reason, _ in dead)
    first = {(i.topic.replace("\0", "\ufffd"), reason): why for i, reason, why in reversed(dead)}
    audit.append(
        connection,
        [
            Entry(
                "message.refused",
                f"topic/{topic}",
                detail={"reason": reason, "why": first[(topic, reason)][:300], "count": n},
            )
            for (topic, reason), n in counts.items()
        ],
    )


class _Batch:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._devices: dict[int, tuple[Device, Device]] = {}  # before, now
        self._reports: list[dict[str, Any]] = []
        self._logs: list[dict[str, Any]] = []
        self._inbox: list[dict[str, Any]] = []
        self._columns: dict[int, dict[str, Any]] = {}
        self._sensors: dict[int, tuple[str, ...]] = {}
        self._rows: dict[int, RowMapping] = {}
        self._entries: list[Entry] = []
        self._changes: list[Change] = []

    def fresh(self, known: Sequence[_One]) -> list[_One]:
        """Those that were not seen before; telemetry's own key tells its duplicates."""
        marks = {
            (o.row["id"], o.message.boot_id, o.message.seq): o.incoming.at
            for o in known
            if not isinstance(o.message, Presence | Report | Log)
        }
        new = telemetry.first_time(
            self._connection,
            [
                {"device_id": d, "boot_id": b, "seq": s, "received_at": at}
                for (d, b, s), at in sorted(marks.items())
            ],
        )
        kept = []
        for one in known:
            if isinstance(one.message, Presence | Report | Log):
                kept.append(one)
                continue
            key = (one.row["id"], one.message.boot_id, one.message.seq)
            if key in new:
                new.discard(key)
                kept.append(one)
        return kept

    def take(self, one: _One) -> str:
        """Takes one message in; returns why it is refused, empty if it is not."""
        number = one.row["id"]
        self._rows[number] = one.row
        before, device = self._devices.setdefault(number, (as_domain(one.row),) * 2)
        message = one.message
        event: registry.Event
        match message:
            case Hello():
                event = registry.Hello(message.boot_id)
            case Presence():
                event = registry.Presence(message.boot_id, message.online)
            case _:
                event = registry.Seen(message.boot_id)
        after, effects = registry.step(device, event, one.incoming.at)
        for effect in effects:
            match effect:
                case registry.Refuse(why):
                    return why
                case registry.Ignore():
                    return ""
                case registry.Note(action):
                    self._note(one, action, {})
        if after.online != device.online:
            self._changes.append(Change("device", one.address.tenant, one.address.device))
        self._devices[number] = (before, after)
        self._HANDLERS[type(message)](self, one, message)
        return ""

    def _note(self, one: _One, action: str, detail: dict[str, Any]) -> None:
        name, tenant = one.address.device, one.address.tenant
        self._entries.append(Entry(action, f"device/{name}", f"device/{name}", tenant, detail))

    def _put(self, one: _One, kind: str, body: dict[str, Any]) -> None:
        self._inbox.append({"kind": kind, "device_id": one.row["id"], "body": body})

    def _hello(self, one: _One, message: Hello) -> None:
        number = one.row["id"]
        columns = {
            "vendor": message.vendor,
            "hardware": message.hardware,
            "firmware": message.firmware.replace("\0", ""),
            "abi": f"{message.abi:016x}",
            "opset": f"{message.opset:016x}",
            "arena_bytes": message.arena_bytes,
            "slot_bytes": message.slot_bytes,
            "packet_bytes": message.packet_bytes,
            "can_rollback": message.can_rollback,
            "reset_reason": message.reset_reason.name.lower(),
            "resets": message.resets,
            "learning": None
            if message.learning is None
            else {
                "abi": f"{message.learning.abi:016x}",
                "parameters": message.learning.parameters,
                "clips": bool(message.learning.clips),
            },
            **_models(message.model, message.passive),
        }
        self._columns.setdefault(number, {}).update(columns)
        self._sensors[number] = message.sensors or ()
        self._put(
            one,
            "hello",
            {
                "digest": message.model.digest.hex(),
                "confirmed": message.model.state is SlotState.CONFIRMED,
                "applied": message.twin_version,
            },
        )

    def _twin(self, one: _One, message: TwinReported) -> None:
        self._columns.setdefault(one.row["id"], {}).update(_models(message.model, message.passive))
        reported: dict[str, Any] = {"report_interval_s": message.report_interval_s}
        if message.properties is not None:
            reported["properties"] = dict(message.properties)
        self._put(
            one,
            "twin",
            {
                "applied": message.version,
                "reason": message.reason.name.lower(),
                "reported": reported,
            },
        )

    def _job(self, one: _One, message: JobStatus) -> None:
        self._put(
            one,
            "job",
            {
                "job": message.job,
                "state": message.state.name.lower(),
                "reason": message.reason.name.lower(),
                "offset": message.offset or 0,
            },
        )

    def _report(self, one: _One, message: Report) -> None:
        self._reports.append(
            {
                "device_id": one.row["id"],
                "boot_id": message.boot_id,
                "seq": message.seq,
                "received_at": one.incoming.at,
                "body": one.incoming.payload,
            }
        )

    def _log(self, one: _One, message: Log) -> None:
        self._logs.append(
            {
                "device_id": one.row["id"],
                "boot_id": message.boot_id,
                "seq": message.seq,
                "received_at": one.incoming.at,
                "severity": message.severity.name.lower(),
                "text": message.text.replace("\0", "\ufffd"),
            }
        )

    def _rpc(self, one: _One, message: RpcReply) -> None:
        detail = {"call": message.call, "reason": message.reason.name.lower()}
        self._note(one, "device.answered", detail)

    def _nothing(self, one: _One, message: Presence) -> None:
        """Presence is all in the registry's step."""

    _HANDLERS: dict[type, Callable[[_Batch, _One, Any], None]] = {  # noqa: RUF012
        Hello: _hello,
        Presence: _nothing,
        TwinReported: _twin,
        JobStatus: _job,
        Report: _report,
        Log: _log,
        RpcReply: _rpc,
    }

    def flush(self) -> None:
        """Writes everything, devices in order of their numbers."""
        connection = self._connection
        presence = []
        for number, (before, after) in sorted(self._devices.items()):
            columns = self._columns.get(number, {})
            columns.update(state=after.state.value, boots=after.boots, born_id=after.born_id)
            row = self._rows[number]
            changed = {k: v for k, v in columns.items() if row[k] != v}
            if changed:
                devices.update(connection, number, **changed)
                self._changes.append(Change("device", row["tenant"], row["name"]))
            stale = (after.last_seen or 0) - (before.last_seen or 0) >= LAST_SEEN_S
            if stale or (after.online, after.boot_id) != (before.online, before.boot_id):
                presence.append(presence_row(number, after))
        devices.set_presence(connection, presence)
        for number, kinds in sorted(self._sensors.items()):
            if kinds or self._devices[number][0].boots:
                devices.set_sensors(connection, number, kinds)
        telemetry.add_reports(connection, self._reports)
        telemetry.add_logs(connection, self._logs)
        queues.put_inbox(connection, self._inbox)
        queues.put_outbox(connection, self._changes)
        audit.append(connection, self._entries)


def _models(model: ModelInfo, passive: ModelInfo | None) -> dict[str, Any]:
    usable = passive is not None and passive.state not in (
        SlotState.EMPTY,
        SlotState.PARTIAL,
        SlotState.BAD,
    )
    return {
        "model_digest": model.digest.hex(),
        "model_sequence": model.sequence,
        "model_state": model.state.name.lower(),
        "passive_digest": passive.digest.hex() if passive is not None and usable else None,
        "passive_sequence": passive.sequence if passive is not None and usable else None,
    }
