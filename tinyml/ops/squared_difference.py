# SPDX-License-Identifier: Apache-2.0
"""Squared difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import Int64, quantise_multiplier, requantise, saturate, wrap32
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.kernels import add_record
from tinyml.ops.binary import Binary, aligned_shape, fast_rows

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# Bits gained before aligning, such that the square fits 32 bits.
LEFT_SHIFT = {DType.INT8: 7, DType.INT16: 0}


@dataclass(frozen=True)
class SquaredDifference(Binary):
    """(a - b) ** 2 on operands brought to twice the larger input scale.

    Source: TFLite-Micro squared_difference.cc.
    """

    kind: ClassVar[str] = "squared_difference"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(np.square(inputs[0] - inputs[1]))

    @staticmethod
    def _multipliers(
        ins: Sequence[Tensor], out: Tensor
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        twice = 2 * max(ins[0].q.s, ins[1].q.s)
        # The file's scale and the power of two are multiplied in single precision.
        scaled = float(np.float32(1 << (2 * LEFT_SHIFT[out.dtype])) * np.float32(out.q.s))
        return (
            quantise_multiplier(ins[0].q.s / twice),
            quantise_multiplier(ins[1].q.s / twice),
            quantise_multiplier(twice * twice / scaled),
        )

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        of_a, of_b, of_out = self._multipliers(ins, out)
        difference = self._aligned(inputs[0], ins[0], of_a) - self._aligned(inputs[1], ins[1], of_b)
        square = wrap32(np.square(difference))
        return saturate(requantise(square, *of_out) + out.q.z, out.dtype)

    @staticmethod
    def _aligned(x: Array, tensor: Tensor, multiplier: tuple[int, int]) -> Int64:
        centred = x.astype(np.int64) - tensor.q.z
        return requantise(centred << LEFT_SHIFT[tensor.dtype], *multiplier)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(ins[0]), b.tensor(ins[1])]
        b.operator("SQUARED_DIFFERENCE", inputs, [b.tensor(out)], "SquaredDifferenceOptions")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        difference = b.node("Sub", [b.read(ins[0]), b.read(ins[1])])
        b.write(out, b.node("Mul", [difference, difference]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shift, limits = LEFT_SHIFT[out.dtype], out.dtype.limits
        if out.dtype is DType.INT8:
            wide, fine = sorted(ins, key=lambda t: t.q.s, reverse=True)
            _, of_fine, of_out = self._multipliers([wide, fine], out)
            fast = add_record((wide.q.z, fine.q.z, out.q.z), of_fine, of_out, limits, shift)
            rows = fast_rows(c, ins, out)
            if fast is not None and rows is not None:
                shape, name = aligned_shape(c, rows, wide, fine), "tml_squared_difference_s8_dsp"
                c.call(name, shape, c.record(fast), c.read(wide), c.read(fine), c.write(out))
                return
        of_a, of_b, of_out = self._multipliers(ins, out)
        zero_points = [ins[0].q.z, ins[1].q.z, out.q.z]
        record = c.record([*zero_points, *of_a, *of_b, *of_out, shift, *limits])
        kernel = f"tml_squared_difference_{c.suffix(out)}"
        shape = self.c_shape(c, ins, out)
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))
