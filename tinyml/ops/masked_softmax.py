# SPDX-License-Identifier: Apache-2.0
"""Softmax of attention scores in which the keys of padding count nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import (
    Int64,
    doubling_high_multiply,
    one_over_one_plus_x,
    requantise,
    rounding_divide_by_pot,
    saturate,
)
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops.softmax import SUM_INTEGER_BITS, exponentials

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# The largest part of a row's sum that keys of padding may count.
_STOLEN = 1 / 512


@dataclass(frozen=True)
class MaskedSoftmax(Operator):
    """Inputs: scores x (..., m, n) int8, ids (1, n) int32; output like x, int16 of scale 1/32768.

    A key whose id is ``padding`` has weight 0. In integers it also counts exp(lowest - largest)
    in the row's sum, where "lowest" is the score of integer -128: that is what TFLite-Micro's
    operators compute. `must_reach` keeps -128 so far below every row's largest score that all
    keys of padding together count next to nothing.

    Source: SELECT, TFLite's softmax of int8 to int16, QUANTIZE to a zero point of 0, SELECT.
    """

    padding: int = 0
    kind: ClassVar[str] = "masked_softmax"
    rule: ClassVar[Rule] = Rule.FIXED
    has_int16: ClassVar[bool] = True

    def fixed_quantisation(self, dtype: DType = DType.INT16) -> Quantisation:
        return Quantisation.per_tensor(1.0 / 32768, 0)

    def input_dtype(self, out: DType) -> DType:
        return DType.INT8

    def must_reach(self, inputs: Sequence[Array]) -> float:
        x, ids = inputs
        masked = np.where(ids[0] == self.padding, -np.inf, x)
        largest = masked.max(axis=-1)
        smallest = np.min(largest, where=np.isfinite(largest), initial=np.max(x))
        return float(smallest - math.log(x.shape[-1] / _STOLEN))

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, ids = inputs
        if len(x) < 2 or ids != (1, x[-1]):
            raise ValueError(f"masked_softmax: ids {ids} do not fit the scores {x}")
        return x

    def id_count(self, inputs: Sequence[Shape]) -> int | None:
        return self.padding + 2

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, ids = inputs
        masked = np.where(ids[0] == self.padding, -np.inf, x)
        largest = masked.max(axis=-1, keepdims=True)
        exponentials = np.exp(masked - np.where(np.isfinite(largest), largest, 0))
        total = exponentials.sum(axis=-1, keepdims=True)
        return np.asarray(exponentials / np.where(total > 0, total, 1), np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        padding = inputs[1][0] == self.padding
        x = np.where(padding, -128, inputs[0].astype(np.int64))
        weights = softmax_int16(x, ins[0])
        # The grid of zero point 0 that a matrix product needs has half the levels.
        halved = saturate(requantise(weights + 32768, 1 << 30, 0), DType.INT16)
        return np.asarray(np.where(padding, np.int16(0), halved))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        scores, ids = ins
        name = out.name
        padding = b.constant(f"{name}_padding", np.array([self.padding], np.int32))
        real = b.flags(f"{name}_real", ids.shape)
        b.operator("NOT_EQUAL", [b.tensor(ids), padding], [real], "NotEqualOptions")
        lowest = b.constant(f"{name}_lowest", np.array([-128], np.int8), scores.q)
        masked = b.temporary(f"{name}_masked", scores, scores.shape)
        b.operator("SELECT_V2", [real, b.tensor(scores), lowest], [masked], "SelectV2Options")
        grid = Quantisation.per_tensor(1.0 / 65536, -32768)
        full = b.temporary(f"{name}_full", Tensor("", out.shape, DType.INT16, grid), out.shape)
        b.operator("SOFTMAX", [masked], [full], "SoftmaxOptions", beta=1.0)
        # LiteRT takes no other zero point than 0 in int16: the way to it leads through int32.
        raw = Tensor("", out.shape, DType.INT32)
        wide = b.temporary(f"{name}_wide", raw, out.shape)
        types = {"inDataType": b.dtype(DType.INT16), "outDataType": b.dtype(DType.INT32)}
        b.operator("CAST", [full], [wide], "CastOptions", **types)
        on_grid = replace(raw, quant=Quantisation.per_tensor(1.0 / 65536, 0))
        moved = b.temporary(f"{name}_moved", on_grid, out.shape)
        offset = b.constant(f"{name}_offset", np.array([32768], np.int32))
        b.operator("ADD", [wide, offset], [moved], "AddOptions")
        halved = b.temporary(f"{name}_halved", out, out.shape)
        b.operator("QUANTIZE", [moved], [halved], "QuantizeOptions")
        none = b.constant(f"{name}_none", np.array([0], np.int16), out.q)
        b.operator("SELECT_V2", [real, halved, none], [b.tensor(out)], "SelectV2Options")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        scores, ids = ins
        padding = b.node("Equal", [ids.name, b.initialiser(np.array(self.padding, np.int32))])
        lowest = b.scalar(scores.q.s * (-128 - scores.q.z))
        masked = b.node("Where", [padding, lowest, b.read(scores)])
        weights = b.node("Softmax", [masked], axis=len(out.shape) - 1)
        b.write(out, b.node("Where", [padding, b.scalar(0.0), weights]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        keys = out.shape[-1]
        shape = c.shape(
            "tml_masked_softmax_t",
            {"rows": out.elements // keys, "keys": keys, "padding": self.padding},
        )
        record = c.record(exponentials(ins[0]))
        arguments = (c.read(ins[0]), c.read(ins[1]), c.write(out))
        c.call("tml_masked_softmax_s8_s16", shape, record, *arguments)


def softmax_int16(x: Int64, scores: Tensor) -> Int64:
    """TFLite's softmax of int8 scores over the last axis, on scale 1/65536 and zero point -32768.

    Source: TFLite reference_ops::Softmax<int8_t, int16_t>.
    """
    diff = x.max(axis=-1, keepdims=True) - x
    terms = np.asarray(exponentials(scores), np.int64)[diff]
    total = rounding_divide_by_pot(terms, SUM_INTEGER_BITS).sum(axis=-1, keepdims=True)
    headroom = 32 - np.floor(np.log2(total)).astype(np.int64) - 1
    fraction = one_over_one_plus_x((total << headroom) - (1 << 31))
    product = doubling_high_multiply(terms, fraction)
    bits = SUM_INTEGER_BITS - headroom + 31 - 16
    return np.clip(rounding_divide_by_pot(product, bits) - 32768, -32768, 32767)
