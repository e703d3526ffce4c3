# SPDX-License-Identifier: Apache-2.0
"""Devices: add, list, show, tag, revoke, restore."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.engine import Connection, RowMapping

from fleet.domain import registry
from fleet.domain.names import check_id
from fleet.domain.registry import DeviceState
from fleet.domain.selector import Term, parse
from fleet.errors import ConflictError, InvalidError, NotFoundError
from fleet.home import Home
from fleet.keys import Authority, new_password, password_verifier
from fleet.mqtt import broker
from fleet.store import audit, devices, queues, rollouts, schema, twins
from fleet.store.audit import Entry
from fleet.wire import topics
from fleet.wire.messages import RpcCommand, RpcRequest

Kind = Literal["password", "certificate"]
# A device that is away for longer is not asked.
CALL_S = 60.0


@dataclass(frozen=True)
class Credential:
    """What a device needs to connect; shown once, kept nowhere.

    Args:
        device: its name, which is its user name.
        password: for the password port.
        certificate, key: PEM, for the certificate port.
    """

    tenant: str
    device: str
    password: str = ""
    certificate: bytes = b""
    key: bytes = b""


def add(
    home: Home,
    tenant: str,
    names: Sequence[str],
    actor: str,
    kind: Kind = "password",
    tags: Mapping[str, str] | None = None,
) -> list[Credential]:
    """Registers devices and makes their credentials.

    Raises:
        InvalidError: a name or tag cannot be used.
        ConflictError: a name is taken; nothing was added.
    """
    for name in names:
        check_id("device name", name)
    if len(set(names)) != len(names):
        raise ConflictError("a name is given twice")
    if broker.WORKER in names:
        raise ConflictError(f"{broker.WORKER} is the server's own name")
    check_tags(tags or {})
    made = [_credential(home, tenant, name, kind) for name in names]
    now = time.time()
    rows = [
        {
            "tenant": tenant,
            "name": credential.device,
            "state": DeviceState.REGISTERED.value,
            "credential": kind,
            "verifier": verifier,
            "tags": dict(tags or {}),
            "created_at": now,
        }
        for credential, verifier in made
    ]
    with home.store.write() as connection:
        taken = _taken(connection, names)
        if taken:
            raise ConflictError(
                f"device {taken[0]} exists"
                + (f", and {len(taken) - 1} more of these" if len(taken) > 1 else ""),
                "New credentials for an existing device: fleet device rotate",
            )
        devices.insert(connection, rows)
        audit.append(
            connection,
            [
                Entry("device.added", f"device/{n}", actor, tenant, {"credential": kind})
                for n in names
            ],
        )
        queues.put_outbox(connection, [queues.Change("device", tenant, n) for n in names])
    refresh_broker(home)
    return [credential for credential, _ in made]


def _credential(home: Home, tenant: str, name: str, kind: Kind) -> tuple[Credential, str]:
    if kind == "password":
        password = new_password()
        return Credential(tenant, name, password), password_verifier(password)
    issued = Authority(home.keys).issue_device(name)
    return Credential(tenant, name, "", issued.certificate, issued.key), issued.serial


def _taken(connection: Connection, names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(names), devices.CHUNK):
        query = select(schema.device.c.name).where(
            schema.device.c.name.in_(names[start : start + devices.CHUNK])
        )
        found += connection.scalars(query)
    return sorted(found)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidError unless tags can be kept and selected by."""
    for name, value in tags.items():
        if not name or len(name) > 32 or not name.replace("-", "").replace("_", "").isalnum():
            raise InvalidError(f"{name!r} is no tag: use letters, digits, - and _, at most 32")
        if len(value) > 128:
            raise InvalidError(f"the tag {name} is longer than 128 characters")


