# SPDX-License-Identifier: Apache-2.0
"""The history of the schema: each step once, in order, in one transaction.

A step is never edited after it was released. To change the schema, change `schema.py` and append
a function here that brings an existing database to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import Connection

from fleet.errors import FleetError
from fleet.store import schema

# Number of any lock that no other program of the database takes: "fleet" in ASCII.
MIGRATION_LOCK = 0x666C656574


def _first(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(schema.audit_head.insert(), {"one": 1, "id": 0, "hash": "0" * 64})


def _federated(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(schema.training_jobs.insert(), {"one": 1, "next": 1})


def _broker_bytes(connection: Connection) -> None:
    table = schema.federated_round
    present = {c["name"] for c in inspect(connection).get_columns(table.name)}
    for column in ("broker_received", "broker_sent"):
        if column not in present:
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column} BIGINT"))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first, _federated, _broker_bytes)


def migrate(connection: Connection) -> None:
    """Brings the database to the present version.

    Raises:
        FleetError: it was written by a newer version of the program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": MIGRATION_LOCK})
    table = schema.schema_version
    present = 0
    if inspect(connection).has_table(table.name):
        present = connection.scalar(select(func.max(table.c.version))) or 0
    if present > len(MIGRATIONS):
        raise FleetError(
            f"the database has version {present} of the schema, this program knows "
            f"{len(MIGRATIONS)}",
            "Use the version of the program that wrote it, or a newer one.",
        )
    for number, change in enumerate(MIGRATIONS[present:], start=present + 1):
        change(connection)
        connection.execute(table.insert(), {"version": number, "applied_at": time.time()})
