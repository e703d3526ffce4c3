# SPDX-License-Identifier: Apache-2.0
"""Federated runs and their rounds. A round is one transaction: its result, what it cost and who
took part are there together or not at all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection, RowMapping

from fleet.store import schema
from fleet.store.upsert import insert_new

_R = schema.federated_run
# Job numbers reserved at once.
BLOCK = 4096


def create(connection: Connection, **values: Any) -> int:
    """A new run."""
    done = connection.execute(_R.insert().values(**values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def find(connection: Connection, tenant: str, name: str) -> RowMapping | None:
    """A run by name."""
    query = select(_R).where(_R.c.tenant == tenant, _R.c.name == name)
    return connection.execute(query).mappings().one_or_none()


def all_of(connection: Connection, tenant: str) -> list[RowMapping]:
    """Runs of a tenant, newest first."""
    query = select(_R).where(_R.c.tenant == tenant).order_by(_R.c.id.desc())
    return list(connection.execute(query).mappings())


def rounds_of(connection: Connection, run_id: int) -> list[RowMapping]:
    """Rounds in order."""
    table = schema.federated_round
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.number)
    return list(connection.execute(query).mappings())


def commit_round(
    connection: Connection,
    run_id: int,
    number: int,
    weights: bytes,
    mask: bytes | None,
    **facts: Any,
) -> None:
    """The result of a round, and that it is whole."""
    connection.execute(
        update(_R).where(_R.c.id == run_id).values(round=number, weights=weights, mask=mask)
    )
    connection.execute(
        schema.federated_round.insert().values(run_id=run_id, number=number, **facts)
    )


def add_broker_bytes(
    connection: Connection, run_id: int, number: int, received: int | None, sent: int | None
) -> None:
    """What the broker told after a round was committed."""
    table = schema.federated_round
    if received is not None and sent is not None:
        connection.execute(
            update(table)
            .where(table.c.run_id == run_id, table.c.number == number)
            .values(
                broker_received=func.coalesce(table.c.broker_received, 0) + received,
                broker_sent=func.coalesce(table.c.broker_sent, 0) + sent,
            )
        )


def set_state(connection: Connection, run_id: int, state: str) -> None:
    """running, finished or stopped."""
    connection.execute(update(_R).where(_R.c.id == run_id).values(state=state))


def share(connection: Connection, tenant: str, digest: str) -> None:
    """Lets devices of a tenant pull an artefact while they train."""
    insert_new(connection, schema.training_artefact, [{"tenant": tenant, "digest": digest}])


def reserve_jobs(connection: Connection) -> int:
    """The first of `BLOCK` job numbers that nobody else gets."""
    jobs = schema.training_jobs
    connection.execute(update(jobs).values(next=jobs.c.next + BLOCK))
    return int(connection.execute(select(jobs.c.next)).scalar_one()) - BLOCK


def is_shared(connection: Connection, tenant: str, digest: str) -> bool:
    """Whether devices of a tenant may pull an artefact while they train."""
    table = schema.training_artefact
    query = select(table.c.digest).where(table.c.tenant == tenant, table.c.digest == digest)
    return connection.scalar(query) is not None
