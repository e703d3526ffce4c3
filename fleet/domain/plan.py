# SPDX-License-Identifier: Apache-2.0
"""The plan of a rollout is data: which devices when, how fast, and when to stop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fleet.domain.assignment import Policy
from fleet.errors import InvalidError

FAILURE_KINDS = ("rejected", "failed", "timed_out", "rolled_back")


@dataclass(frozen=True)
class Wave:
    """Devices that get the release together.

    Args:
        percent: of the devices that earlier waves left; exactly one of percent and count is given.
        count: this many of them.
        success: percent of the wave that must be confirmed before the next wave opens.
        soak_s: seconds to watch after that.
        on_success: open the next wave, or pause for a person.
    """

    percent: float | None = None
    count: int | None = None
    success: float = 100.0
    soak_s: float = 0.0
    on_success: Literal["next", "pause"] = "next"

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.count is None):
            raise InvalidError("a wave needs either percent or count")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise InvalidError(f"a wave's percent must be above 0 and at most 100: {self.percent}")
        if self.count is not None and self.count < 1:
            raise InvalidError(f"a wave's count must be 1 or more: {self.count}")
        if not 0 < self.success <= 100:
            raise InvalidError(f"success must be above 0 and at most 100 %: {self.success}")
        if not 0 <= self.soak_s < math.inf:
            raise InvalidError(f"soak_s must be 0 or more seconds: {self.soak_s}")
        if self.on_success not in ("next", "pause"):
            raise InvalidError(f"on_success must be next or pause: {self.on_success!r}")


@dataclass(frozen=True)
class Abort:
    """When a rollout stops by itself.

    Args:
        percent: of the finished devices that failed, at which it stops; 100 never stops before
            all have failed.
        min_finished: devices that must have finished before the rule counts.
        kinds: which endings count as failure.
        rollback: whether devices already confirmed then go back to their older model.
    """

    percent: float = 20.0
    min_finished: int = 3
    kinds: tuple[str, ...] = FAILURE_KINDS
    rollback: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise InvalidError(f"abort percent must be above 0 and at most 100: {self.percent}")
        if self.min_finished < 1:
            raise InvalidError(f"abort min_finished must be 1 or more: {self.min_finished}")
        unknown = set(self.kinds) - set(FAILURE_KINDS)
        if unknown:
            raise InvalidError(
                f"no ending of a device is called {', '.join(sorted(unknown))}",
                f"The kinds are {', '.join(FAILURE_KINDS)}.",
            )


@dataclass(frozen=True)
class Rate:
    """How fast offers go out: a token bucket.

    Args:
        per_minute: offers a minute in the first wave.
        burst: offers that may go out at once.
        growth: factor on per_minute and burst from wave to wave.
    """

    per_minute: float = 6000.0
    burst: float = 100.0
    growth: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.per_minute < math.inf or not 1 <= self.burst < math.inf:
            raise InvalidError("rate needs per_minute above 0 and a burst of 1 or more")
        if not 1 <= self.growth <= 100:
            raise InvalidError(f"rate growth must be between 1 and 100: {self.growth}")


@dataclass(frozen=True)
class Plan:
    """Everything a rollout was told.

    Args:
        waves: in order; devices left over by the last one are not updated.
        abort: when to stop.
        rate: how fast to offer.
        jitter_s: devices of a wave begin spread over this many seconds.
        trial_s: seconds that a device runs the new model before it confirms it.
        deadline_s: the rollout stops this long after its start; None never.
        policy: time-outs and retries of each device.
        approval: a second person must approve before the start.
    """

    waves: tuple[Wave, ...] = (Wave(percent=100.0),)
    abort: Abort = field(default_factory=Abort)
    rate: Rate = field(default_factory=Rate)
    jitter_s: float = 0.0
    trial_s: int = 10
    deadline_s: float | None = None
    policy: Policy = field(default_factory=Policy)
    approval: bool = False

    def __post_init__(self) -> None:
        if not self.waves:
            raise InvalidError("a plan needs one wave or more")
        if not 0 <= self.jitter_s < math.inf:
            raise InvalidError(f"jitter_s must be 0 or more seconds: {self.jitter_s}")
        if not 0 <= self.trial_s < 2**32:
            raise InvalidError(f"trial_s must be 0 or more seconds: {self.trial_s}")
        if self.deadline_s is not None and not 0 < self.deadline_s < math.inf:
            raise InvalidError(f"deadline_s must be above 0 seconds: {self.deadline_s}")
        p = self.policy
        if not 0 <= p.retries <= 20 or not 0 <= p.backoff_s < math.inf:
            raise InvalidError("retries must be 0 to 20 and backoff_s 0 or more seconds")
        if not 0 < p.step_timeout_s < math.inf or not 0 < p.repeat_s < math.inf:
            raise InvalidError("step_timeout_s and repeat_s must be above 0 seconds")


def deal(devices: Sequence[str], waves: Sequence[Wave], seed: str) -> list[list[str]]:
    """Which device is in which wave.

    Args:
        devices: names, in any order.
        waves: of the plan.
        seed: decides the order, so that a preview equals what is saved and two rollouts do not
            always begin with the same devices.

    Returns:
        One list of names a wave. A share is rounded up, so that a wave is never empty while
        devices are left.
    """
    left = sorted(devices, key=lambda d: hashlib.sha256(f"{seed}/{d}".encode()).digest())
    dealt = []
    for wave in waves:
        if wave.count is not None:
            size = wave.count
        else:
            assert wave.percent is not None
            size = math.ceil(len(left) * wave.percent / 100 - 1e-9)
        dealt.append(left[:size])
        left = left[size:]
    return dealt


def spread(seed: str, device: str, jitter_s: float) -> float:
    """Seconds after the opening of its wave before ``device`` may begin, below ``jitter_s``."""
    digest = hashlib.sha256(f"{seed}/jitter/{device}".encode()).digest()
    return jitter_s * int.from_bytes(digest[:6], "big") / 2**48
