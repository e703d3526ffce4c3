# SPDX-License-Identifier: Apache-2.0
"""Slice: the elements of a box, every n-th on each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Slice(Operator):
    """Output element i of an axis is input element begin + i * stride. At most 4 axes.

    Args:
        begin, size, stride: for each axis; ``size`` counts output elements, strides are positive.
    """

    begin: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    kind: ClassVar[str] = "slice"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each axis."""
        return self.stride or (1,) * len(self.begin)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if not len(x) == len(self.begin) == len(self.size) == len(self.strides) <= 4:
            raise ValueError(f"slice: {self} does not fit {x}, or it has more than 4 axes")
        for low, count, step, length in zip(self.begin, self.size, self.strides, x, strict=True):
            if low < 0 or count < 1 or step < 1 or low + (count - 1) * step >= length:
                raise ValueError(f"slice: {self} does not lie inside {x}")
        return self.size

    def _cut(self, x: Array) -> Array:
        box = tuple(
            slice(low, low + (count - 1) * step + 1, step)
            for low, count, step in zip(self.begin, self.size, self.strides, strict=True)
        )
        return np.ascontiguousarray(x[box])

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._cut(inputs[0])

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self._cut(inputs[0])

    def _end(self) -> list[int]:
        parts = zip(self.begin, self.size, self.strides, strict=True)
        return [low + (count - 1) * step + 1 for low, count, step in parts]

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        box = [
            b.integers("begin", self.begin),
            b.integers("end", self._end()),
            b.integers("strides", self.strides),
        ]
        b.operator(
            "STRIDED_SLICE", [b.tensor(ins[0]), *box], [b.tensor(out)], "StridedSliceOptions"
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        order = b.order(len(out.shape))
        end = self._end()
        box = [
            b.integers([self.begin[i] for i in order]),
            b.integers([end[i] for i in order]),
            b.integers(list(range(len(order)))),
            b.integers([self.strides[i] for i in order]),
        ]
        b.write(out, b.node("Slice", [b.read(ins[0]), *box]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        x = ins[0]
        steps = [math.prod(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
        first = sum(low * step for low, step in zip(self.begin, steps, strict=True))
        cut = [a for a, count in enumerate(self.size) if count != x.shape[a]]
        if len(cut) <= 1 and all(s == 1 for s in self.strides):
            # Whole runs: a copy of bytes.
            rows = math.prod(self.size[: cut[0]]) if cut else 1
            shape = c.shape(
                "tml_copy_rows_t",
                {
                    "rows": rows,
                    "length": out.bytes // rows,
                    "input_offset": first * x.dtype.bytes,
                    "input_stride": x.bytes // rows,
                    "output_offset": 0,
                    "output_stride": out.bytes // rows,
                },
            )
            source = c.read(x, dtype=DType.INT8)
            c.call("tml_copy_rows_s8", shape, source, c.write(out, DType.INT8))
            return
        lead = (0,) * (4 - len(out.shape))
        strides = tuple(a * b for a, b in zip(steps, self.strides, strict=True))
        shape = c.shape(
            "tml_transpose_t",
            {"output_dims": (1,) * len(lead) + out.shape, "input_stride": lead + strides},
        )
        c.call(f"tml_transpose_{c.suffix(out)}", shape, c.read(x, first), c.write(out))
