# SPDX-License-Identifier: Apache-2.0
"""Assignment: one device's part in a rollout.

waiting -> offered -> received -> downloading -> verifying -> self_testing -> trial -> confirmed,
and from each of them to rejected, failed, timed_out, cancelled or rolled_back.

Ended without success, it goes back to waiting while the plan has retries left and the reason may
pass. Devices report states, not events, so a report may skip states; what a device says about the
model it runs is the truth even after the server gave up waiting (timed_out -> confirmed).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class AssignmentState(StrEnum):
    """Where the device is."""

    WAITING = "waiting"  # for its wave, the rate, the jitter, a retry, or the device to come online
    OFFERED = "offered"  # the job was sent
    RECEIVED = "received"  # the device verified the manifest
    DOWNLOADING = "downloading"  # chunks arrive
    VERIFYING = "verifying"  # the digest is checked
    SELF_TESTING = "self_testing"  # the new model runs on its golden inputs
    TRIAL = "trial"  # the new model runs, unconfirmed
    CONFIRMED = "confirmed"  # the new model is the device's model
    REJECTED = "rejected"  # refused before anything was written
    FAILED = "failed"  # refused after something was written
    TIMED_OUT = "timed_out"  # no progress for too long
    CANCELLED = "cancelled"  # ended by the server
    ROLLED_BACK = "rolled_back"  # the older model runs again


_S = AssignmentState
# In order of progress; a report may move forward along it only.
PROGRESS = (
    _S.WAITING,
    _S.OFFERED,
    _S.RECEIVED,
    _S.DOWNLOADING,
    _S.VERIFYING,
    _S.SELF_TESTING,
    _S.TRIAL,
)
BUSY = frozenset(PROGRESS[1:])
OPEN = frozenset(PROGRESS)
FAILURES = frozenset({_S.REJECTED, _S.FAILED, _S.TIMED_OUT, _S.ROLLED_BACK})
FINAL = FAILURES | {_S.CONFIRMED, _S.CANCELLED}

# Reasons of the protocol that may pass; all others would come back at each retry.
TRANSIENT = frozenset(
    {"bad_message", "busy", "timed_out", "unknown_blob", "bad_offset", "digest_mismatch",
     "flash_error"}
)  # fmt: skip


class Action(StrEnum):
    """What the device is asked to do."""

    INSTALL = "install"  # download, verify, try and confirm a release
    ROLLBACK = "rollback"  # activate the passive slot


@dataclass(frozen=True)
class Policy:
    """The part of a plan that one assignment needs.

    Args:
        retries: how often a passing failure is tried again.
        backoff_s: seconds before the first retry; doubles with each.
        step_timeout_s: seconds without progress after which the device is given up.
        repeat_s: seconds without progress after which the job is sent again. A device repeats its
            status, so whatever message was lost, both sides agree again.
    """

    retries: int = 2
    backoff_s: float = 30
    step_timeout_s: float = 600
    repeat_s: float = 30


@dataclass(frozen=True)
class Assignment:
    """One device's part.

    Args:
        action: what is asked.
        digest: SHA-256 (hex) of the artefact that shall run.
        sequence: of its manifest.
        state: where the device is.
        job: number of the job last offered; 0 before the first offer.
        attempt: offers so far.
        next_at: not offered before, seconds since 1970.
        timeout_at, repeat_at: given up at, and sent again at, while busy.
        offset: bytes downloaded, as last reported.
        reason: of the protocol, why it ended or is waiting again.
        closing: the server asked the device to end it.
        silent: the last attempt ended without a word, so the device may still be at it; the next
            offer then repeats its number.
    """

    action: Action
    digest: str
    sequence: int
    state: AssignmentState = _S.WAITING
    job: int = 0
    attempt: int = 0
    next_at: float = 0
    timeout_at: float = 0
    offset: int = 0
    reason: str = ""
    closing: bool = False
    silent: bool = False
    repeat_at: float = 0


@dataclass(frozen=True)
class Offer:
    """The rollout lets this device begin.

    Args:
        job: number of the new job, unique for the device.
    """

    job: int


@dataclass(frozen=True)
class Report:
    """The device told where it is with a job."""

    job: int
    state: AssignmentState
    reason: str = "ok"
    offset: int = 0


@dataclass(frozen=True)
class Hello:
    """The device connected; this is the model it runs.

    Args:
        digest: SHA-256 (hex) of that model.
        confirmed: whether it is past its trial.
    """

    digest: str
    confirmed: bool


@dataclass(frozen=True)
class Cancel:
    """The rollout is stopping."""


@dataclass(frozen=True)
class Tick:
    """Time passed."""


Event = Offer | Report | Hello | Cancel | Tick


@dataclass(frozen=True)
class SendJob:
    """The job goes to the device, once more if it had it before: devices know it by its number."""


@dataclass(frozen=True)
class SendCancel:
    """The device is asked to end the job; during a trial it goes back to the older model."""


Effect = SendJob | SendCancel


def step(
    assignment: Assignment, event: Event, now: float, policy: Policy
) -> tuple[Assignment, tuple[Effect, ...]]:
    """One event in the life of an assignment. Never raises: what does not apply changes nothing."""
    a = assignment
    match event:
        case Offer(job):
            if a.state is not _S.WAITING:
                return a, ()
            offered = replace(
                a,
                state=_S.OFFERED,
                job=a.job if a.silent else job,
                silent=False,
                attempt=a.attempt + 1,
                timeout_at=now + policy.step_timeout_s,
                repeat_at=now + policy.repeat_s,
                offset=0,
                reason="",
            )
            return offered, (SendJob(),)
        case Report(job, state, reason, offset):
            if job != a.job or a.job == 0:
                return a, ()
            return _report(a, state, reason, offset, now, policy), ()
        case Hello(digest, confirmed):
            return _hello(a, digest, confirmed, now, policy)
        case Cancel():
            return _cancel(a, now, policy)
        case Tick():
            if a.state in BUSY and now >= a.timeout_at:
                ended = _end(a, _S.TIMED_OUT, "timed_out", now, policy)
                return replace(ended, silent=True), ()
            if a.state in BUSY and now >= a.repeat_at:
                again = replace(a, repeat_at=now + policy.repeat_s)
                return again, (SendCancel() if a.closing else SendJob(),)
            return a, ()


def _report(
    a: Assignment, state: AssignmentState, reason: str, offset: int, now: float, policy: Policy
) -> Assignment:
    if a.action is Action.ROLLBACK and state is _S.ROLLED_BACK:
        state = _S.CONFIRMED
    if state is _S.CONFIRMED:
        return replace(a, state=state, reason=reason, closing=False)
    if a.state is _S.CONFIRMED or (a.state in FINAL and state in OPEN):
        # Confirmed is the last word on a job, and a late report does not reopen a closed one;
        # but a trial that the server had given up on and that goes back, goes back.
        return replace(a, state=state, reason=reason) if state is _S.ROLLED_BACK else a
    if state in FINAL:
        if a.state in FINAL:
            return replace(a, state=state, reason=reason)
        return _end(a, state, reason, now, policy)
    if a.state is _S.WAITING:
        return a  # a report of the attempt before
    rank, new = PROGRESS.index(a.state), PROGRESS.index(state)
    if new < rank or (new == rank and offset <= a.offset):
        return a
    return replace(
        a,
        state=state,
        offset=max(offset, a.offset),
        timeout_at=now + policy.step_timeout_s,
        repeat_at=now + policy.repeat_s,
    )


def _end(
    a: Assignment, state: AssignmentState, reason: str, now: float, policy: Policy
) -> Assignment:
    retry = (
        state in FAILURES and not a.closing and reason in TRANSIENT and a.attempt <= policy.retries
    )
    if retry:
        pause = policy.backoff_s * 2 ** (a.attempt - 1)
        return replace(a, state=_S.WAITING, reason=reason, next_at=now + pause)
    return replace(a, state=state, reason=reason, closing=False)


def _hello(
    a: Assignment, digest: str, confirmed: bool, now: float, policy: Policy
) -> tuple[Assignment, tuple[Effect, ...]]:
    if a.job and digest == a.digest and confirmed and a.state is not _S.CONFIRMED:
        return replace(a, state=_S.CONFIRMED, reason="ok", closing=False), ()
    if a.closing:
        return a, (SendCancel(),)
    if a.state in BUSY:
        alive = replace(a, timeout_at=now + policy.step_timeout_s, repeat_at=now + policy.repeat_s)
        return alive, (SendJob(),)
    return a, ()


def _cancel(a: Assignment, now: float, policy: Policy) -> tuple[Assignment, tuple[Effect, ...]]:
    if a.state is _S.WAITING:
        return replace(a, state=_S.CANCELLED, reason="cancelled"), ()
    if a.state in BUSY and not a.closing:
        # The device may be confirming this very moment: it has the last word.
        closing = replace(a, closing=True, timeout_at=now + policy.step_timeout_s)
        return closing, (SendCancel(),)
    return a, ()
