# SPDX-License-Identifier: Apache-2.0
"""Connections and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import QueuePool

from fleet.errors import FleetError
from fleet.store.migrations import migrate

__all__ = ["Connection", "Store"]

# Writers of other processes are waited for this long.
LOCK_TIMEOUT_S = 30


class Store:
    """A database.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``.

    Raises:
        FleetError: the URL is none, its driver is missing, the database cannot be reached, or it
            was written by a newer version of the program.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        try:
            with self._engine.connect() as connection:
                self.dialect = connection.dialect.name
            with self.write() as connection:
                migrate(connection)
        except OperationalError as error:
            raise FleetError(
                f"the database {_shown(url)} cannot be used: {error.orig}",
                "Check database in fleet.toml, and that the server runs.",
            ) from None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block and leaves nothing on an error.

        On SQLite there is one writer at a time; the others wait.
        """
        with self._engine.connect() as connection:
            connection.execution_options(fleet_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that blocks nobody."""
        with self._engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FleetError(
            f"{url!r} is no database URL", "Use sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(
            parsed, poolclass=QueuePool, connect_args={"timeout": LOCK_TIMEOUT_S}
        )
        _prepare_sqlite(engine)
        return engine
    if backend == "postgresql":
        try:
            return sqlalchemy.create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True
            )
        except ModuleNotFoundError:
            raise FleetError(
                "PostgreSQL needs the package psycopg", "Install tinyml-toolchain[postgresql]."
            ) from None
    raise FleetError(f"{backend} is no supported database", "Use SQLite or PostgreSQL.")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        # The driver's own transactions begin late and deferred: take them into our hands.
        connection.isolation_level = None
        # With WAL, NORMAL loses no committed row when the process dies; FULL also when power goes,
        # and the broker was told that we have the message.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A reader that turns writer half-way would fail; a writer says so at once.
        writes = connection.get_execution_options().get("fleet_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
