# SPDX-License-Identifier: Apache-2.0
"""How the range of a tensor is chosen from what calibration saw.

None depends on the order of the samples: a moving average forgets most of the data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from tinyml.errors import CalibrationError
from tinyml.ir.operator import affine
from tinyml.ir.tensor import Array

BINS = 4096


@dataclass(frozen=True)
class Histogram:
    """Counts of a tensor's values over all samples.

    Args:
        low, high: smallest and largest value seen.
        counts: (BINS,) counts over equal bins of [low, high].
    """

    low: float
    high: float
    counts: Array

    @property
    def centres(self) -> Array:
        """The middle of each bin."""
        width = (self.high - self.low) / BINS
        return np.asarray(self.low + (np.arange(BINS) + 0.5) * width)

    def outside(self, low: float, high: float) -> float:
        """The fraction of values outside [low, high]."""
        centres = self.centres
        lost = self.counts[(centres < low) | (centres > high)].sum()
        return float(lost / max(self.counts.sum(), 1))


class Observer(ABC):
    """Chooses (low, high) of a tensor."""

    @abstractmethod
    def range(self, histogram: Histogram) -> tuple[float, float]:
        """The range that int8 will cover; values outside saturate."""


@dataclass(frozen=True)
class MinMax(Observer):
    """Everything that was seen."""

    def range(self, histogram: Histogram) -> tuple[float, float]:
        return histogram.low, histogram.high


@dataclass(frozen=True)
class Percentile(Observer):
    """Leaves out the same fraction at each end.

    Args:
        percent: the part kept, in (50, 100].
    """

    percent: float = 99.99

    def range(self, histogram: Histogram) -> tuple[float, float]:
        tail = (1 - self.percent / 100) * histogram.counts.sum() / 2
        rising = np.cumsum(histogram.counts)
        falling = np.cumsum(histogram.counts[::-1])
        width = (histogram.high - histogram.low) / BINS
        low = histogram.low + width * int(np.searchsorted(rising, tail, side="right"))
        high = histogram.high - width * int(np.searchsorted(falling, tail, side="right"))
        return (low, high) if low < high else (histogram.low, histogram.high)


@dataclass(frozen=True)
class MeanSquaredError(Observer):
    """The range whose int8 grid loses least, by search over narrower and narrower ranges.

    Args:
        steps: candidates tried between half and all of the range.
    """

    steps: int = 50

    def range(self, histogram: Histogram) -> tuple[float, float]:
        centres = histogram.centres
        best, best_error = (histogram.low, histogram.high), np.inf
        for keep in np.linspace(1.0, 0.5, self.steps):
            low, high = histogram.low * keep, histogram.high * keep
            grid = affine(low, high)
            restored = grid.dequantise(grid.quantise(centres))
            error = float(np.sum(histogram.counts * (centres - restored) ** 2))
            if error < best_error:
                best, best_error = (low, high), error
        return best


OBSERVERS = ("minmax", "percentile", "mse")


def observer_named(text: str) -> Observer:
    """The observer of a command-line value: minmax, mse, percentile or percentile:99.9."""
    name, _, parameter = text.partition(":")
    if name == "minmax" and not parameter:
        return MinMax()
    if name == "mse" and not parameter:
        return MeanSquaredError()
    if name == "percentile":
        try:
            percent = float(parameter or 99.99)
        except ValueError:
            percent = 0.0
        if 50 < percent <= 100:
            return Percentile(percent)
    raise CalibrationError(
        f"'{text}' is no observer", f"Use one of {', '.join(OBSERVERS)} or percentile:99.9."
    )
