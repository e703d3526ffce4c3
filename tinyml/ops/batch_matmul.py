# SPDX-License-Identifier: Apache-2.0
"""Matrix product of two activations, for attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import (
    quantise_multiplier,
    requantise,
    requantise_wide,
    saturate,
    wrap32,
)
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class BatchMatMul(Operator):
    """Inputs a (..., m, k) and b (..., k, n), or b (..., n, k) if ``transpose_b``; output
    (..., m, n). Leading axes agree, and there are at most two.

    Source: TFLite reference_ops::BatchMatMul; int16 accumulates in 64 bits.
    """

    transpose_b: bool = False
    kind: ClassVar[str] = "batch_matmul"
    has_int16: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        a, b = inputs
        if not 2 <= len(a) == len(b) <= 4 or a[:-2] != b[:-2]:
            raise ValueError(f"batch_matmul: the leading axes of {a} and {b} differ")
        inner, columns = (b[-1], b[-2]) if self.transpose_b else (b[-2], b[-1])
        if a[-1] != inner:
            raise ValueError(f"batch_matmul: {a} and {b} do not fit")
        return (*a[:-1], columns)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return math.prod(output) * inputs[0][-1]

    def _product(self, a: Array, b: Array) -> Array:
        return np.asarray(a @ (np.swapaxes(b, -1, -2) if self.transpose_b else b))

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._product(inputs[0], inputs[1])

    @staticmethod
    def multiplier(ins: Sequence[Tensor], out: Tensor) -> tuple[int, int]:
        return quantise_multiplier(ins[0].q.s * ins[1].q.s / out.q.s)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        # float64 holds sums of products exactly and multiplies matrices fast.
        a = inputs[0].astype(np.float64) - ins[0].q.z
        b = inputs[1].astype(np.float64) - ins[1].q.z
        sums = self._product(a, b).astype(np.int64)
        multiplier = self.multiplier(ins, out)
        if out.dtype is DType.INT16:
            return saturate(requantise_wide(sums, *multiplier), DType.INT16)
        return saturate(requantise(wrap32(sums), *multiplier) + out.q.z, DType.INT8)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator(
            "BATCH_MATMUL",
            [b.tensor(ins[0]), b.tensor(ins[1])],
            [b.tensor(out)],
            "BatchMatMulOptions",
            adjX=False,
            adjY=self.transpose_b,
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axes = list(range(len(out.shape)))
        turned = [*axes[:-2], axes[-1], axes[-2]] if self.transpose_b else axes
        left, right = b.read_as(ins[0], axes), b.read_as(ins[1], turned)
        b.write_as_stored(out, b.node("MatMul", [left, right]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        rows, columns = out.shape[-2:]
        depth = ins[0].shape[-1]
        shape = c.shape(
            "tml_batch_matmul_t",
            {
                "batches": math.prod(out.shape[:-2]),
                "rows": rows,
                "depth": depth,
                "columns": columns,
                "b_row_stride": 1 if self.transpose_b else columns,
                "b_column_stride": depth if self.transpose_b else 1,
            },
        )
        zero_points = [ins[0].q.z, ins[1].q.z, out.q.z]
        record = c.record([*zero_points, *self.multiplier(ins, out)])
        kernel = f"tml_batch_matmul_{c.suffix(out)}"
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))
