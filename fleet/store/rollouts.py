# SPDX-License-Identifier: Apache-2.0
"""Rows of rollouts and assignments as the domain's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Select, bindparam, func, or_, select, update
from sqlalchemy.engine import Connection, RowMapping

from fleet.domain.assignment import BUSY, Action, Assignment, AssignmentState
from fleet.domain.plan import Plan
from fleet.domain.rollout import ENDED, Rollout, RolloutState
from fleet.store import schema
from fleet.store.devices import CHUNK
from fleet.store.upsert import upsert

_R, _A = schema.rollout, schema.assignment
PLAN = TypeAdapter(Plan)
_PROGRESS = TypeAdapter(Rollout)


@dataclass(frozen=True)
class Assigned:
    """An assignment with its place.

    Args:
        rollout_id, device_id, wave: where it belongs.
        assignment: the domain's state.
        previous: SHA-256 (hex) of the model that ran when the job was offered, if it was.
    """

    rollout_id: int
    device_id: int
    wave: int
    assignment: Assignment
    previous: str | None


def plan_from_json(data: Any) -> Plan:
    """A plan as people write it.

    Raises:
        pydantic.ValidationError: a field is unknown, missing or of the wrong type.
        InvalidError: a value makes no sense.
    """
    return PLAN.validate_python(data)


def plan_to_json(plan: Plan) -> Any:
    """The inverse."""
    return PLAN.dump_python(plan, mode="json")


def create(connection: Connection, rollout: Rollout, **values: Any) -> int:
    """A new rollout without assignments."""
    done = connection.execute(
        _R.insert().values(plan=plan_to_json(rollout.plan), **_columns(rollout), **values)
    )
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def add_assignments(connection: Connection, rows: Sequence[Assigned], now: float) -> None:
    """The devices of a new rollout."""
    if rows:
        connection.execute(_A.insert(), [_row(a, now) for a in rows])


def load(connection: Connection, rollout_id: int) -> Rollout:
    """The state of a rollout, locked until the transaction ends."""
    query = select(_R.c.progress).where(_R.c.id == rollout_id).with_for_update()
    return _PROGRESS.validate_python(connection.execute(query).scalar_one())


def save(connection: Connection, rollout_id: int, rollout: Rollout) -> None:
    """Writes the state of a rollout."""
    connection.execute(_R.update().where(_R.c.id == rollout_id).values(**_columns(rollout)))


def _columns(rollout: Rollout) -> dict[str, Any]:
    return {"state": rollout.state.value, "progress": _PROGRESS.dump_python(rollout, mode="json")}


def get(connection: Connection, tenant: str, rollout_id: int) -> RowMapping | None:
    """One rollout with the name and version of its release."""
    query = _described().where(_R.c.tenant == tenant, _R.c.id == rollout_id)
    return connection.execute(query).mappings().one_or_none()


def row(connection: Connection, rollout_id: int) -> RowMapping:
    """One rollout, which exists."""
    return connection.execute(select(_R).where(_R.c.id == rollout_id)).mappings().one()


def all_of(connection: Connection, tenant: str) -> list[RowMapping]:
    """Rollouts of a tenant, newest first."""
    query = _described().where(_R.c.tenant == tenant).order_by(_R.c.id.desc())
    return list(connection.execute(query).mappings())


def _described() -> Select[Any]:
    release = schema.release
    return select(_R, release.c.name, release.c.version, release.c.sequence, release.c.digest).join(
        release, release.c.id == _R.c.release_id
    )


def alive(connection: Connection) -> list[int]:
    """Rollouts in which something may happen by itself."""
    states = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.STOPPING)
    query = select(_R.c.id).where(_R.c.state.in_(states)).order_by(_R.c.id)
    return list(connection.scalars(query))


def open_for(connection: Connection, device_ids: Sequence[int]) -> dict[int, int]:
    """Rollouts that have not ended in which these devices are, by device."""
    query = (
        select(_A.c.device_id, _A.c.rollout_id)
        .join(_R, _R.c.id == _A.c.rollout_id)
        .where(_A.c.device_id.in_(device_ids), _R.c.state.not_in(ENDED))
    )
    return {r.device_id: r.rollout_id for r in connection.execute(query)}


def of_devices(connection: Connection, device_ids: Sequence[int]) -> dict[int, list[Assigned]]:
    """All assignments of devices, newest first."""
    query = select(_A).where(_A.c.device_id.in_(device_ids)).order_by(_A.c.rollout_id.desc())
    found: dict[int, list[Assigned]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["device_id"], []).append(_assigned(row))
    return found


def concerned(
    connection: Connection, device_ids: Sequence[int], jobs: Sequence[int]
) -> list[Assigned]:
    """Assignments of devices that are in rollouts under way, or that one of ``jobs`` is about."""
    found: list[Assigned] = []
    for start in range(0, len(device_ids), CHUNK):
        query = (
            select(_A)
            .join(_R, _R.c.id == _A.c.rollout_id)
            .where(
                _A.c.device_id.in_(device_ids[start : start + CHUNK]),
                or_(_R.c.state.not_in(ENDED), _A.c.job.in_(list(set(jobs)))),
            )
        )
        found += [_assigned(row) for row in connection.execute(query).mappings()]
    return found


def due(
    connection: Connection, rollout_id: int, wave: int, now: float, limit: int
) -> list[Assigned]:
    """Waiting devices of waves up to ``wave`` that are due and online."""
    presence = schema.presence
    query = (
        select(_A)
        .join(presence, presence.c.device_id == _A.c.device_id)
        .where(
            _A.c.rollout_id == rollout_id,
            _A.c.state == AssignmentState.WAITING,
            _A.c.next_at <= now,
            _A.c.wave <= wave,
            presence.c.online,
        )
        .order_by(_A.c.next_at, _A.c.device_id)
        .limit(limit)
    )
    return [_assigned(row) for row in connection.execute(query).mappings()]


def overdue(connection: Connection, rollout_id: int, now: float, limit: int) -> list[Assigned]:
    """Devices that are at it and made no progress for long enough to do something."""
    query = (
        select(_A)
        .where(
            _A.c.rollout_id == rollout_id,
            _A.c.state.in_(BUSY),
            or_(_A.c.timeout_at <= now, _A.c.repeat_at <= now),
        )
        .limit(limit)
    )
    return [_assigned(row) for row in connection.execute(query).mappings()]


def in_states(
    connection: Connection, rollout_id: int, states: Sequence[AssignmentState]
) -> list[Assigned]:
    """The assignments of a rollout in any of these states."""
    query = select(_A).where(_A.c.rollout_id == rollout_id, _A.c.state.in_(states))
    return [_assigned(row) for row in connection.execute(query).mappings()]


def devices_of(
    connection: Connection, rollout_id: int, state: str = "", after: str = "", limit: int = 1000
) -> list[RowMapping]:
    """Assignments with the names of their devices, by name."""
    device = schema.device
    query = (
        select(_A, device.c.name.label("device"))
        .join(device, device.c.id == _A.c.device_id)
        .where(_A.c.rollout_id == rollout_id, device.c.name > after)
        .order_by(device.c.name)
        .limit(limit)
    )
    if state:
        query = query.where(_A.c.state == state)
    return list(connection.execute(query).mappings())


def reasons(connection: Connection, rollout_id: int) -> dict[str, int]:
    """How many devices give which reason for not having succeeded."""
    query = (
        select(_A.c.reason, func.count())
        .where(
            _A.c.rollout_id == rollout_id,
            _A.c.reason.not_in(("", "ok")),
            _A.c.state != AssignmentState.CONFIRMED,
        )
        .group_by(_A.c.reason)
    )
    return {reason: int(n) for reason, n in connection.execute(query)}


def offline(connection: Connection, rollout_id: int) -> int:
    """Waiting devices that are not connected."""
    presence = schema.presence
    query = (
        select(func.count())
        .select_from(_A.join(presence, presence.c.device_id == _A.c.device_id))
        .where(
            _A.c.rollout_id == rollout_id,
            _A.c.state == AssignmentState.WAITING,
            presence.c.online.is_(False),
        )
    )
    return connection.scalar(query) or 0


def set_next_at(connection: Connection, rollout_id: int, times: Mapping[int, float]) -> None:
    """When devices may begin, by number of the device."""
    statement = (
        update(_A)
        .where(_A.c.rollout_id == rollout_id, _A.c.device_id == bindparam("number"))
        .values(next_at=bindparam("at"))
    )
    if times:
        rows = [{"number": n, "at": at} for n, at in times.items()]
        connection.execute(statement, rows)


def wave_members(connection: Connection, rollout_id: int, wave: int) -> dict[int, str]:
    """Names of the devices of one wave by number."""
    device = schema.device
    query = (
        select(device.c.id, device.c.name)
        .join(_A, _A.c.device_id == device.c.id)
        .where(_A.c.rollout_id == rollout_id, _A.c.wave == wave)
    )
    return {r.id: r.name for r in connection.execute(query)}


def save_assignments(connection: Connection, rows: Sequence[Assigned], now: float) -> None:
    """Writes assignments."""
    ordered = sorted(rows, key=lambda a: (a.rollout_id, a.device_id))
    upsert(connection, _A, [_row(a, now) for a in ordered], _CHANGING)


_CHANGING = (
    "state", "job", "attempt", "next_at", "timeout_at", "repeat_at", "offset", "reason",
    "closing", "silent", "previous", "updated_at",
)  # fmt: skip


def _row(a: Assigned, now: float) -> dict[str, Any]:
    x = a.assignment
    return {
        "rollout_id": a.rollout_id,
        "device_id": a.device_id,
        "wave": a.wave,
        "action": x.action.value,
        "digest": x.digest,
        "sequence": x.sequence,
        "state": x.state.value,
        "job": x.job,
        "attempt": x.attempt,
        "next_at": x.next_at,
        "timeout_at": x.timeout_at,
        "repeat_at": x.repeat_at,
        "offset": x.offset,
        "reason": x.reason,
        "closing": x.closing,
        "silent": x.silent,
        "previous": a.previous,
        "updated_at": now,
    }


def _assigned(row: RowMapping) -> Assigned:
    assignment = Assignment(
        Action(row["action"]),
        row["digest"],
        row["sequence"],
        AssignmentState(row["state"]),
        row["job"],
        row["attempt"],
        row["next_at"],
        row["timeout_at"],
        row["offset"],
        row["reason"],
        row["closing"],
        row["silent"],
        row["repeat_at"],
    )
    return Assigned(row["rollout_id"], row["device_id"], row["wave"], assignment, row["previous"])
