# SPDX-License-Identifier: Apache-2.0
"""Operators that move integers and compute nothing: reshape, transpose, pad, concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops.strides import LARGEST_DIM, merge_axes

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Reshape(Operator):
    """The same elements in the same order under another shape. No code in C."""

    shape: Shape
    kind: ClassVar[str] = "reshape"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if math.prod(self.shape) != math.prod(inputs[0]):
            raise ValueError(f"reshape: {inputs[0]} does not hold {self.shape}")
        return self.shape

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return inputs[0].reshape(self.shape)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return inputs[0].reshape(self.shape)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = b.integers("shape", self.shape)
        b.operator(
            "RESHAPE",
            [b.tensor(ins[0]), shape],
            [b.tensor(out)],
            "ReshapeOptions",
            newShape=list(self.shape),
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        value = b.to_nhwc(b.integers_of(ins[0]), ins[0].shape)
        value = b.node("Reshape", [value, b.integers(self.shape)])
        b.write_integers(out, b.to_nchw(value, self.shape))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        c.alias(ins[0], out)


@dataclass(frozen=True)
class Transpose(Operator):
    """Output axis i is input axis permutation[i]."""

    permutation: tuple[int, ...]
    kind: ClassVar[str] = "transpose"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if sorted(self.permutation) != list(range(len(inputs[0]))):
            raise ValueError(f"transpose: {self.permutation} does not permute {inputs[0]}")
        if len(inputs[0]) > 4:
            raise ValueError(f"transpose: {inputs[0]} has more than 4 axes")
        return tuple(inputs[0][axis] for axis in self.permutation)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.ascontiguousarray(inputs[0].transpose(self.permutation))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.run_float(inputs)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        permutation = b.integers("permutation", self.permutation)
        b.operator(
            "TRANSPOSE", [b.tensor(ins[0]), permutation], [b.tensor(out)], "TransposeOptions"
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        value = b.to_nhwc(b.integers_of(ins[0]), ins[0].shape)
        value = b.node("Transpose", [value], perm=list(self.permutation))
        b.write_integers(out, b.to_nchw(value, out.shape))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        strides = [math.prod(ins[0].shape[axis + 1 :]) for axis in self.permutation]
        dims, steps = merge_axes(out.shape, strides)
        shape = c.shape("tml_transpose_t", {"output_dims": dims, "input_stride": steps})
        c.call(f"tml_transpose_{c.suffix(out)}", shape, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Pad(Operator):
    """Adds real zeros, which are the zero point in int8.

    Args:
        before, after: elements added on each axis, at most 4 axes.
        value: the integer to add instead, in an integer graph.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int | None = None
    kind: ClassVar[str] = "pad"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if len(x) > 4 or len(self.before) != len(x) or len(self.after) != len(x):
            raise ValueError(f"pad: {self.before} and {self.after} do not fit {x}")
        return tuple(a + b + c for a, b, c in zip(self.before, x, self.after, strict=True))

    def _pad(self, x: Array, value: int) -> Array:
        widths = list(zip(self.before, self.after, strict=True))
        return np.pad(x, widths, constant_values=value)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._pad(inputs[0], 0)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self._pad(inputs[0], self.added(ins[0]))

    def added(self, x: Tensor) -> int:
        """The integer that is added."""
        if self.value is not None:
            return self.value
        return x.quant.z if x.quant else 0

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        widths = np.array([self.before, self.after], np.int32).T
        inputs = [b.tensor(ins[0]), b.constant("pads", np.ascontiguousarray(widths))]
        if self.value is None:
            b.operator("PAD", inputs, [b.tensor(out)], "PadOptions")
            return
        value = np.array([self.value], out.dtype.numpy)
        inputs.append(b.constant("padding", value, out.quant))
        b.operator("PADV2", inputs, [b.tensor(out)], "PadV2Options")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        order = b.order(len(out.shape))
        pads = [self.before[i] for i in order] + [self.after[i] for i in order]
        inputs = [b.read(ins[0]), b.integers(pads)]
        if self.value is not None:
            inputs.append(b.scalar(out.q.s * (self.value - out.q.z)))
        b.write(out, b.node("Pad", inputs, mode="constant"))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        dims, before, after = list(ins[0].shape), list(self.before), list(self.after)
        # Rows without padding of their own are one.
        while (
            len(dims) > 1
            and not (before[-1] or after[-1])
            and out.shape[len(dims) - 2] * dims[-1] <= LARGEST_DIM
        ):
            inner = dims.pop()
            dims[-1] *= inner
            before = [*before[:-2], before[-2] * inner]
            after = [*after[:-2], after[-2] * inner]
        lead = 4 - len(dims)
        shape = c.shape(
            "tml_pad_t",
            {
                "input_dims": (1,) * lead + tuple(dims),
                "before": (0,) * lead + tuple(before),
                "after": (0,) * lead + tuple(after),
            },
        )
        record = c.record([self.added(ins[0])])
        c.call(f"tml_pad_{c.suffix(out)}", shape, record, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Concatenation(Operator):
    """Inputs of one quantisation, joined along ``axis``."""

    axis: int
    kind: ClassVar[str] = "concatenation"
    has_int16: ClassVar[bool] = True
    aligns_inputs: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        first = inputs[0]
        for other in inputs[1:]:
            pairs = enumerate(zip(first, other, strict=False))
            same = all(i == self.axis or a == b for i, (a, b) in pairs)
            if len(other) != len(first) or not same:
                raise ValueError(f"concatenation: {first} and {other} differ off axis {self.axis}")
        total = sum(shape[self.axis] for shape in inputs)
        return (*first[: self.axis], total, *first[self.axis + 1 :])

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(t) for t in ins]
        b.operator("CONCATENATION", inputs, [b.tensor(out)], "ConcatenationOptions", axis=self.axis)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axis = b.axis(self.axis, len(out.shape))
        b.write(out, b.node("Concat", [b.read(t) for t in ins], axis=axis))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        rows = math.prod(out.shape[: self.axis])
        stride = out.bytes // rows
        offset = 0
        for tensor in ins:
            length = tensor.bytes // rows
            shape = c.shape(
                "tml_copy_rows_t",
                {
                    "rows": rows,
                    "length": length,
                    "input_offset": 0,
                    "input_stride": length,
                    "output_offset": offset,
                    "output_stride": stride,
                },
            )
            source = c.read(tensor, dtype=DType.INT8)
            c.call("tml_copy_rows_s8", shape, source, c.write(out, DType.INT8))
            offset += length
