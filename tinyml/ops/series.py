# SPDX-License-Identifier: Apache-2.0
"""Instance scaling of a time series in integers. In C only: the other runtimes are given series
in standard units and return forecasts in standard units.

The series is int32 in any unit, (1, time, channels). `Statistics` makes the mean and the
deviation of each channel, `Standardise` turns a series into the network's integers, and `Restore`
turns the network's integers back into the unit of the series. No result depends on a range that
was chosen beforehand: the scale belongs to the one inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import INT32_MAX, INT32_MIN, Int64, quantise_multiplier
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# Counts beyond saturate, so that no sum of squares overflows 64 bits for a series this long.
COUNT_LIMIT = (1 << 25) - 1
MAX_TIME = 2048
# A sample that is not there: it leaves the statistics alone and becomes the mean.
MISSING = INT32_MIN
# The deviation carries this many bits below the point.
DEVIATION_BITS = 4


class _Series(Operator):
    """What the three share: no float form, no TFLite, no ONNX."""

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError(f"{self.kind} is defined on integers only")

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"TFLite-Micro registers no {self.kind}")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"{self.kind} is attached after the ONNX model is written")


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest integer to a quotient with a positive denominator, half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def integer_root(x: int) -> int:
    """The largest integer whose square is at most x >= 0."""
    root, bit = 0, 1 << 62
    while bit > x:
        bit >>= 2
    while bit:
        if x >= root + bit:
            x -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@dataclass(frozen=True)
class Statistics(_Series):
    """Input: counts int32 (1, time, channels). Output int32 (2, channels): means in counts,
    deviations in 1/16 count, at least 1/16.

    Args:
        epsilon: added to the variance, in squared counts.
    """

    epsilon: int
    kind: ClassVar[str] = "statistics"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if len(x) != 3 or x[0] != 1 or not 0 < x[1] <= MAX_TIME:
            raise ValueError(f"statistics: {x} is not (1, time up to {MAX_TIME}, channels)")
        return (2, x[2])

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64)[0]
        made = np.zeros(out.shape, np.int32)
        for channel in range(x.shape[1]):
            seen = x[:, channel][x[:, channel] != MISSING]
            seen = np.clip(seen, -COUNT_LIMIT, COUNT_LIMIT)
            count = max(len(seen), 1)
            mean = _rounded(int(seen.sum()), count)
            squares = sum(int(d) * int(d) for d in seen - mean)
            variance = min(squares // count + self.epsilon, (1 << 53) - 1)
            made[0, channel] = mean
            made[1, channel] = max(integer_root(variance << (2 * DEVIATION_BITS)), 1)
        return made

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        _, time, channels = ins[0].shape
        shape = c.shape("tml_series_t", _shape(time, channels, 0, channels))
        low, high = self.epsilon & 0xFFFFFFFF, self.epsilon >> 32
        record = c.record([low - (1 << 32) if low >= 1 << 31 else low, high])
        c.call("tml_series_statistics", shape, record, c.read(ins[0]), c.write(out))


def _shape(time: int, channels: int, first: int, of: int) -> dict[str, int]:
    return {"time": time, "channels": channels, "first": first, "statistics": of}


def _normalised(deviation: int) -> tuple[int, int]:
    """The deviation shifted to 32 significant bits, and the shift."""
    shift = 32 - deviation.bit_length()
    return deviation << shift, shift


@dataclass(frozen=True)
class Standardise(_Series):
    """Inputs: counts int32 (1, time, channels), statistics int32 (2, of all channels).
    Output: (count - mean) / deviation on an int16 or int8 grid.

    Args:
        first: which of the statistics' channels is the series' first.
    """

    first: int = 0
    kind: ClassVar[str] = "standardise"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, statistics = inputs
        if self.first + x[2] > statistics[1]:
            raise ValueError(f"standardise: {statistics} does not describe {x}")
        return x

    @staticmethod
    def _multiplier(out: Tensor) -> tuple[int, int]:
        multiplier, shift = quantise_multiplier((1 << DEVIATION_BITS) / out.q.s)
        if not 0 <= shift <= 30:
            raise QuantisationError(
                f"standardise: the scale of '{out.name}' is {out.q.s:g}; between 2**-26 and 16 "
                "was expected",
                "Check the calibration samples.",
            )
        return multiplier, shift

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x, statistics = inputs[0].astype(np.int64), inputs[1]
        multiplier, shift = self._multiplier(out)
        made = np.zeros(out.shape, np.int64)
        for channel in range(x.shape[2]):
            mean = int(statistics[0, self.first + channel])
            deviation, bits = _normalised(int(statistics[1, self.first + channel]))
            factor = (multiplier << 31) // deviation
            right = 62 - shift - bits
            seen = np.clip(x[0, :, channel], -COUNT_LIMIT, COUNT_LIMIT)
            value = ((seen - mean) * factor + (1 << (right - 1))) >> right
            made[0, :, channel] = np.where(x[0, :, channel] == MISSING, 0, value)
        return np.asarray(np.clip(made + out.q.z, *out.dtype.limits), out.dtype.numpy)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        _, time, channels = ins[0].shape
        shape = c.shape("tml_series_t", _shape(time, channels, self.first, ins[1].shape[1]))
        record = c.record([*self._multiplier(out), out.q.z])
        kernel = f"tml_series_standardise_{c.suffix(out)}"
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))


@dataclass(frozen=True)
class Restore(_Series):
    """Inputs: a forecast (1, time, channels) in int16 or int8, statistics int32.
    Output: mean + forecast * deviation, int32 counts.

    Args:
        first: which of the statistics' channels is the forecast's first.
    """

    first: int = 0
    kind: ClassVar[str] = "restore"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, statistics = inputs
        if self.first + x[2] > statistics[1]:
            raise ValueError(f"restore: {statistics} does not describe {x}")
        return x

    @staticmethod
    def _multiplier(x: Tensor) -> tuple[int, int]:
        multiplier, shift = quantise_multiplier(x.q.s / (1 << DEVIATION_BITS))
        if not -26 <= shift <= -1:
            raise QuantisationError(
                f"restore: the scale of '{x.name}' is {x.q.s:g}; between 2**-22 and 4 was expected",
                "Its values should be in standard units; check the calibration samples.",
            )
        return multiplier, shift

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x, statistics = inputs[0].astype(np.int64) - ins[0].q.z, inputs[1]
        multiplier, shift = self._multiplier(ins[0])
        made = np.zeros(out.shape, np.int64)
        for channel in range(x.shape[2]):
            mean = int(statistics[0, self.first + channel])
            deviation, bits = _normalised(int(statistics[1, self.first + channel]))
            factor = (deviation * multiplier + (1 << 31)) >> 32
            right = bits - shift - 1
            half = (1 << right) >> 1
            made[0, :, channel] = mean + ((x[0, :, channel] * factor + half) >> right)
        return np.asarray(np.clip(made, INT32_MIN + 1, INT32_MAX), np.int32)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        _, time, channels = ins[0].shape
        shape = c.shape("tml_series_t", _shape(time, channels, self.first, ins[1].shape[1]))
        record = c.record([*self._multiplier(ins[0]), ins[0].q.z])
        kernel = f"tml_series_restore_{c.suffix(ins[0])}"
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))


def to_counts(real: Array, unit: float) -> Array:
    """The int32 series of reals, one count a ``unit``; NaN becomes `MISSING`."""
    missing = np.isnan(real)
    scaled = np.rint(np.where(missing, 0.0, real).astype(np.float64) / unit)
    counts: Int64 = np.clip(scaled, -COUNT_LIMIT, COUNT_LIMIT).astype(np.int64)
    return np.asarray(np.where(missing, MISSING, counts), DType.INT32.numpy)
