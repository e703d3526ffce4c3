# SPDX-License-Identifier: Apache-2.0
"""Insertion that minds what is there; both databases spell it alike, SQLAlchemy twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

Rows = Sequence[Mapping[str, Any]]


def _insert(connection: Connection, table: Table) -> Any:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _keys(table: Table) -> list[str]:
    return [c.name for c in table.primary_key.columns]


def upsert(connection: Connection, table: Table, rows: Rows, columns: Iterable[str]) -> None:
    """Inserts rows; of those whose primary key exists, sets ``columns``."""
    if rows:
        insert = _insert(connection, table)
        values = {name: insert.excluded[name] for name in columns}
        statement = insert.on_conflict_do_update(index_elements=_keys(table), set_=values)
        connection.execute(statement, list(rows))


def insert_new(connection: Connection, table: Table, rows: Rows) -> None:
    """Inserts the rows whose primary key does not exist yet."""
    if rows:
        statement = _insert(connection, table).on_conflict_do_nothing(index_elements=_keys(table))
        connection.execute(statement, list(rows))


def insert_returning_new(connection: Connection, table: Table, rows: Rows) -> set[tuple[Any, ...]]:
    """The same, and the primary keys of those that were new."""
    if not rows:
        return set()
    statement = (
        _insert(connection, table)
        .on_conflict_do_nothing(index_elements=_keys(table))
        .returning(*table.primary_key.columns)
    )
    return {tuple(row) for row in connection.execute(statement, list(rows))}
