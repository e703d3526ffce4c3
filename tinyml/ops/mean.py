# SPDX-License-Identifier: Apache-2.0
"""Mean and sum over neighbouring axes, each with its own output scale."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import quantise_multiplier, requantise, saturate, wrap32
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Reduction(Operator):
    """Input x; the output has size 1 on ``axes``.

    Args:
        axes: ascending, each next to the last; counted from 0.
    """

    axes: tuple[int, ...] = (1, 2)
    tflite_name: ClassVar[str]

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if not self.axes or self.axes != tuple(range(self.axes[0], self.axes[0] + len(self.axes))):
            raise ValueError(f"{self.kind}: the axes {self.axes} are not neighbours")
        if not 0 <= self.axes[0] <= self.axes[-1] < len(x):
            raise ValueError(f"{self.kind}: {x} has no axes {self.axes}")
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(x))

    def split(self, x: Shape) -> tuple[int, int, int]:
        """The elements before, on, and behind the axes."""
        first, last = self.axes[0], self.axes[-1] + 1
        return math.prod(x[:first]), math.prod(x[first:last]), math.prod(x[last:])

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axes = b.integers("axes", self.axes)
        inputs = [b.tensor(ins[0]), axes]
        b.operator(self.tflite_name, inputs, [b.tensor(out)], "ReducerOptions", keepDims=True)

    def c_shape(self, c: CEmitter, x: Tensor) -> str:
        """The tml_reduce_t of this node."""
        rows, count, channels = self.split(x.shape)
        return c.shape("tml_reduce_t", {"rows": rows, "count": count, "channels": channels})


@dataclass(frozen=True)
class Summing(Reduction):
    """What mean and sum share: one requantisation of each sum."""

    onnx_name: ClassVar[str]

    @abstractmethod
    def multiplier(self, x: Tensor, out: Tensor) -> tuple[int, int]:
        """What takes a sum of the input's integers to the output's."""

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64) - ins[0].q.z
        sums = wrap32(x.sum(axis=self.axes, keepdims=True))
        return saturate(requantise(sums, *self.multiplier(ins[0], out)) + out.q.z, out.dtype)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axes = b.integers(sorted(b.axis(a, len(out.shape)) for a in self.axes))
        b.write(out, b.node(self.onnx_name, [b.read(ins[0]), axes], keepdims=1))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        record = c.record([ins[0].q.z, out.q.z, *self.multiplier(ins[0], out)])
        shape, kernel = self.c_shape(c, ins[0]), f"tml_mean_{c.suffix(out)}"
        c.call(kernel, shape, record, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Mean(Summing):
    """The mean; over height and width it is global average pooling.

    Source: TFLite reference_ops::QuantizedMeanOrSum, which carries 1 / count in the multiplier.
    """

    kind: ClassVar[str] = "mean"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "MEAN"
    onnx_name: ClassVar[str] = "ReduceMean"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(inputs[0].mean(self.axes, np.float64, keepdims=True), np.float32)

    def multiplier(self, x: Tensor, out: Tensor) -> tuple[int, int]:
        count = self.split(x.shape)[1]
        multiplier, shift = quantise_multiplier(x.q.s / out.q.s)
        normalise = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << normalise) // count, shift - normalise


@dataclass(frozen=True)
class Sum(Summing):
    """The sum. Source: TFLite reference_ops::QuantizedMeanOrSum."""

    kind: ClassVar[str] = "sum"
    tflite_name: ClassVar[str] = "SUM"
    onnx_name: ClassVar[str] = "ReduceSum"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(inputs[0].sum(self.axes, np.float64, keepdims=True), np.float32)

    def multiplier(self, x: Tensor, out: Tensor) -> tuple[int, int]:
        return quantise_multiplier(x.q.s / out.q.s)


@dataclass(frozen=True)
class ReduceExtreme(Reduction):
    """Selects one of the integers. Source: TFLite reference_ops::ReduceGeneric."""

    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT
    onnx_name: ClassVar[str]
    pick: ClassVar[Callable[..., Any]]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(type(self).pick(inputs[0], axis=self.axes, keepdims=True))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.run_float(inputs)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axes = b.integers(sorted(b.axis(a, len(out.shape)) for a in self.axes))
        b.write(out, b.node(self.onnx_name, [b.read(ins[0]), axes], keepdims=1))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        kernel, shape = f"tml_{self.kind}_s8", self.c_shape(c, ins[0])
        c.call(kernel, shape, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class ReduceMax(ReduceExtreme):
    """The largest."""

    kind: ClassVar[str] = "reduce_max"
    tflite_name: ClassVar[str] = "REDUCE_MAX"
    onnx_name: ClassVar[str] = "ReduceMax"
    pick: ClassVar[Callable[..., Any]] = np.max


@dataclass(frozen=True)
class ReduceMin(ReduceExtreme):
    """The smallest."""

    kind: ClassVar[str] = "reduce_min"
    tflite_name: ClassVar[str] = "REDUCE_MIN"
    onnx_name: ClassVar[str] = "ReduceMin"
    pick: ClassVar[Callable[..., Any]] = np.min
