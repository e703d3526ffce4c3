# SPDX-License-Identifier: Apache-2.0
"""Rows of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import clamp_int8, inverse_square_root, requantise
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

_OUTPUT_BITS = 7


@dataclass(frozen=True)
class L2Normalize(Operator):
    """Input x (..., depth), each row divided by its length; output scale 1/128, zero point 0. A
    row of real zeros stays zeros.

    Source: TFLite-Micro l2norm.cc, reference_integer_ops::L2Normalization.
    """

    kind: ClassVar[str] = "l2_normalize"
    rule: ClassVar[Rule] = Rule.FIXED

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        return Quantisation.per_tensor(1.0 / 128, 0)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if not inputs[0]:
            raise ValueError("l2_normalize: a single number")
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
        return np.asarray(x / np.where(length > 0, length, 1), np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        centred = inputs[0].astype(np.int64) - ins[0].q.z
        root, shift = inverse_square_root(np.square(centred).sum(axis=-1, keepdims=True))
        return clamp_int8(requantise(centred, root, shift + _OUTPUT_BITS))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator("L2_NORMALIZATION", [b.tensor(ins[0])], [b.tensor(out)], "L2NormOptions")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axis = b.axis(len(out.shape) - 1, len(out.shape))
        x = b.read(ins[0])
        length = b.node("ReduceL2", [x, b.integers([axis])], keepdims=1)
        # A row of zeros stays one.
        b.write(out, b.node("Div", [x, b.node("Max", [length, b.scalar(1e-30)])]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        depth = out.shape[-1]
        shape = c.shape("tml_softmax_t", {"rows": out.elements // depth, "depth": depth})
        record = c.record([ins[0].q.z])
        c.call("tml_l2_normalize_s8", shape, record, c.read(ins[0]), c.write(out))
