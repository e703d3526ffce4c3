# SPDX-License-Identifier: Apache-2.0
"""Multiplication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import quantise_multiplier, requantise, saturate
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.kernels import holds_lowest_product, mul_record
from tinyml.ops.binary import Arithmetic, fast_rows

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter


@dataclass(frozen=True)
class Mul(Arithmetic):
    """a * b. Source: TFLite reference_integer_ops::Mul."""

    kind: ClassVar[str] = "mul"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "MUL"
    tflite_options: ClassVar[str] = "MulOptions"
    onnx_name: ClassVar[str] = "Mul"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self.activation.run_float(np.asarray(inputs[0] * inputs[1]))

    @staticmethod
    def multiplier(ins: Sequence[Tensor], out: Tensor) -> tuple[int, int]:
        return quantise_multiplier(ins[0].q.s * ins[1].q.s / out.q.s)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        a = inputs[0].astype(np.int64) - ins[0].q.z
        b = inputs[1].astype(np.int64) - ins[1].q.z
        scaled = requantise(a * b, *self.multiplier(ins, out)) + out.q.z
        return saturate(scaled, out.dtype, self.activation.bounds(out.q, out.dtype))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        bounds = self.activation.bounds(out.q, out.dtype)
        of_out, kernel = self.multiplier(ins, out), f"tml_mul_{c.suffix(out)}"
        a, b = sorted(ins, key=lambda t: -t.elements)
        fast = mul_record((a.q.z, b.q.z, out.q.z), of_out, bounds)
        rows = fast_rows(c, ins, out)
        exact = out.dtype is DType.INT8 or holds_lowest_product(of_out)
        if fast is not None and exact and rows is not None:
            shape = c.shape("tml_repeated_t", asdict(rows))
            c.call(f"{kernel}_dsp", shape, c.record(fast), c.read(a), c.read(b), c.write(out))
            return
        zero_points = ins[0].q.z, ins[1].q.z, out.q.z
        record = c.record([*zero_points, *of_out, *bounds])
        shape = self.c_shape(c, ins, out)
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))
