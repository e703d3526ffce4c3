# SPDX-License-Identifier: Apache-2.0
"""Rollout: a release, a plan and where it stands.

| State             | Leaves by                                                                  |
|-------------------|----------------------------------------------------------------------------|
| draft             | submit -> ready, or awaiting_approval when the plan asks for it             |
| awaiting_approval | approve -> ready; deny -> denied; cancel -> stopped                         |
| ready             | start -> running; cancel -> stopped                                         |
| running           | wave confirmed and soaked -> next wave, paused, or finished; too many       |
|                   | failures, a wave that cannot succeed, or the deadline -> stopping; pause    |
| paused            | resume -> running; cancel, failures or deadline -> stopping                 |
| stopping          | every open assignment ended -> stopped                                      |

The rollout holds counts only, kept up to date by `Moved`, so a step costs the same for ten devices
and for a million. Whoever runs it applies the effects to the assignments, in one transaction with
the new state, and feeds back what moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.domain.assignment import FAILURES, OPEN, AssignmentState
from fleet.domain.plan import Plan
from fleet.errors import ConflictError


class RolloutState(StrEnum):
    """Where the rollout is."""

    DRAFT = "draft"  # created, may be looked at
    AWAITING_APPROVAL = "awaiting_approval"  # a second person must agree
    DENIED = "denied"  # the second person did not
    READY = "ready"  # may be started
    RUNNING = "running"  # devices are offered the release
    PAUSED = "paused"  # nothing new is offered; devices at it go on
    STOPPING = "stopping"  # open assignments are being ended
    STOPPED = "stopped"  # ended before it was through
    FINISHED = "finished"  # through


_R = RolloutState
ENDED = frozenset({_R.DENIED, _R.STOPPED, _R.FINISHED})

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Rollout:
    """Plan and progress.

    Args:
        plan: as created.
        counts: for each wave, how many assignments are in each state.
        state: of the rollout.
        wave: index of the open wave, -1 before the start.
        started_at, opened_at: of the rollout and the open wave, seconds since 1970.
        reached_at: when the open wave reached its success threshold; its soak runs from here.
        passed: index of the last wave after which a person resumed.
        tokens, filled_at: of the token bucket.
        why: why it was paused or stopped.
        undo: confirmed devices go back once everything has ended.
    """

    plan: Plan
    counts: tuple[Counts, ...]
    state: RolloutState = _R.DRAFT
    wave: int = -1
    started_at: float = 0
    opened_at: float = 0
    reached_at: float | None = None
    passed: int = -1
    tokens: float = 0
    filled_at: float = 0
    why: str = ""
    undo: bool = False

    @property
    def open(self) -> int:
        """Assignments that have not ended."""
        return sum(n for counts in self.counts for s, n in counts.items() if s in OPEN)

    def total(self, *states: AssignmentState) -> int:
        """Assignments in any of these states."""
        return sum(counts.get(s, 0) for counts in self.counts for s in states)


def draft(plan: Plan, sizes: list[int]) -> Rollout:
    """A new rollout whose waves have ``sizes`` devices, all waiting."""
    return Rollout(plan, tuple({AssignmentState.WAITING.value: n} if n else {} for n in sizes))


@dataclass(frozen=True)
class Submit:
    """The draft is complete."""


@dataclass(frozen=True)
class Approve:
    """A second person agrees."""


@dataclass(frozen=True)
class Deny:
    """A second person does not."""


@dataclass(frozen=True)
class Start:
    """Begin."""


@dataclass(frozen=True)
class Pause:
    """Offer nothing new."""


@dataclass(frozen=True)
class Resume:
    """Go on."""


@dataclass(frozen=True)
class Cancel:
    """End it."""


@dataclass(frozen=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True)
class Moved:
    """An assignment changed its state."""

    wave: int
    before: AssignmentState
    after: AssignmentState


Event = Submit | Approve | Deny | Start | Pause | Resume | Cancel | Tick | Moved


@dataclass(frozen=True)
class OpenWave:
    """From now on, each after its own jitter, the devices of this wave may begin."""

    wave: int


@dataclass(frozen=True)
class OfferNext:
    """Offer the release to up to ``limit`` waiting devices of open waves that are online and due.

    What was really offered is told by `Moved`, which takes the tokens.
    """

    limit: int


@dataclass(frozen=True)
class EndOpen:
    """Cancel every assignment that has not ended."""


@dataclass(frozen=True)
class RollBack:
    """Take the confirmed devices back to their older model."""


@dataclass(frozen=True)
class Note:
    """A line of the audit trail."""

    action: str
    detail: str = ""


Effect = OpenWave | OfferNext | EndOpen | RollBack | Note

# Offers of one step: bounds the transaction.
MAX_OFFERS = 1000


def step(rollout: Rollout, event: Event, now: float) -> tuple[Rollout, tuple[Effect, ...]]:
    """One event in the life of a rollout.

    Raises:
        ConflictError: a command that makes no sense in the present state.
    """
    r = rollout
    match event:
        case Moved():
            return _moved(r, event), ()
        case Tick():
            return _tick(r, now)
        case Submit():
            _must_be(r, "submit", _R.DRAFT)
            after = _R.AWAITING_APPROVAL if r.plan.approval else _R.READY
            return replace(r, state=after), (Note("rollout.submitted"),)
        case Approve():
            _must_be(r, "approve", _R.AWAITING_APPROVAL)
            return replace(r, state=_R.READY), (Note("rollout.approved"),)
        case Deny():
            _must_be(r, "deny", _R.AWAITING_APPROVAL)
            return replace(r, state=_R.DENIED), (Note("rollout.denied"), EndOpen())
        case Start():
            _must_be(r, "start", _R.READY)
            running = replace(r, state=_R.RUNNING, started_at=now)
            opened, effects = _open_wave(running, 0, now)
            return opened, (Note("rollout.started"), *effects)
        case Pause():
            _must_be(r, "pause", _R.RUNNING)
            return replace(r, state=_R.PAUSED, why="by request"), (Note("rollout.paused"),)
        case Resume():
            _must_be(r, "resume", _R.PAUSED)
            waited = r.why == AFTER_WAVE
            resumed = replace(
                r, state=_R.RUNNING, why="", passed=r.wave if waited else r.passed, filled_at=now
            )
            return resumed, (Note("rollout.resumed"),)
        case Cancel():
            if r.state in ENDED or r.state is _R.STOPPING:
                raise ConflictError(f"the rollout is {r.state}: there is nothing to cancel")
            return _stop(r, "cancelled by request")


AFTER_WAVE = "after a wave, as planned"


def _must_be(r: Rollout, verb: str, *states: RolloutState) -> None:
    if r.state not in states:
        wanted = " or ".join(states)
        raise ConflictError(f"cannot {verb} a rollout that is {r.state}: it must be {wanted}")


def _moved(r: Rollout, event: Moved) -> Rollout:
    counts = [dict(c) for c in r.counts]
    wave = counts[event.wave]
    wave[event.before] = wave.get(event.before, 0) - 1
    wave[event.after] = wave.get(event.after, 0) + 1
    spent = event.after is AssignmentState.OFFERED
    return replace(
        r,
        counts=tuple({s: n for s, n in c.items() if n} for c in counts),
        tokens=max(r.tokens - spent, 0),
    )


def _tick(r: Rollout, now: float) -> tuple[Rollout, tuple[Effect, ...]]:
    if r.state is _R.STOPPING:
        if r.open:
            return r, ()
        effects: tuple[Effect, ...] = (Note("rollout.stopped", r.why),)
        if r.undo and r.total(AssignmentState.CONFIRMED):
            effects = (*effects, RollBack())
        return replace(r, state=_R.STOPPED), effects
    if r.state not in (_R.RUNNING, _R.PAUSED):
        return r, ()
    why = _must_stop(r, now)
    if why:
        return _stop(r, why, by_itself=True)
    if r.state is _R.PAUSED:
        return r, ()
    after, effects = _advance(r, now)
    if after.state is not _R.RUNNING:
        return after, effects
    after = _refill(after, now)
    limit = min(int(after.tokens), MAX_OFFERS)
    waiting = any(after.counts[w].get(AssignmentState.WAITING) for w in range(after.wave + 1))
    if limit and waiting:
        effects = (*effects, OfferNext(limit))
    return after, effects


def _must_stop(r: Rollout, now: float) -> str:
    """Why the rollout may not go on, empty when it may."""
    failed = r.total(*(s for s in FAILURES if s in r.plan.abort.kinds))
    finished = r.total(AssignmentState.CONFIRMED, *FAILURES)
    rule = r.plan.abort
    if failed and finished >= rule.min_finished and failed * 100 >= rule.percent * finished:
        return f"{failed} of {finished} finished devices failed, {rule.percent:g} % are allowed"
    if r.plan.deadline_s is not None and now >= r.started_at + r.plan.deadline_s:
        return "the deadline passed"
    counts, wave = r.counts[r.wave], r.plan.waves[r.wave]
    size, confirmed = sum(counts.values()), counts.get(AssignmentState.CONFIRMED, 0)
    ended = not any(counts.get(s) for s in OPEN)
    if ended and confirmed * 100 < wave.success * size:
        return (
            f"wave {r.wave + 1} ended with {confirmed} of {size} devices confirmed, "
            f"{wave.success:g} % are asked for"
        )
    return ""


def _advance(r: Rollout, now: float) -> tuple[Rollout, tuple[Effect, ...]]:
    """Opens waves, pauses or finishes as far as the present wave allows."""
    counts, wave = r.counts[r.wave], r.plan.waves[r.wave]
    size, confirmed = sum(counts.values()), counts.get(AssignmentState.CONFIRMED, 0)
    if confirmed * 100 < wave.success * size:
        return (replace(r, reached_at=None) if r.reached_at is not None else r), ()
    effects: tuple[Effect, ...] = ()
    if r.reached_at is None:
        r = replace(r, reached_at=now)
        effects = (Note("rollout.wave_reached", f"wave {r.wave + 1}"),)
    assert r.reached_at is not None
    if now < r.reached_at + wave.soak_s:
        return r, effects
    if r.wave + 1 == len(r.plan.waves):
        if r.open:
            return r, effects
        return replace(r, state=_R.FINISHED), (*effects, Note("rollout.finished"))
    if wave.on_success == "pause" and r.passed < r.wave:
        paused = replace(r, state=_R.PAUSED, why=AFTER_WAVE)
        return paused, (*effects, Note("rollout.paused", AFTER_WAVE))
    opened, more = _open_wave(r, r.wave + 1, now)
    return opened, (*effects, *more)


def _open_wave(r: Rollout, wave: int, now: float) -> tuple[Rollout, tuple[Effect, ...]]:
    burst = r.plan.rate.burst * r.plan.rate.growth**wave
    opened = replace(r, wave=wave, opened_at=now, reached_at=None, tokens=burst, filled_at=now)
    return opened, (Note("rollout.wave_opened", f"wave {wave + 1}"), OpenWave(wave))


def _refill(r: Rollout, now: float) -> Rollout:
    growth = r.plan.rate.growth**r.wave
    earned = max(now - r.filled_at, 0) * r.plan.rate.per_minute * growth / 60
    return replace(r, tokens=min(r.tokens + earned, r.plan.rate.burst * growth), filled_at=now)


def _stop(r: Rollout, why: str, by_itself: bool = False) -> tuple[Rollout, tuple[Effect, ...]]:
    if r.state not in (_R.RUNNING, _R.PAUSED):
        # No device was told anything, so nothing has to be waited for.
        return replace(r, state=_R.STOPPED, why=why), (EndOpen(), Note("rollout.stopped", why))
    undo = by_itself and r.plan.abort.rollback
    stopped = replace(r, state=_R.STOPPING, why=why, undo=undo)
    return stopped, (Note("rollout.stopping", why), EndOpen())