def password_verifiers(connection: Connection) -> tuple[list[tuple[str, str]], list[str]]:
    """For the broker: hashes of valid passwords by device, and serials of revoked certificates."""
    table = schema.device
    query = select(table.c.name, table.c.verifier, table.c.credential, table.c.state)
    passwords, revoked = [], []
    for name, verifier, kind, state in connection.execute(query.order_by(table.c.name)):
        if kind == "password" and state != DeviceState.REVOKED:
            passwords.append((name, verifier))
        if kind == "certificate" and state == DeviceState.REVOKED:
            revoked.append(verifier)
    withdrawn = connection.scalars(select(schema.revoked_certificate.c.serial))
    return passwords, sorted({*revoked, *withdrawn})


def refresh_broker(home: Home) -> None:
    """Brings the broker's files in line with the database and makes it read them."""
    with home.store.read() as connection:
        passwords, revoked = password_verifiers(connection)
    broker.write_passwords(home, passwords)
    broker.write_revocations(home, Authority(home.keys).revocations(revoked))
    broker.reload(home)


def revoke(home: Home, tenant: str, name: str, actor: str) -> None:
    """Withdraws the credentials of a device; the broker ends its connection.

    Raises:
        NotFoundError, ConflictError: there is none, or it is revoked already.
    """
    _change(home, tenant, name, actor, registry.Revoke())
    refresh_broker(home)


def rotate(home: Home, tenant: str, name: str, actor: str) -> Credential:
    """New credentials for a device, revoked or not; the old ones end.

    Raises:
        NotFoundError: there is none.
    """
    with home.store.read() as connection:
        row = find(connection, tenant, name)
    kind: Kind = "certificate" if row["credential"] == "certificate" else "password"
    credential, verifier = _credential(home, tenant, name, kind)
    if row["state"] == DeviceState.REVOKED:
        _change(home, tenant, name, actor, registry.Restore())
    with home.store.write() as connection:
        if kind == "certificate":
            connection.execute(schema.revoked_certificate.insert(), {"serial": row["verifier"]})
        devices.update(connection, row["id"], verifier=verifier)
        audit.append(connection, [Entry("device.rotated", f"device/{name}", actor, tenant)])
    refresh_broker(home)
    return credential


def _change(
    home: Home, tenant: str, name: str, actor: str, event: registry.Revoke | registry.Restore
) -> None:
    with home.store.write() as connection:
        row = find(connection, tenant, name)
        device = as_domain(row)
        after, effects = registry.step(device, event, time.time())
        devices.update(connection, row["id"], state=after.state.value)
        devices.set_presence(connection, [presence_row(row["id"], after)])
        notes = [e.action for e in effects if isinstance(e, registry.Note)]
        audit.append(connection, [Entry(a, f"device/{name}", actor, tenant) for a in notes])
        queues.put_outbox(connection, [queues.Change("device", tenant, name)])


def tag(
    home: Home, tenant: str, name: str, changes: Mapping[str, str | None], actor: str
) -> dict[str, str]:
    """Sets tags of a device; None removes one. Returns all of them."""
    check_tags({k: v for k, v in changes.items() if v is not None})
    with home.store.write() as connection:
        row = find(connection, tenant, name)
        tags = {**row["tags"], **changes}
        kept = {k: v for k, v in tags.items() if v is not None}
        devices.update(connection, row["id"], tags=kept)
        audit.append(
            connection,
            [Entry("device.tagged", f"device/{name}", actor, tenant, {"tags": dict(changes)})],
        )
        queues.put_outbox(connection, [queues.Change("device", tenant, name)])
    return kept


def find(connection: Connection, tenant: str, name: str) -> RowMapping:
    """A device.

    Raises:
        NotFoundError: there is none of this name.
    """
    rows = devices.by_names(connection, tenant, [name])
    if name not in rows:
        raise NotFoundError(f"there is no device {name}", "fleet device list shows them.")
    return rows[name]


