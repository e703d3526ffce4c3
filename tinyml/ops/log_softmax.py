# SPDX-License-Identifier: Apache-2.0
"""Logarithm of softmax over the innermost axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import (
    INT32_MIN,
    clamp_int8,
    exp_on_negative,
    input_radius,
    log_of_one_and_more,
    quantise_multiplier,
    requantise,
    rounding_divide_by_pot,
)
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops.softmax import INPUT_INTEGER_BITS, SUM_INTEGER_BITS

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

_ZERO_POINT = 127
# From differences, with 26 bits below the point, to the output's sixteenths.
_OUTPUT_BITS = 31 - INPUT_INTEGER_BITS - 4


@dataclass(frozen=True)
class LogSoftmax(Operator):
    """Input x (..., depth); output scale 1/16 and zero point 127, which ends at -15.94.

    Source: TFLite-Micro log_softmax.cc, reference_integer_ops::LogSoftmax.
    """

    kind: ClassVar[str] = "log_softmax"
    rule: ClassVar[Rule] = Rule.FIXED

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        return Quantisation.per_tensor(1.0 / 16, _ZERO_POINT)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if not inputs[0]:
            raise ValueError("log_softmax: a single number")
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
        return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))

    @staticmethod
    def scaling(x: Tensor) -> tuple[int, int, int, int, int]:
        """Multiplier and shift of a difference, those of the way back, and the smallest
        difference that counts."""
        real = min(x.q.s * (1 << (31 - INPUT_INTEGER_BITS)), (1 << 31) - 1.0)
        # TFLite-Micro and LiteRT end the process below, where the way back is no fraction.
        if real <= 2:
            raise QuantisationError(
                f"log_softmax: the range of '{x.name}' is too small, all results would be equal",
                "Check that the model is trained, or calibrate with other samples.",
            )
        multiplier, shift = quantise_multiplier(real)
        back = quantise_multiplier((1 << (31 - shift)) / multiplier)
        return multiplier, shift, *back, -input_radius(INPUT_INTEGER_BITS, shift)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64)
        multiplier, shift, back, back_shift, diff_min = self.scaling(ins[0])
        diff = x - x.max(axis=-1, keepdims=True)
        scaled = requantise(np.maximum(diff, diff_min), multiplier, shift)
        exponentials = exp_on_negative(scaled, INPUT_INTEGER_BITS)
        terms = rounding_divide_by_pot(exponentials, SUM_INTEGER_BITS)
        total = np.where(diff >= diff_min, terms, 0).sum(axis=-1, keepdims=True)
        logarithm = log_of_one_and_more(total, SUM_INTEGER_BITS, INPUT_INTEGER_BITS)
        lowest = requantise(logarithm + INT32_MIN, back, back_shift)
        counts = diff > np.maximum(diff_min - 1, lowest)
        result = rounding_divide_by_pot(scaled - logarithm, _OUTPUT_BITS) + _ZERO_POINT
        return clamp_int8(np.where(counts, result, -128))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator("LOG_SOFTMAX", [b.tensor(ins[0])], [b.tensor(out)], "LogSoftmaxOptions")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axis = b.axis(len(out.shape) - 1, len(out.shape))
        b.write(out, b.node("LogSoftmax", [b.read(ins[0])], axis=axis))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        depth = out.shape[-1]
        shape = c.shape("tml_softmax_t", {"rows": out.elements // depth, "depth": depth})
        record = c.record(self.scaling(ins[0]))
        c.call("tml_log_softmax_s8", shape, record, c.read(ins[0]), c.write(out))
