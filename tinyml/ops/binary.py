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


def has_fast_kernel(c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> bool:
    """Whether the shapes and types are those of the fast kernels of the core."""
    tensors = (*ins, out)
    same = all(t.shape == out.shape and t.dtype is DType.INT8 for t in tensors)
    return same and c.core in DUAL_MULTIPLY


def repeats(x: Tensor, out: Tensor) -> bool:
    """Whether broadcasting an int8 x to the shape of out is x over and over in memory."""
    inner = next((i for i, size in enumerate(x.shape) if size != 1), len(x.shape))
    return x.shape[inner:] == out.shape[inner:] and x.dtype is DType.INT8
