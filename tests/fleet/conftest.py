# SPDX-License-Identifier: Apache-2.0
"""Databases and homes for tests of the fleet."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy

from fleet.home import BrokerConfig, Config, Home
from fleet.initialise import initialise


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """A PostgreSQL server for one run of the tests."""

    port: int
    user: str

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"fleet_{uuid.uuid4().hex[:12]}"
        admin = f"postgresql+psycopg://{self.user}@127.0.0.1:{self.port}/postgres"
        engine = sqlalchemy.create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"


def _postgres_programs() -> Path | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    found = shutil.which("pg_ctl")
    return Path(found).resolve().parent if found else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A private cluster on loopback; skipped when PostgreSQL is not installed."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    prefix: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-"))
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run PostgreSQL as")
        os.chown(folder, account.pw_uid, account.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]
    port, data = free_port(), folder / "data"
    run = {"check": True, "capture_output": True, "cwd": "/"}
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        subprocess.run([*prefix, programs / "initdb", "-D", data, "-A", "trust", "-U", user], **run)
        subprocess.run(
            [*prefix, programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log",
             "start"],
            **run,
        )  # fmt: skip
        yield Cluster(port, user)
    finally:
        subprocess.run(
            [*prefix, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"],
            capture_output=True,
            check=False,
            cwd="/",
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fleet.db'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.database()


def make_home(folder: Path, database: str = "sqlite:///fleet.db", insecure: bool = False) -> Home:
    """A home whose ports are free."""
    ports = {free_port() for _ in range(8)}
    config = Config(
        database=database,
        broker=BrokerConfig(
            port=ports.pop(),
            certificate_port=ports.pop(),
            worker_port=ports.pop(),
            insecure=insecure,
        ),
    )
    return initialise(folder, config, ["localhost", "127.0.0.1"])


@pytest.fixture
def home(tmp_path: Path, database: str) -> Iterator[Home]:
    """A new home, on each kind of database."""
    made = make_home(tmp_path / "home", database)
    yield made
    made.store.close()


@pytest.fixture
def plain_home(tmp_path: Path) -> Iterator[Home]:
    """A new home on SQLite."""
    made = make_home(tmp_path / "home")
    yield made
    made.store.close()
