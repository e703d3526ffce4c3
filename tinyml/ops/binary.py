# SPDX-License-Identifier: Apache-2.0
"""What two-input elementwise operators share: broadcasting over equal ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import DType, Tensor
from tinyml.kernels import DUAL_MULTIPLY
from tinyml.ops.activation import Activation
from tinyml.ops.strides import element_strides, merge_axes

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Binary(Operator):
    """Inputs a and b of equal rank, at most 4; sizes agree or are 1."""

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        a, b = inputs
        if len(a) != len(b) or len(a) > 4:
            raise ValueError(f"{self.kind}: shapes {a} and {b} need one rank, at most 4")
        if any(i != j and 1 not in (i, j) for i, j in zip(a, b, strict=True)):
            raise ValueError(f"{self.kind}: shapes {a} and {b} do not broadcast")
        return tuple(max(i, j) for i, j in zip(a, b, strict=True))

    def c_shape(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> str:
        """The tml_broadcast_t of this node."""
        strides = [element_strides(t.shape) for t in ins]
        dims, a, b = merge_axes(out.shape, *strides)
        return c.shape("tml_broadcast_t", {"dims": dims, "stride_a": a, "stride_b": b})


@dataclass(frozen=True)
class Arithmetic(Binary):
    """A two-input operator with a fused activation."""

    activation: Activation = Activation.NONE
    tflite_name: ClassVar[str]
    tflite_options: ClassVar[str]
    onnx_name: ClassVar[str]

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator(
            self.tflite_name,
            [b.tensor(ins[0]), b.tensor(ins[1])],
            [b.tensor(out)],
            self.tflite_options,
            fusedActivationFunction=b.activation(self.activation),
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        value = b.node(self.onnx_name, [b.read(ins[0]), b.read(ins[1])])
        b.write(out, self.activation.to_onnx(b, value))


@dataclass(frozen=True)
class Rows:
    """How the smaller input of an operator lies under the larger one, which is as large as the
    output.

    Args:
        repeats, period: rows and elements of a row.
        step, along: how far the smaller input moves on from a row, or an element, to the next.
    """

    repeats: int
    period: int
    step: int
    along: int


def fast_rows(c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> Rows | None:
    """For the fast kernels of the core: None where it has none for the shapes and types."""
    large, small = sorted(ins, key=lambda t: t.elements, reverse=True)
    same_types = large.dtype is small.dtype is out.dtype
    if c.core not in DUAL_MULTIPLY or large.shape != out.shape or not same_types:
        return None
    if out.dtype is not DType.INT8 and any(t.q.z != 0 for t in (*ins, out)):
        return None
    period = small.elements
    inner = next((i for i, size in enumerate(small.shape) if size != 1), len(small.shape))
    outer = next((i for i in range(len(small.shape), 0, -1) if small.shape[i - 1] != 1), 0)
    if small.shape[:outer] == out.shape[:outer] and small.shape != out.shape:
        return Rows(period, out.elements // period, 1, 0)
    if small.shape[inner:] == out.shape[inner:]:
        return Rows(out.elements // period, period, 0, 1)
    return None


def aligned_shape(c: CEmitter, rows: Rows, wide: Tensor, fine: Tensor) -> str:
    """The tml_add_dsp_t of a node."""
    count = rows.repeats * rows.period
    fields = {"repeats": rows.repeats, "period": rows.period}
    for name, x in (("wide", wide), ("fine", fine)):
        small = x.elements < count
        fields[f"{name}_step"] = rows.step if small else rows.period
        fields[f"{name}_along"] = rows.along if small else 1
    return c.shape("tml_add_dsp_t", fields)
