# SPDX-License-Identifier: Apache-2.0
"""The audit trail: append-only, each entry carrying the hash of all before it.

hash(n) = SHA-256(hash(n-1) as hex, then the entry as JSON with sorted keys and no spaces). Who
changes, removes or inserts an entry must recompute every later one, and the last hash is shown by
`fleet audit verify` so that it can be kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from fleet.errors import FleetError
from fleet.store import schema

START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """What happened.

    Args:
        action: for example "rollout.started".
        subject: what it happened to, for example "rollout/3".
        actor: who did it: a person, "server", or "device/NAME".
        tenant: whose.
        detail: anything JSON holds.
    """

    action: str
    subject: str
    actor: str = "server"
    tenant: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def append(connection: Connection, entries: Sequence[Entry], now: float | None = None) -> None:
    """Adds entries in the caller's transaction, which holds the end of the chain until it ends."""
    if not entries:
        return
    at = time.time() if now is None else now
    head = schema.audit_head
    number, last = connection.execute(
        select(head.c.id, head.c.hash).where(head.c.one == 1).with_for_update()
    ).one()
    rows = []
    for entry in entries:
        number += 1
        row: dict[str, Any] = {
            "id": number,
            "at": at,
            "tenant": entry.tenant,
            "actor": entry.actor[:64],
            "action": entry.action,
            "subject": entry.subject[:160],
            "detail": dict(entry.detail),
        }
        last = _hash(last, row)
        rows.append({**row, "hash": last})
    connection.execute(schema.audit.insert(), rows)
    connection.execute(head.update().where(head.c.one == 1).values(id=number, hash=last))


def _hash(last: str, row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256((last + text).encode()).hexdigest()


def entries(
    connection: Connection, after: int = 0, subject: str = "", limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Entries in order, with their hashes.

    Args:
        after: number of the entry before the first wanted.
        subject: only those about it or below it.
        limit: at most this many.
    """
    table = schema.audit
    query = select(table).where(table.c.id > after).order_by(table.c.id)
    if subject:
        query = query.where(
            (table.c.subject == subject)
            | table.c.subject.startswith(f"{subject}/", autoescape=True)
        )
    if limit is not None:
        query = query.limit(limit)
    for row in connection.execution_options(yield_per=1000).execute(query):
        yield dict(row._mapping)


def latest(connection: Connection, count: int) -> list[dict[str, Any]]:
    """The newest entries, oldest of them first."""
    query = select(schema.audit).order_by(schema.audit.c.id.desc()).limit(count)
    return [dict(row._mapping) for row in connection.execute(query)][::-1]


def verify(connection: Connection) -> tuple[int, str]:
    """Recomputes the chain.

    Returns:
        How many entries there are and the last hash.

    Raises:
        FleetError: an entry was changed, removed or inserted; it names the first.
    """
    last, expected = START, 0
    for row in entries(connection):
        expected += 1
        stated = row.pop("hash")
        if row["id"] != expected:
            raise FleetError(f"the audit trail is broken: entry {expected} is missing")
        last = _hash(last, row)
        if last != stated:
            raise FleetError(f"the audit trail is broken: entry {expected} was changed")
    head = schema.audit_head
    number, kept = connection.execute(select(head.c.id, head.c.hash)).one()
    if (number, kept) != (expected, last):
        raise FleetError(
            f"the audit trail is broken: it ends at entry {expected}, but {number} were written"
        )
    return expected, last
