# SPDX-License-Identifier: Apache-2.0
"""Rollouts: create, command, show."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from fleet.domain import rollout as many
from fleet.domain.assignment import FAILURES, Action, Assignment, AssignmentState
from fleet.domain.compatible import why_not
from fleet.domain.plan import Plan, deal
from fleet.domain.rollout import ENDED, RolloutState
from fleet.errors import ConflictError, NotFoundError
from fleet.home import Home
from fleet.service import models
from fleet.service.devices import resolve
from fleet.service.engine import Turn, create_rollback
from fleet.store import devices, releases, rollouts
from fleet.store.audit import Entry
from fleet.store.rollouts import Assigned

COMMANDS: dict[str, many.Event] = {
    "approve": many.Approve(),
    "deny": many.Deny(),
    "start": many.Start(),
    "pause": many.Pause(),
    "resume": many.Resume(),
    "cancel": many.Cancel(),
}


@dataclass(frozen=True)
class Preview:
    """What a rollout would be.

    Args:
        release: name and version.
        waves: names of the devices of each.
        excluded: why a selected device is left out, by name.
        left_over: devices that no wave takes.
    """

    release: str
    waves: list[list[str]]
    excluded: dict[str, str]
    left_over: int

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "release": self.release,
            "waves": [{"wave": i, "devices": w} for i, w in enumerate(self.waves, start=1)],
            "excluded": self.excluded,
            "left_over": self.left_over,
        }


@dataclass(frozen=True)
class _Chosen:
    release: RowMapping
    ids: dict[str, int]
    preview: Preview
    seed: str


def preview(
    home: Home, tenant: str, release: str, conditions: Iterable[str], plan: Plan
) -> Preview:
    """What `create` with the same arguments would make; nothing is written.

    Raises:
        NotFoundError, InvalidError: see `create`.
    """
    with home.store.read() as connection:
        return _choose(home, connection, tenant, release, conditions, plan).preview


def create(
    home: Home, tenant: str, release: str, conditions: Iterable[str], plan: Plan, actor: str
) -> int:
    """A rollout that is ready to start, or awaits approval.

    Args:
        release: NAME or NAME@VERSION.
        conditions: which devices; all if empty.
        plan: waves and limits.

    Returns:
        Its number.

    Raises:
        NotFoundError: no such release or group.
        InvalidError: a condition cannot be understood.
        ConflictError: no selected device can take the release.
    """
    with home.store.write() as connection:
        chosen = _choose(home, connection, tenant, release, conditions, plan)
        if not any(chosen.preview.waves):
            raise ConflictError(
                "no selected device can take this release" + _first_reason(chosen.preview),
                "fleet rollout create --dry-run shows every reason.",
            )
        return _create(
            connection,
            tenant,
            chosen.release,
            [[chosen.ids[d] for d in wave] for wave in chosen.preview.waves],
            plan,
            chosen.seed,
            actor,
            {"conditions": list(conditions), "excluded": len(chosen.preview.excluded)},
        )


def _first_reason(shown: Preview) -> str:
    for name, why in shown.excluded.items():
        return f": {name} {why}"
    return ": the conditions select none"


def _choose(
    home: Home,
    connection: Connection,
    tenant: str,
    release: str,
    conditions: Iterable[str],
    plan: Plan,
) -> _Chosen:
    row = models.find(connection, tenant, release)
    rows = devices.matching(connection, tenant, resolve(connection, tenant, conditions))
    busy = rollouts.open_for(connection, [r["id"] for r in rows])
    excluded, ids = {}, {}
    for device in rows:
        why = why_not(row["requirements"], home.config.vendor, dict(device))
        if not why and device["model_digest"] == row["digest"]:
            why = "runs it already"
        if not why and (device["model_sequence"] or 0) >= row["sequence"]:
            why = "has accepted a newer release; publish this one again to go back to it"
        if not why and device["id"] in busy:
            why = f"is part of rollout {busy[device['id']]}, which has not ended"
        if why:
            excluded[device["name"]] = why
        else:
            ids[device["name"]] = device["id"]
    # From the release alone, so that what was previewed is what is created.
    seed = f"release-{row['id']}"
    waves = deal(list(ids), plan.waves, seed)
    left = len(ids) - sum(len(w) for w in waves)
    return _Chosen(
        row, ids, Preview(f"{row['name']}@{row['version']}", waves, excluded, left), seed
    )


def _create(
    connection: Connection,
    tenant: str,
    release: RowMapping,
    waves: Sequence[Sequence[int]],
    plan: Plan,
    seed: str,
    actor: str,
    detail: dict[str, Any],
    origin_id: int | None = None,
) -> int:
    now = time.time()
    number = rollouts.create(
        connection,
        many.draft(plan, [len(w) for w in waves]),
        tenant=tenant,
        release_id=release["id"],
        action=Action.INSTALL.value,
        origin_id=origin_id,
        seed=seed,
        created_at=now,
        created_by=actor,
    )
    blank = Assignment(Action.INSTALL, release["digest"], release["sequence"])
    rows = [
        Assigned(number, device, wave, blank, None)
        for wave, members in enumerate(waves)
        for device in members
    ]
    rollouts.add_assignments(connection, rows, now)
    turn = Turn(connection, now, actor)
    facts = {
        "release": f"{release['name']}@{release['version']}",
        "waves": [len(w) for w in waves],
        **detail,
    }
    turn.note(Entry("rollout.created", f"rollout/{number}", actor, tenant, facts))
    turn.command(number, many.Submit())
    turn.flush()
    return number


def command(home: Home, tenant: str, number: int, name: str, actor: str) -> dict[str, Any]:
    """approve, deny, start, pause, resume or cancel.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it makes no sense in the rollout's state, or who created the rollout
            wants to approve it.
    """
    with home.store.write() as connection:
        row = _find(connection, tenant, number)
        if name == "approve" and row["created_by"] == actor:
            raise ConflictError(f"{actor} created rollout {number}; someone else must approve it")
        turn = Turn(connection, time.time(), actor)
        turn.command(number, COMMANDS[name])
        turn.flush()
        return _status(connection, tenant, number)


def retry(home: Home, tenant: str, number: int, actor: str) -> int:
    """A new rollout over the devices of an ended one that failed or were cancelled.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it has not ended, or nothing is left to retry.
    """
    with home.store.write() as connection:
        row = _find(connection, tenant, number)
        _must_have_ended(row, "retried")
        again = (*FAILURES, AssignmentState.CANCELLED)
        failed = rollouts.in_states(connection, number, again)
        known = devices.by_ids(connection, [a.device_id for a in failed])
        release = releases.get(connection, row["release_id"])
        able = [d for d, r in known.items() if r["model_digest"] != release["digest"]]
        if not able or row["action"] != Action.INSTALL:
            raise ConflictError(f"rollout {number} has no failed devices to retry")
        names = {known[d]["name"]: d for d in able}
        plan = rollouts.plan_from_json(row["plan"])
        seed = uuid.uuid4().hex
        waves = [[names[n] for n in wave] for wave in deal(list(names), plan.waves, seed)]
        detail = {"retry_of": number}
        return _create(connection, tenant, release, waves, plan, seed, actor, detail, number)


def roll_back(home: Home, tenant: str, number: int, actor: str) -> int:
    """A running rollout that takes the confirmed devices of an ended one to their older model.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it has not ended, or no device can go back.
    """
    with home.store.write() as connection:
        row = _find(connection, tenant, number)
        _must_have_ended(row, "rolled back")
        confirmed = rollouts.in_states(connection, number, (AssignmentState.CONFIRMED,))
        turn = Turn(connection, time.time(), actor)
        made = create_rollback(turn, connection, number, row, confirmed, actor)
        if made is None:
            raise ConflictError(f"no device of rollout {number} can go back")
        turn.flush()
        return made


def _must_have_ended(row: RowMapping, verb: str) -> None:
    if RolloutState(row["state"]) not in ENDED:
        raise ConflictError(
            f"rollout {row['id']} is {row['state']}: only an ended one can be {verb}",
            f"fleet rollout cancel {row['id']}",
        )


def _find(connection: Connection, tenant: str, number: int) -> RowMapping:
    row = rollouts.get(connection, tenant, number)
    if row is None:
        raise NotFoundError(f"there is no rollout {number}", "fleet rollout list shows them.")
    return row


def listed(home: Home, tenant: str) -> list[dict[str, Any]]:
    """Rollouts, newest first."""
    with home.store.read() as connection:
        return [summary(row) for row in rollouts.all_of(connection, tenant)]


def summary(row: RowMapping) -> dict[str, Any]:
    """The columns people list."""
    waves = row["progress"]["counts"]
    states = {s: sum(w.get(s, 0) for w in waves) for w in waves for s in w}
    return {
        "rollout": row["id"],
        "release": f"{row['name']}@{row['version']}",
        "action": row["action"],
        "state": row["state"],
        "why": row["progress"]["why"],
        "wave": row["progress"]["wave"] + 1,
        "waves": len(waves),
        "devices": sum(states.values()),
        "states": states,
        "origin": row["origin_id"],
        "created_at": row["created_at"],
        "created_by": row["created_by"],
    }


def status(home: Home, tenant: str, number: int) -> dict[str, Any]:
    """One rollout: waves, counts, reasons.

    Raises:
        NotFoundError: there is none.
    """
    with home.store.read() as connection:
        return _status(connection, tenant, number)


def _status(connection: Connection, tenant: str, number: int) -> dict[str, Any]:
    row = _find(connection, tenant, number)
    return {
        **summary(row),
        "plan": row["plan"],
        "by_wave": row["progress"]["counts"],
        "reasons": rollouts.reasons(connection, number),
        "waiting_offline": rollouts.offline(connection, number),
    }


def assignments(
    home: Home, tenant: str, number: int, state: str = "", after: str = "", limit: int = 1000
) -> list[dict[str, Any]]:
    """The devices of a rollout, by name.

    Raises:
        NotFoundError: there is no such rollout.
    """
    with home.store.read() as connection:
        _find(connection, tenant, number)
        return [
            {
                "device": a["device"],
                "wave": a["wave"] + 1,
                "state": a["state"],
                "reason": a["reason"],
                "attempt": a["attempt"],
                "offset": a["offset"],
                "job": a["job"],
                "previous": a["previous"],
                "updated_at": a["updated_at"],
            }
            for a in rollouts.devices_of(connection, number, state, after, limit)
        ]
