# SPDX-License-Identifier: Apache-2.0
"""The rollout engine: applies the domain's effects to the database, one transaction a turn.

All that a turn decides (states, audit entries, messages to devices) is written by the transaction
that removes its causes from the inbox. A process that dies before the commit did nothing; one that
dies after it leaves messages in the outgoing queue, which the next one sends. A message that is
sent twice changes nothing: devices know jobs by number and twins by version.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from fleet.domain import assignment as one
from fleet.domain import rollout as many
from fleet.domain import twin as twin_domain
from fleet.domain.assignment import Action, Assignment, AssignmentState
from fleet.domain.plan import Abort, Plan, Wave, spread
from fleet.domain.rollout import Rollout
from fleet.domain.twin import Twin
from fleet.home import Home
from fleet.service import messages
from fleet.store import audit, devices, queues, releases, rollouts, twins
from fleet.store.audit import Entry
from fleet.store.queues import Change, Outgoing
from fleet.store.rollouts import Assigned

INBOX_BATCH = 1000
OVERDUE_BATCH = 1000
LEASE_S = 10.0
ROLE = "rollout"
# A hello comes right after the presence of its boot.
BIRTH_S = 5.0
BIRTHS = 500


@dataclass
class _Loaded:
    row: RowMapping
    rollout: Rollout
    release: RowMapping


class Turn:
    """One transaction's work on rollouts: everything is written by `flush`.

    Args:
        connection: of a write transaction.
        now: seconds since 1970.
        actor: who is named in the audit trail.
    """

    def __init__(self, connection: Connection, now: float, actor: str = "server") -> None:
        self._connection = connection
        self._now = now
        self._actor = actor
        self._rollouts: dict[int, _Loaded] = {}
        self._assigned: dict[tuple[int, int], Assigned] = {}
        self._changed: set[tuple[int, int]] = set()
        self._devices: dict[int, RowMapping] = {}
        self._last_job: dict[int, int] = {}
        self._twins: dict[int, Twin] = {}
        self._outgoing: list[Outgoing] = []
        self._entries: list[Entry] = []
        self._changes: list[Change] = []

    # ---- rollouts --------------------------------------------------------------------------------

    def command(self, rollout_id: int, event: many.Event) -> Rollout:
        """Sends an event to a rollout and does what follows from it.

        Raises:
            ConflictError: the event makes no sense in the rollout's state.
        """
        loaded = self._load(rollout_id)
        before = loaded.rollout
        loaded.rollout, effects = many.step(before, event, self._now)
        for effect in effects:
            self._follow(rollout_id, effect)
        if loaded.rollout.state is not before.state:
            self._changes.append(Change("rollout", loaded.row["tenant"], str(rollout_id)))
        return loaded.rollout

    def _load(self, rollout_id: int) -> _Loaded:
        if rollout_id not in self._rollouts:
            rollout = rollouts.load(self._connection, rollout_id)
            row = rollouts.row(self._connection, rollout_id)
            release = releases.get(self._connection, row["release_id"])
            self._rollouts[rollout_id] = _Loaded(row, rollout, release)
        return self._rollouts[rollout_id]

    def _follow(self, rollout_id: int, effect: many.Effect) -> None:
        loaded = self._rollouts[rollout_id]
        match effect:
            case many.Note(action, detail):
                self._note(
                    action, f"rollout/{rollout_id}", loaded.row["tenant"], {"detail": detail}
                )
            case many.OpenWave(wave):
                self._open(rollout_id, wave)
            case many.OfferNext(limit):
                due = rollouts.due(
                    self._connection, rollout_id, loaded.rollout.wave, self._now, limit
                )
                self._know([a.device_id for a in due])
                for assigned in due:
                    self._offer(self.keep(assigned))
            case many.EndOpen():
                for assigned in rollouts.in_states(self._connection, rollout_id, tuple(one.OPEN)):
                    self.step(self.keep(assigned), one.Cancel())
            case many.RollBack():
                self._take_back(rollout_id)

    def _open(self, rollout_id: int, wave: int) -> None:
        loaded = self._rollouts[rollout_id]
        jitter = loaded.rollout.plan.jitter_s
        if jitter:
            members = rollouts.wave_members(self._connection, rollout_id, wave)
            seed = loaded.row["seed"]
            rollouts.set_next_at(
                self._connection,
                rollout_id,
                {n: self._now + spread(seed, name, jitter) for n, name in members.items()},
            )

    def _offer(self, assigned: Assigned) -> None:
        device = self._device(assigned.device_id)
        last = self._last_job.get(assigned.device_id, device["last_job"])
        # Numbers never repeat for a device, even if the database was restored from a backup.
        number = max(last + 1, int(self._now))
        self._last_job[assigned.device_id] = number
        key = (assigned.rollout_id, assigned.device_id)
        if assigned.assignment.attempt == 0:
            assigned = replace(assigned, previous=device["model_digest"])
            self._assigned[key] = assigned
        self.step(assigned, one.Offer(number))

    def _take_back(self, rollout_id: int) -> None:
        loaded = self._rollouts[rollout_id]
        confirmed = rollouts.in_states(self._connection, rollout_id, (AssignmentState.CONFIRMED,))
        create_rollback(self, self._connection, rollout_id, loaded.row, confirmed)

    # ---- assignments -----------------------------------------------------------------------------

    def keep(self, assigned: Assigned) -> Assigned:
        """The newest version of an assignment that was read again."""
        return self._assigned.setdefault((assigned.rollout_id, assigned.device_id), assigned)

    def _know(self, ids: Sequence[int]) -> None:
        missing = [i for i in dict.fromkeys(ids) if i not in self._devices]
        self._devices.update(devices.by_ids(self._connection, missing))

    def _device(self, device_id: int) -> RowMapping:
        self._know([device_id])
        return self._devices[device_id]

    def step(self, assigned: Assigned, event: one.Event) -> None:
        """Sends an event to an assignment and does what follows from it."""
        key = (assigned.rollout_id, assigned.device_id)
        loaded = self._load(assigned.rollout_id)
        before = assigned.assignment
        after, effects = one.step(before, event, self._now, loaded.rollout.plan.policy)
        if after != before:
            self._assigned[key] = replace(assigned, assignment=after)
            self._changed.add(key)
        if after.state is not before.state:
            self._moved(assigned, before, after)
        device = self._device(assigned.device_id)
        for effect in effects:
            match effect:
                case one.SendJob():
                    self._outgoing.append(
                        messages.job(
                            device["tenant"],
                            device["name"],
                            after,
                            loaded.rollout.plan,
                            loaded.release,
                        )
                    )
                case one.SendCancel():
                    self._outgoing.append(
                        messages.cancel(device["tenant"], device["name"], after.job)
                    )

    def _moved(self, assigned: Assigned, before: Assignment, after: Assignment) -> None:
        device = self._device(assigned.device_id)
        self.command(assigned.rollout_id, many.Moved(assigned.wave, before.state, after.state))
        detail: dict[str, Any] = {
            "from": before.state.value,
            "job": after.job,
            "attempt": after.attempt,
        }
        if after.reason:
            detail["reason"] = after.reason
        subject = f"rollout/{assigned.rollout_id}/device/{device['name']}"
        self._note(f"assignment.{after.state.value}", subject, device["tenant"], detail)
        if after.state not in one.OPEN:
            self._changes.append(Change("device", device["tenant"], device["name"]))

    # ---- messages of devices ---------------------------------------------------------------------

    def receive(self, rows: Sequence[RowMapping]) -> None:
        """Acts on rows of the inbox, in order."""
        if not rows:
            return
        ids = list({r["device_id"] for r in rows})
        jobs = [r["body"]["job"] for r in rows if r["kind"] == "job"]
        self._know(ids)
        for assigned in rollouts.concerned(self._connection, ids, jobs):
            self.keep(assigned)
        of_device: dict[int, list[tuple[int, int]]] = {}
        for key in sorted(self._assigned, reverse=True):
            of_device.setdefault(key[1], []).append(key)
        wanted = [r["device_id"] for r in rows if r["kind"] in ("hello", "twin")]
        self._twins.update(twins.load(self._connection, list(set(wanted))))
        for row in rows:
            keys = of_device.get(row["device_id"], [])
            match row["kind"]:
                case "job":
                    self._job(keys, row["body"])
                case "hello":
                    self._hello(row["device_id"], keys, row["body"])
                case "twin":
                    self._reported(row["device_id"], row["body"])

    def _job(self, keys: Sequence[tuple[int, int]], body: dict[str, Any]) -> None:
        event = one.Report(
            body["job"], AssignmentState(body["state"]), body["reason"], body["offset"]
        )
        for key in keys:
            if self._assigned[key].assignment.job == event.job:
                self.step(self._assigned[key], event)

    def _hello(self, device_id: int, keys: Sequence[tuple[int, int]], body: dict[str, Any]) -> None:
        for key in keys[:1]:
            event = one.Hello(body["digest"], body["confirmed"])
            self.step(self._assigned[key], event)
        self._twin(device_id, twin_domain.Connected(body["applied"]))

    def _reported(self, device_id: int, body: dict[str, Any]) -> None:
        self._twin(
            device_id,
            twin_domain.Reported(body["applied"], body["reason"], body["reported"]),
        )

    def _twin(self, device_id: int, event: twin_domain.Event) -> None:
        before = self._twins[device_id]
        after, effects = twin_domain.step(before, event, self._now)
        self._twins[device_id] = after
        device = self._device(device_id)
        if effects:
            self._outgoing.append(messages.desired(device["tenant"], device["name"], after))
        if after.applied != before.applied and after.reason != "ok":
            detail: dict[str, Any] = {"version": after.applied, "reason": after.reason}
            subject = f"device/{device['name']}"
            self._note("twin.refused", subject, device["tenant"], detail)

    # ---- the end ---------------------------------------------------------------------------------

    def _note(self, action: str, subject: str, tenant: str, detail: dict[str, Any]) -> None:
        detail = {k: v for k, v in detail.items() if v != ""}
        self._entries.append(Entry(action, subject, self._actor, tenant, detail))

    def note(self, entry: Entry) -> None:
        """Adds a line of the audit trail."""
        self._entries.append(entry)

    def flush(self) -> None:
        """Writes everything."""
        connection = self._connection
        if self._twins:
            twins.save(connection, self._twins)
        for number, last in sorted(self._last_job.items()):
            devices.update(connection, number, last_job=last)
        for number, loaded in sorted(self._rollouts.items()):
            rollouts.save(connection, number, loaded.rollout)
        changed = [self._assigned[key] for key in self._changed]
        rollouts.save_assignments(connection, changed, self._now)
        queues.put_outgoing(connection, self._outgoing)
        queues.put_outbox(connection, self._changes)
        audit.append(connection, self._entries, self._now)


def create_rollback(
    turn: Turn,
    connection: Connection,
    origin_id: int,
    origin: RowMapping,
    confirmed: Sequence[Assigned],
    actor: str = "server",
) -> int | None:
    """A rollout that takes devices back to the model they ran before, and its start.

    Returns:
        Its number; None when no device can go back.
    """
    now = time.time()
    ids = [a.device_id for a in confirmed]
    known = devices.by_ids(connection, ids)
    newest = {d: found[0].rollout_id for d, found in rollouts.of_devices(connection, ids).items()}
    able = [a for a in confirmed if a.previous and newest[a.device_id] == origin_id]
    for assigned in confirmed:
        if assigned not in able:
            name = known[assigned.device_id]["name"]
            detail = {"why": "a newer rollout has changed its model"}
            subject = f"rollout/{origin_id}/device/{name}"
            turn.note(Entry("rollback.impossible", subject, actor, origin["tenant"], detail))
    if not able:
        return None
    plan = Plan(waves=(Wave(percent=100),), abort=Abort(percent=100, rollback=False), trial_s=0)
    seed = f"rollback-{origin_id}"
    number = rollouts.create(
        connection,
        many.draft(plan, [len(able)]),
        tenant=origin["tenant"],
        release_id=origin["release_id"],
        action=Action.ROLLBACK.value,
        origin_id=origin_id,
        seed=seed,
        created_at=now,
        created_by=actor,
    )
    rows = [
        Assigned(
            number,
            a.device_id,
            0,
            # The device knows whether it still has that model; no sequence number is involved.
            Assignment(Action.ROLLBACK, a.previous or "", 0),
            None,
        )
        for a in able
    ]
    rollouts.add_assignments(connection, rows, now)
    facts = {"origin": origin_id, "devices": len(able)}
    turn.note(Entry("rollout.created", f"rollout/{number}", actor, origin["tenant"], facts))
    turn.command(number, many.Submit())
    turn.command(number, many.Start())
    return number


def take_turn(home: Home, holder: str) -> int | None:
    """Works off a batch of the inbox and moves every rollout on.

    Args:
        home: of the fleet.
        holder: name of this process for the lease.

    Returns:
        Messages worked off; None when another process has the role.
    """
    with home.store.write() as connection:
        if not queues.hold(connection, ROLE, holder, LEASE_S):
            return None
        now = time.time()
        turn = Turn(connection, now)
        rows = queues.take_inbox(connection, INBOX_BATCH)
        turn.receive(rows)
        for number in rollouts.alive(connection):
            _remind(turn, connection, number, now)
            turn.command(number, many.Tick())
        turn.flush()
    return len(rows)


def _remind(turn: Turn, connection: Connection, number: int, now: float) -> None:
    """Reminds devices that made no progress for a while, and gives them up after longer."""
    for assigned in rollouts.overdue(connection, number, now, OVERDUE_BATCH):
        turn.step(turn.keep(assigned), one.Tick())


def ask_births(home: Home) -> int:
    """Asks devices that are connected, and whose hello of this boot got lost, to say it again.

    Returns:
        How many were asked.
    """
    with home.store.write() as connection:
        rows = devices.unborn(connection, time.time() - BIRTH_S, BIRTHS)
        queues.put_outgoing(
            connection, [messages.rebirth(row["tenant"], row["name"]) for row in rows]
        )
    return len(rows)
