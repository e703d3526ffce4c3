# SPDX-License-Identifier: Apache-2.0
"""What a user chooses about learning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from tinyml.errors import LearnError

_Choice = TypeVar("_Choice", bound=Enum)


class Loss(Enum):
    """Losses; the values are what the command line takes, the order is that of
    tml_learn_loss_t."""

    CROSS_ENTROPY = "cross-entropy"
    MSE = "mse"
    BCE = "bce"

    @property
    def c_name(self) -> str:
        return f"TML_LOSS_{self.name}"


class Optimizer(Enum):
    """How a gradient changes weights."""

    SGD = "sgd"
    MOMENTUM = "momentum"


class Standardise(Enum):
    """Standardisation of raw inputs on the device; the order is that of
    tml_learn_standardise_t."""

    OFF = "off"
    WARMUP = "warmup"
    EMA = "ema"

    @property
    def c_name(self) -> str:
        return f"TML_STANDARDISE_{self.name}"


@dataclass(frozen=True)
class LearnOptions:
    """A learner to be generated.

    Args:
        layers: "head" (the last layer with weights), "all", or layer names joined by commas.
        optimizer: plain SGD, or with momentum, which takes another float for each weight.
        loss: what is minimised.
        ram: the most bytes of state and work; decides which layers and channels are trained.
            None: all that ``layers`` names.
        classes: outputs there is room for, those of the network included; None: no more.
        standardise: of raw inputs; only without an int8 backbone.
        window: samples of the warm-up or of the moving average.
        rate, momentum: defaults of the generated learner.
    """

    layers: str = "head"
    optimizer: Optimizer = Optimizer.SGD
    loss: Loss = Loss.CROSS_ENTROPY
    ram: int | None = None
    classes: int | None = None
    standardise: Standardise = Standardise.OFF
    window: int = 200
    rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise LearnError(f"the learning rate {self.rate} is not positive")
        if not 0 <= self.momentum < 1:
            raise LearnError(f"the momentum {self.momentum} is not in [0, 1)")
        if self.window < 2:
            raise LearnError(
                f"a window of {self.window} samples has no variance", "Take 2 or more."
            )


def choose(kind: type[_Choice], text: str, option: str) -> _Choice:
    """The member of an enumeration that a user named.

    Raises:
        LearnError: none; lists them.
    """
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise LearnError(f"{option} cannot be '{text}'", f"Known: {known}.") from None


def parse_standardise(text: str) -> tuple[Standardise, int]:
    """OFF, warmup[:SAMPLES] or ema[:SAMPLES].

    Raises:
        LearnError: something else.
    """
    name, _, size = text.partition(":")
    known = {s.value: s for s in Standardise}
    if name not in known or (size and not size.isdecimal()):
        raise LearnError(
            f"'{text}' is no standardisation", "Give off, warmup[:SAMPLES] or ema[:SAMPLES]."
        )
    return known[name], int(size) if size else 200