def listed(
    home: Home,
    tenant: str,
    conditions: Iterable[str] = (),
    after: str = "",
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Devices that fulfil all conditions, by name."""
    with home.store.read() as connection:
        terms = resolve(connection, tenant, conditions)
        rows = devices.matching(connection, tenant, terms, after, limit)
        return [summary(row) for row in rows]


def resolve(connection: Connection, tenant: str, conditions: Iterable[str]) -> list[Term]:
    """Conditions as terms; one that names a dynamic group becomes that group's conditions.

    Raises:
        InvalidError: a condition cannot be understood.
        NotFoundError: a group does not exist.
    """
    terms: list[Term] = []
    for text in conditions:
        term = parse(text)
        if term.field == "group":
            group = devices.group_named(connection, tenant, str(term.value))
            if group is None:
                raise NotFoundError(f"there is no group {term.value}", "fleet group list")
            if group["conditions"] is not None:
                if term.operator != "=":
                    raise InvalidError(
                        f"{term.value} is a dynamic group: only = can be used with it"
                    )
                terms += [parse(c) for c in group["conditions"]]
                continue
        terms.append(term)
    return terms


def summary(row: RowMapping) -> dict[str, Any]:
    """The columns people list."""
    return {
        "device": row["name"],
        "state": row["state"],
        "online": bool(row["online"]),
        "last_seen": row["last_seen"],
        "class": row["hardware"],
        "firmware": row["firmware"],
        "model": row["model_digest"],
        "sequence": row["model_sequence"],
        "tags": row["tags"],
    }


def shown(home: Home, tenant: str, name: str) -> dict[str, Any]:
    """All that is known of one device: hello, presence, twin, rollouts."""
    with home.store.read() as connection:
        row = find(connection, tenant, name)
        number = row["id"]
        twin = twins.load(connection, [number])[number]
        hidden = ("id", "verifier", "name", "hardware", "last_job", "born_id")
        plain = {k: v for k, v in row.items() if k not in hidden}
        return {
            "device": name,
            "class": row["hardware"],
            **plain,
            "sensors": devices.sensors(connection, number),
            "twin": twin_as_json(twin),
            "rollouts": [
                {
                    "rollout": a.rollout_id,
                    "wave": a.wave + 1,
                    "state": a.assignment.state.value,
                    "reason": a.assignment.reason,
                }
                for a in rollouts.of_devices(connection, [number]).get(number, [])
            ],
        }


def twin_as_json(twin: Any) -> dict[str, Any]:
    """Both halves of a twin."""
    return {
        "desired": dict(twin.desired),
        "version": twin.version,
        "reported": dict(twin.reported),
        "applied": twin.applied,
        "reason": twin.reason,
        "in_sync": twin.in_sync,
    }


def as_domain(row: RowMapping) -> registry.Device:
    """A row of device and presence as the domain's type."""
    return registry.Device(
        DeviceState(row["state"]),
        bool(row["online"]),
        row["boot_id"],
        row["born_id"],
        row["last_seen"],
        row["boots"],
    )


def presence_row(device_id: int, device: registry.Device) -> dict[str, Any]:
    """The presence half of it."""
    return {
        "device_id": device_id,
        "online": device.online,
        "boot_id": device.boot_id,
        "last_seen": device.last_seen,
    }


def call(home: Home, tenant: str, name: str, command: str, actor: str) -> int:
    """Asks a device to do something; its answer comes to the audit trail.

    Args:
        command: ping, rebirth, report, reboot or forget_adaptation.

    Returns:
        The number of the call, which the answer repeats.

    Raises:
        NotFoundError, InvalidError: there is no such device or command.
    """
    try:
        chosen = RpcCommand[command.upper().replace("-", "_")]
    except KeyError:
        known = ", ".join(c.name.lower() for c in RpcCommand)
        raise InvalidError(f"devices know no {command}", f"They know {known}.") from None
    number = secrets.randbits(32)
    with home.store.write() as connection:
        find(connection, tenant, name)
        request = RpcRequest(call=number, command=chosen)
        topic = topics.down(tenant, name, "rpc")
        queues.put_outgoing(connection, [queues.Outgoing(topic, request.encode(), CALL_S)])
        detail = {"command": chosen.name.lower(), "call": number}
        audit.append(connection, [Entry("device.called", f"device/{name}", actor, tenant, detail)])
    return number
