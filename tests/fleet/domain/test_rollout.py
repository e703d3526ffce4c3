# SPDX-License-Identifier: Apache-2.0
"""Rollouts against devices that do anything, in any order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fleet.domain import assignment as one
from fleet.domain import rollout as many
from fleet.domain.assignment import Action, Assignment, AssignmentState
from fleet.domain.plan import Abort, Plan, Policy, Rate, Wave, deal, spread
from fleet.domain.rollout import RolloutState
from fleet.errors import ConflictError, InvalidError

WAVES = st.lists(
    st.builds(
        Wave,
        percent=st.floats(1, 100),
        success=st.floats(1, 100),
        soak_s=st.sampled_from([0, 5]),
        on_success=st.sampled_from(["next", "pause"]),
    ),
    min_size=1,
    max_size=3,
)
PLANS = st.builds(
    Plan,
    waves=WAVES.map(tuple),
    abort=st.builds(Abort, percent=st.floats(1, 100), min_finished=st.integers(1, 5)),
    rate=st.builds(Rate, per_minute=st.sampled_from([10.0, 6000.0]), burst=st.sampled_from([1, 9])),
    deadline_s=st.sampled_from([None, None, 200.0]),
    policy=st.builds(
        Policy, retries=st.integers(0, 2), backoff_s=st.just(10), step_timeout_s=st.just(60)
    ),
)
DEVICE_STATES = [
    AssignmentState.RECEIVED,
    AssignmentState.DOWNLOADING,
    AssignmentState.VERIFYING,
    AssignmentState.TRIAL,
    AssignmentState.CONFIRMED,
    AssignmentState.REJECTED,
    AssignmentState.FAILED,
    AssignmentState.ROLLED_BACK,
    AssignmentState.CANCELLED,
]
REASONS = ["ok", "busy", "selftest_mismatch", "flash_error"]


class Machine(RuleBasedStateMachine):
    """The shell in memory: what the store does with effects, over dictionaries."""

    @initialize(plan=PLANS, size=st.integers(1, 12))
    def create(self, plan: Plan, size: int) -> None:
        self.now = 1000.0
        self.jobs = 0
        self.offers_after_stop = 0
        self.plan = plan
        waves = deal([f"d{i}" for i in range(size)], plan.waves, "seed")
        self.wave = {d: w for w, names in enumerate(waves) for d in names}
        self.assignments = {d: Assignment(Action.INSTALL, "aa", 5) for d in self.wave}
        self.rollout = many.draft(plan, [len(w) for w in waves])
        self.send(many.Submit())
        self.send(many.Start())

    def send(self, event: many.Event) -> None:
        self.rollout, effects = many.step(self.rollout, event, self.now)
        for effect in effects:
            match effect:
                case many.OfferNext(limit):
                    assert self.rollout.state is RolloutState.RUNNING
                    assert limit >= 1
                    due = [
                        d
                        for d, a in self.assignments.items()
                        if a.state is AssignmentState.WAITING
                        and a.next_at <= self.now
                        and self.wave[d] <= self.rollout.wave
                    ]
                    for device in due[:limit]:
                        self.jobs += 1
                        self.one(device, one.Offer(self.jobs))
                case many.EndOpen():
                    for device in self.assignments:
                        self.one(device, one.Cancel())

    def one(self, device: str, event: one.Event) -> tuple[one.Effect, ...]:
        before = self.assignments[device]
        after, effects = one.step(before, event, self.now, self.plan.policy)
        self.assignments[device] = after
        if after.state is not before.state:
            self.send(many.Moved(self.wave[device], before.state, after.state))
        return effects

    @rule(
        pick=st.integers(0, 11),
        state=st.sampled_from(DEVICE_STATES),
        reason=st.sampled_from(REASONS),
        stale=st.booleans(),
        offset=st.integers(0, 9),
    )
    def report(self, pick, state, reason, stale, offset):
        device = sorted(self.assignments)[pick % len(self.assignments)]
        job = self.assignments[device].job - stale
        event = one.Report(job, state, reason, offset)
        before = self.assignments[device]
        self.one(device, event)
        after = self.assignments[device]
        if stale:
            assert after == before
        if after.state is not AssignmentState.WAITING:
            # Again: a duplicate changes nothing but the time to give up.
            self.one(device, event)
            times = {"timeout_at": 0, "repeat_at": 0}
            assert replace(self.assignments[device], **times) == replace(after, **times)

    @rule(pick=st.integers(0, 11), new=st.booleans(), confirmed=st.booleans())
    def hello(self, pick, new, confirmed):
        device = sorted(self.assignments)[pick % len(self.assignments)]
        before = self.assignments[device]
        effects = self.one(device, one.Hello("aa" if new else "00", confirmed))
        if new and confirmed and before.job:
            assert self.assignments[device].state is AssignmentState.CONFIRMED
        elif before.state in one.BUSY:
            assert effects  # a device that was interrupted is always told where it stands

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 61.0]))
    def tick(self, seconds):
        self.now += seconds
        for device in self.assignments:
            self.one(device, one.Tick())
        self.send(many.Tick())

    @precondition(lambda self: self.rollout.state is RolloutState.RUNNING)
    @rule()
    def pause(self):
        self.send(many.Pause())

    @precondition(lambda self: self.rollout.state is RolloutState.PAUSED)
    @rule()
    def resume(self):
        self.send(many.Resume())

    @precondition(lambda self: self.rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED))
    @rule(often=st.integers(0, 4))
    def cancel(self, often):
        if often == 0:
            self.send(many.Cancel())

    @invariant()
    def counts_are_what_is(self):
        if not hasattr(self, "rollout"):
            return
        for wave, counts in enumerate(self.rollout.counts):
            states = [a.state for d, a in self.assignments.items() if self.wave[d] == wave]
            assert dict(counts) == {s: states.count(s) for s in set(states)}

    @invariant()
    def only_open_waves_were_offered(self):
        for device, a in getattr(self, "assignments", {}).items():
            assert a.job == 0 or self.wave[device] <= self.rollout.wave
            assert a.attempt <= self.plan.policy.retries + 1

    @invariant()
    def the_end_is_the_end(self):
        if hasattr(self, "rollout") and self.rollout.state in many.ENDED:
            assert self.rollout.open == 0

    def teardown(self):
        """Whatever happened: left alone, every rollout that runs comes to an end."""
        if not hasattr(self, "rollout"):
            return
        for _ in range(400):
            if self.rollout.state is RolloutState.PAUSED:
                self.send(many.Resume())
            self.now += 30
            for device in self.assignments:
                self.one(device, one.Tick())
            self.send(many.Tick())
            if self.rollout.state in many.ENDED:
                return
        raise AssertionError(f"still {self.rollout.state}: {self.rollout.counts}")


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def run(rollout: many.Rollout, *events: many.Event, now: float = 0.0) -> many.Rollout:
    for event in events:
        rollout, _ = many.step(rollout, event, now)
    return rollout


def moved(wave: int, after: AssignmentState, n: int = 1) -> list[many.Event]:
    return [many.Moved(wave, AssignmentState.WAITING, after)] * n


def test_the_second_wave_waits_for_success_and_soak():
    plan = Plan(waves=(Wave(count=2, soak_s=60), Wave(percent=100)))
    r = run(many.draft(plan, [2, 8]), many.Submit(), many.Start())
    r = run(r, *moved(0, AssignmentState.CONFIRMED), many.Tick(), now=10)
    assert r.wave == 0
    r = run(r, *moved(0, AssignmentState.CONFIRMED), many.Tick(), now=20)
    assert (r.wave, r.reached_at) == (0, 20)
    assert run(r, many.Tick(), now=79).wave == 0
    assert run(r, many.Tick(), now=80).wave == 1


def test_failures_stop_it_and_take_the_confirmed_back():
    plan = Plan(abort=Abort(percent=50, min_finished=2))
    r = run(many.draft(plan, [4]), many.Submit(), many.Start())
    r = run(r, *moved(0, AssignmentState.FAILED), many.Tick())
    assert r.state is RolloutState.RUNNING  # one has finished, two are asked for
    r = run(r, *moved(0, AssignmentState.CONFIRMED))
    r, effects = many.step(r, many.Tick(), 0)
    assert r.state is RolloutState.STOPPING
    assert many.EndOpen() in effects
    r = run(r, *moved(0, AssignmentState.CANCELLED, 2))
    r, effects = many.step(r, many.Tick(), 0)
    assert r.state is RolloutState.STOPPED
    assert many.RollBack() in effects


def test_a_wave_pauses_for_a_person():
    plan = Plan(waves=(Wave(count=1, on_success="pause"), Wave(percent=100)))
    r = run(many.draft(plan, [1, 1]), many.Submit(), many.Start())
    r = run(r, *moved(0, AssignmentState.CONFIRMED), many.Tick())
    assert r.state is RolloutState.PAUSED
    r = run(r, many.Resume(), many.Tick())
    assert (r.state, r.wave) == (RolloutState.RUNNING, 1)


def test_the_rate_holds():
    plan = Plan(rate=Rate(per_minute=60, burst=5))
    r = run(many.draft(plan, [100]), many.Submit(), many.Start())
    offered = 0
    for second in range(31):
        r, effects = many.step(r, many.Tick(), float(second))
        for effect in effects:
            if isinstance(effect, many.OfferNext):
                offered += effect.limit
                r = run(r, *moved(0, AssignmentState.OFFERED, effect.limit), now=float(second))
    assert offered == 5 + 30


def test_approval_is_asked_for():
    r = run(many.draft(Plan(approval=True), [1]), many.Submit())
    with pytest.raises(ConflictError, match="awaiting_approval"):
        many.step(r, many.Start(), 0)
    assert run(r, many.Approve(), many.Start()).state is RolloutState.RUNNING
    assert run(r, many.Deny()).state is RolloutState.DENIED


@pytest.mark.parametrize("state", list(RolloutState))
@pytest.mark.parametrize(
    "command",
    [many.Submit(), many.Approve(), many.Deny(), many.Start(), many.Pause(), many.Resume(),
     many.Cancel()],
)  # fmt: skip
def test_every_command_is_defined_in_every_state(state, command):
    r = replace(many.draft(Plan(), [1]), state=state, wave=0)
    try:
        after, _ = many.step(r, command, 0)
    except ConflictError as error:
        assert state in error.message
    else:
        assert after.state is not state


@given(
    names=st.sets(st.integers(0, 10_000)),
    waves=WAVES,
    seed=st.text(max_size=5),
    shuffle=st.randoms(),
)
def test_waves_are_dealt_once_and_the_same_every_time(names, waves, seed, shuffle):
    devices = [f"d{i}" for i in names]
    dealt = deal(devices, waves, seed)
    flat = [d for wave in dealt for d in wave]
    assert len(flat) == len(set(flat))
    assert set(flat) <= set(devices)
    if any(w.percent == 100 for w in waves):
        assert set(flat) == set(devices)
    shuffle.shuffle(devices)
    assert deal(devices, waves, seed) == dealt
    assert all(0 <= spread(seed, d, 30) < 30 for d in devices)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Plan(waves=()),
        lambda: Wave(),
        lambda: Wave(percent=5, count=5),
        lambda: Wave(percent=101),
        lambda: Wave(percent=float("nan")),
        lambda: Wave(count=0),
        lambda: Wave(count=1, success=0),
        lambda: Wave(count=1, soak_s=-1),
        lambda: Abort(percent=0),
        lambda: Abort(kinds=("unlucky",)),
        lambda: Rate(per_minute=0),
        lambda: Rate(burst=0.5),
        lambda: Plan(jitter_s=-1),
        lambda: Plan(deadline_s=0),
        lambda: Plan(policy=Policy(retries=-1)),
        lambda: Plan(policy=Policy(step_timeout_s=0)),
        lambda: Plan(policy=Policy(repeat_s=0)),
    ],
)
def test_plans_that_make_no_sense_are_refused(broken):
    with pytest.raises(InvalidError):
        broken()
