# SPDX-License-Identifier: Apache-2.0
"""Tables that carry work from one transaction to the next, and leases on roles.

inbox: from ingest to the rollout engine. outgoing: to the broker. outbox: to the semantic graph.
A row is written by the transaction that decides, and removed by whoever has done it, so a process
may die at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection, RowMapping

from fleet.store import schema
from fleet.store.devices import CHUNK
from fleet.store.upsert import upsert


@dataclass(frozen=True)
class Outgoing:
    """A message to a device.

    Args:
        topic: of the broker.
        payload: encoded.
        lifetime_s: seconds after which it is worthless.
    """

    topic: str
    payload: bytes
    lifetime_s: float


@dataclass(frozen=True)
class Change:
    """A change that the semantic graph must follow.

    Args:
        kind: "device", "release", "rollout" or "round".
        tenant: whose.
        subject: the name of the device, the number of the release or rollout, RUN/NUMBER of a
            federated round.
    """

    kind: str
    tenant: str
    subject: str


def put_inbox(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with kind, device_id and body."""
    if rows:
        connection.execute(schema.inbox.insert(), list(rows))


def take_inbox(connection: Connection, limit: int) -> list[RowMapping]:
    """Removes the oldest rows and returns them; they come back if the transaction fails."""
    table = schema.inbox
    query = select(table).order_by(table.c.id).limit(limit).with_for_update(skip_locked=True)
    rows = list(connection.execute(query).mappings())
    _delete(connection, table, [r["id"] for r in rows])
    return rows


def put_outgoing(connection: Connection, messages: Sequence[Outgoing]) -> None:
    """Messages to send once this transaction is committed."""
    if messages:
        now = time.time()
        rows = [
            {"topic": m.topic, "payload": m.payload, "expires_at": now + m.lifetime_s}
            for m in messages
        ]
        connection.execute(schema.outgoing.insert(), rows)


def read_outgoing(connection: Connection, limit: int) -> list[RowMapping]:
    """The oldest unsent messages."""
    table = schema.outgoing
    query = select(table).order_by(table.c.id).limit(limit)
    return list(connection.execute(query).mappings())


def delete_outgoing(connection: Connection, ids: Sequence[int]) -> None:
    """Messages that the broker has, or that expired."""
    _delete(connection, schema.outgoing, ids)


def put_outbox(connection: Connection, changes: Sequence[Change]) -> None:
    """Changes for the graph, each once."""
    if changes:
        now = time.time()
        rows = [
            {"at": now, "kind": c.kind, "tenant": c.tenant, "subject": c.subject}
            for c in dict.fromkeys(changes)
        ]
        connection.execute(schema.outbox.insert(), rows)


def read_outbox(connection: Connection, limit: int = 1000) -> list[RowMapping]:
    """The oldest changes. Delete them when the graph has followed: see `delete_outbox`."""
    table = schema.outbox
    query = select(table).order_by(table.c.id).limit(limit)
    return list(connection.execute(query).mappings())


def delete_outbox(connection: Connection, ids: Sequence[int]) -> None:
    """Changes that the graph has followed."""
    _delete(connection, schema.outbox, ids)


def depths(connection: Connection) -> dict[str, int]:
    """Rows in each queue."""
    tables = (schema.inbox, schema.outgoing, schema.outbox, schema.dead_letter)
    return {t.name: connection.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


def hold(connection: Connection, role: str, holder: str, seconds: float) -> bool:
    """Whether ``holder`` has ``role`` for the next seconds.

    Asked in the transaction that acts in the role, it is a fence as well: the row stays locked
    until that transaction ends, so a holder that was thought dead cannot act at the same time.
    """
    table, now = schema.lease, time.time()
    query = select(table.c.holder, table.c.until).where(table.c.role == role).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is not None and row.holder != holder and row.until > now:
        return False
    upsert(
        connection,
        table,
        [{"role": role, "holder": holder, "until": now + seconds}],
        ("holder", "until"),
    )
    return True


def release(connection: Connection, role: str, holder: str) -> None:
    """Gives the role up."""
    table = schema.lease
    connection.execute(table.delete().where(table.c.role == role, table.c.holder == holder))


def _delete(connection: Connection, table: Any, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), CHUNK):
        connection.execute(table.delete().where(table.c.id.in_(ids[start : start + CHUNK])))
