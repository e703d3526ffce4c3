# SPDX-License-Identifier: Apache-2.0
"""Softmax over the innermost axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import (
    Int64,
    doubling_high_multiply,
    exp_on_negative,
    input_radius,
    one_over_one_plus_x,
    quantise_multiplier,
    requantise,
    rounding_divide_by_pot,
    saturate,
)
from tinyml.ir.lookup import EXP, RECIPROCAL, lookup
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

INPUT_INTEGER_BITS = 5
SUM_INTEGER_BITS = 12
# Rows this long are worth 1 KiB of flash for all exponentials there are. By the row, not by their
# number: parts of a layer take the same kernel.
TABLE_DEPTH = 32


@dataclass(frozen=True)
class Softmax(Operator):
    """Input x (..., depth); output scale 1/256 and zero point -128, in int16 1/32768 and 0.

    Source: TFLite reference_ops::Softmax for int8, on gemmlowp fixed point; SoftmaxInt16, on
    tables.
    """

    kind: ClassVar[str] = "softmax"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.FIXED

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        if dtype is DType.INT16:
            return Quantisation.per_tensor(1.0 / 32768, 0)
        return Quantisation.per_tensor(1.0 / 256, -128)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))

    @staticmethod
    def scaling(x: Tensor) -> tuple[int, int, int]:
        """Multiplier, shift and the smallest difference that counts."""
        real = min(x.q.s * (1 << (31 - INPUT_INTEGER_BITS)), (1 << 31) - 1.0)
        if real <= 1:
            # TFLite-Micro and LiteRT end the process here.
            raise QuantisationError(
                f"softmax: the range of '{x.name}' is too small, all results would be equal",
                "Check that the model is trained, or calibrate with other samples.",
            )
        multiplier, shift = quantise_multiplier(real)
        return multiplier, shift, -input_radius(INPUT_INTEGER_BITS, shift)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64)
        if ins[0].dtype is DType.INT16:
            return self._run_int16(x, ins[0])
        multiplier, shift, diff_min = self.scaling(ins[0])
        diff = x - x.max(axis=-1, keepdims=True)
        counts = diff >= diff_min
        scaled = requantise(np.where(counts, diff, 0), multiplier, shift)
        exponentials = np.where(counts, exp_on_negative(scaled, INPUT_INTEGER_BITS), 0)
        terms = rounding_divide_by_pot(exponentials, SUM_INTEGER_BITS)
        total = terms.sum(axis=-1, keepdims=True)
        # The reciprocal of the sum as a fraction in (1/2, 1) and a power of two.
        headroom = 32 - np.floor(np.log2(total)).astype(np.int64) - 1
        fraction = one_over_one_plus_x((total << headroom) - (1 << 31))
        product = doubling_high_multiply(exponentials, fraction)
        # int8 differences may end in int16, zero point -32768: then only the last bits differ.
        low = out.dtype.limits[0]
        bits = SUM_INTEGER_BITS - headroom + 31 - 8 * out.dtype.bytes
        result = rounding_divide_by_pot(product, bits) + low
        return saturate(np.where(counts, result, low), out.dtype)

    @staticmethod
    def exponentials_int16(x: Tensor) -> Array:
        """What the int16 kernel takes exp(-i * scale) to be, for i of 0..255: all differences of
        an input that was int8. int16 (256)."""
        diff = requantise(-np.arange(256, dtype=np.int64), *Softmax._scaling_int16(x))
        return lookup(np.clip(diff + 32767, -32768, 32767), EXP).astype(np.int16)

    @staticmethod
    def _scaling_int16(x: Tensor) -> tuple[int, int]:
        """Takes a difference of 10.0 to 65535."""
        return quantise_multiplier(x.q.s / (10.0 / 65535.0))

    def _run_int16(self, x: Int64, tensor: Tensor) -> Array:
        diff = requantise(x - x.max(axis=-1, keepdims=True), *self._scaling_int16(tensor))
        exponentials = lookup(np.clip(diff + 32767, -32768, 32767), EXP)
        total = exponentials.sum(axis=-1, keepdims=True)
        zeros = 31 - np.floor(np.log2(total)).astype(np.int64)
        fraction = ((total << (zeros - 1)) + (1 << 13)) >> 14
        centred = np.clip(fraction - (1 << 15) - (1 << 16), -32768, 32767)
        right = 31 - zeros
        product = exponentials * lookup(centred, RECIPROCAL) + (np.int64(1) << (right - 1))
        return np.asarray(np.clip(product >> right, 0, 32767), np.int16)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator("SOFTMAX", [b.tensor(ins[0])], [b.tensor(out)], "SoftmaxOptions", beta=1.0)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axis = b.axis(len(out.shape) - 1, len(out.shape))
        b.write(out, b.node("Softmax", [b.read(ins[0])], axis=axis))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        depth = out.shape[-1]
        shape = c.shape("tml_softmax_t", {"rows": out.elements // depth, "depth": depth})
        if ins[0].dtype is DType.INT16:
            tables = c.shared(np.concatenate([EXP, RECIPROCAL]))
            record = c.record(self._scaling_int16(ins[0]))
            c.call("tml_softmax_s16", shape, record, tables, c.read(ins[0]), c.write(out))
            return
        if out.dtype is DType.INT8 and depth >= TABLE_DEPTH:
            table = c.record(exponentials(ins[0]))
            c.call("tml_softmax_s8_table", shape, table, c.read(ins[0]), c.write(out))
            return
        record = c.record(list(self.scaling(ins[0])))
        kernel = "tml_softmax_s8" if out.dtype is DType.INT8 else "tml_softmax_s8_s16"
        c.call(kernel, shape, record, c.read(ins[0]), c.write(out))


def exponentials(x: Tensor) -> list[int]:
    """exp(-i * scale) in Q0.31 for i of 0..255: what an int8 element that lies i below its row's
    largest one counts. int32; 0 beyond the range of the fixed-point exponential."""
    multiplier, shift, diff_min = Softmax.scaling(x)
    diff = -np.arange(256, dtype=np.int64)
    counts = diff >= diff_min
    scaled = requantise(np.where(counts, diff, 0), multiplier, shift)
    return [int(v) for v in np.where(counts, exp_on_negative(scaled, INPUT_INTEGER_BITS), 0)]
