# SPDX-License-Identifier: Apache-2.0
"""How the range of a tensor is chosen from what calibration saw.

None depends on the order of the samples: a moving average forgets most of the data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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

    @property
    @abstractmethod
    def name(self) -> str:
        """What `observer_named` takes."""

    @abstractmethod
    def range(self, histogram: Histogram) -> tuple[float, float]:
        """The range that int8 will cover; values outside saturate."""


@dataclass(frozen=True)
class MinMax(Observer):
    """Everything that was seen."""

    @property
    def name(self) -> str:
        return "minmax"

    def range(self, histogram: Histogram) -> tuple[float, float]:
        return histogram.low, histogram.high


@dataclass(frozen=True)
class Percentile(Observer):
    """Leaves out the same fraction at each end.

    Args:
        percent: the part kept, in (50, 100].
    """

    percent: float = 99.99

    @property
    def name(self) -> str:
        return f"percentile:{self.percent:g}"

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
        steps: candidates tried at each end.
    """

    steps: int = 50

    @property
    def name(self) -> str:
        return "mse"

    def range(self, histogram: Histogram) -> tuple[float, float]:
        return _narrowed(histogram, _squared_error, self.steps)


def _squared_error(histogram: Histogram, low: float, high: float) -> float:
    """The sum of squared errors of int8 over [low, high]."""
    centres = histogram.centres
    grid = affine(low, high)
    restored = grid.dequantise(grid.quantise(centres))
    return float(np.sum(histogram.counts * (centres - restored) ** 2))


@dataclass(frozen=True)
class Entropy(Observer):
    """The range whose int8 grid keeps most of the distribution, by Kullback-Leibler divergence.

    What is outside a candidate counts at its ends in the reference but not in the rounded
    distribution, so that clipping costs as rounding does. Source: Migacz, "8-bit inference with
    TensorRT", GTC 2017.

    Args:
        steps: candidates tried at each end.
    """

    steps: int = 50

    @property
    def name(self) -> str:
        return "entropy"

    def range(self, histogram: Histogram) -> tuple[float, float]:
        return _narrowed(histogram, _divergence, self.steps)


def _divergence(histogram: Histogram, low: float, high: float) -> float:
    """Kullback-Leibler divergence in nats of the values rounded to int8 over [low, high] from
    the values; infinite where the range holds none."""
    centres, counts = histogram.centres, histogram.counts
    first, last = np.searchsorted(centres, low), np.searchsorted(centres, high, side="right")
    inside = counts[first:last].astype(np.float64)
    if not inside.any():
        return float("inf")
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    levels = affine(low, high).quantise(centres[first:last]).astype(np.int64) + 128
    filled = inside > 0
    held = np.bincount(levels, inside, 256)
    bins = np.bincount(levels, filled, 256)
    rounded = np.where(filled, held[levels] / np.maximum(bins[levels], 1), 0.0)
    # An end may hold nothing but what was clipped; one value keeps the divergence finite.
    rounded[(reference > 0) & ~filled] = 1.0
    seen = reference > 0
    p, q = reference[seen] / reference.sum(), rounded[seen] / rounded.sum()
    return float(np.sum(p * np.log(p / q)))


def _narrowed(
    histogram: Histogram, loss: Callable[[Histogram, float, float], float], steps: int
) -> tuple[float, float]:
    """The range of least loss between half and all of each end, the upper end first: what one
    end can spare says nothing about the other (SiLU never falls below -0.279)."""
    low, high = histogram.low, histogram.high
    least = loss(histogram, low, high)
    for keep in np.linspace(1.0, 0.5, steps)[1:]:
        lost = loss(histogram, histogram.low, histogram.high * keep)
        if lost < least:
            high, least = histogram.high * keep, lost
    for keep in np.linspace(1.0, 0.5, steps)[1:]:
        lost = loss(histogram, histogram.low * keep, high)
        if lost < least:
            low, least = histogram.low * keep, lost
    return low, high


OBSERVERS = ("minmax", "percentile", "mse", "entropy")


def observer_named(text: str) -> Observer:
    """The observer of a command-line value: minmax, mse, entropy, percentile or
    percentile:99.9."""
    name, _, parameter = text.partition(":")
    if name == "minmax" and not parameter:
        return MinMax()
    if name == "mse" and not parameter:
        return MeanSquaredError()
    if name == "entropy" and not parameter:
        return Entropy()
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
