# SPDX-License-Identifier: Apache-2.0
"""What devices report: kept as received, each (boot_id, seq) once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection, RowMapping

from fleet.store import schema
from fleet.store.upsert import Rows, insert_new, insert_returning_new

Key = tuple[int, int, int]


def add_reports(connection: Connection, rows: Rows) -> None:
    """Reports with device_id, boot_id, seq, received_at and body; known ones are skipped."""
    insert_new(connection, schema.telemetry, rows)


def add_logs(connection: Connection, rows: Rows) -> None:
    """Lines with device_id, boot_id, seq, received_at, severity and text."""
    insert_new(connection, schema.log, rows)


def first_time(connection: Connection, rows: Rows) -> set[Key]:
    """Marks messages as seen.

    Args:
        rows: with device_id, boot_id, seq and received_at.

    Returns:
        (device_id, boot_id, seq) of those that had not been seen before.
    """
    found = insert_returning_new(connection, schema.seen, rows)
    return {(int(d), int(b), int(s)) for d, b, s in found}


def add_dead_letters(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Messages with received_at, topic, payload and reason that could not be processed."""
    if rows:
        connection.execute(schema.dead_letter.insert(), list(rows))


def reports(
    connection: Connection,
    device_ids: Sequence[int] | None = None,
    since: float = 0,
    limit: int = 100,
) -> list[RowMapping]:
    """The newest reports received after ``since``, oldest of them first."""
    table = schema.telemetry
    query = (
        select(table)
        .where(table.c.received_at > since)
        .order_by(table.c.received_at.desc(), table.c.seq.desc())
        .limit(limit)
    )
    if device_ids is not None:
        query = query.where(table.c.device_id.in_(device_ids))
    return list(connection.execute(query).mappings())[::-1]


def logs(
    connection: Connection, device_ids: Sequence[int] | None = None, limit: int = 100
) -> list[RowMapping]:
    """The newest lines, oldest of them first."""
    table = schema.log
    query = select(table).order_by(table.c.received_at.desc(), table.c.seq.desc()).limit(limit)
    if device_ids is not None:
        query = query.where(table.c.device_id.in_(device_ids))
    return list(connection.execute(query).mappings())[::-1]


def count(connection: Connection) -> int:
    """Reports kept."""
    return connection.scalar(select(func.count()).select_from(schema.telemetry)) or 0


def prune(connection: Connection, before: float) -> None:
    """Removes reports, lines and marks received before ``before``."""
    for table in (schema.telemetry, schema.log, schema.seen):
        connection.execute(delete(table).where(table.c.received_at < before))
