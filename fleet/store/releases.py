# SPDX-License-Identifier: Apache-2.0
"""Artefacts and the releases that name them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection, RowMapping

from fleet.store import schema
from fleet.store.upsert import insert_new

_R = schema.release


def add_artefact(connection: Connection, digest: str, size: int, kind: str, now: float) -> None:
    """Notes that the bytes with this SHA-256 are in the artefact store."""
    row = {"digest": digest, "size": size, "kind": kind, "created_at": now}
    insert_new(connection, schema.artefact, [row])


def next_sequence(connection: Connection, tenant: str) -> int:
    """The sequence number of the tenant's next release."""
    highest = connection.scalar(select(func.max(_R.c.sequence)).where(_R.c.tenant == tenant))
    return (highest or 0) + 1


def add(connection: Connection, **values: Any) -> int:
    """A new release."""
    done = connection.execute(_R.insert().values(**values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def find(connection: Connection, tenant: str, name: str, version: str) -> RowMapping | None:
    """A release by name and version; the newest if ``version`` is empty."""
    query = select(_R).where(_R.c.tenant == tenant, _R.c.name == name)
    if version:
        query = query.where(_R.c.version == version)
    query = query.order_by(_R.c.sequence.desc()).limit(1)
    return connection.execute(query).mappings().one_or_none()


def get(connection: Connection, release_id: int) -> RowMapping:
    """A release by number."""
    return connection.execute(select(_R).where(_R.c.id == release_id)).mappings().one()


def by_digest(connection: Connection, tenant: str, digest: str) -> RowMapping | None:
    """The newest release of an artefact."""
    query = (
        select(_R)
        .where(_R.c.tenant == tenant, _R.c.digest == digest)
        .order_by(_R.c.sequence.desc())
        .limit(1)
    )
    return connection.execute(query).mappings().one_or_none()


def all_of(connection: Connection, tenant: str) -> list[RowMapping]:
    """All releases of a tenant, newest first."""
    query = select(_R).where(_R.c.tenant == tenant).order_by(_R.c.sequence.desc())
    return list(connection.execute(query).mappings())


def digests_of(connection: Connection, tenant: str) -> set[str]:
    """SHA-256 of every released artefact of a tenant."""
    return set(connection.scalars(select(_R.c.digest).where(_R.c.tenant == tenant)))
