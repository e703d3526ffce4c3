# SPDX-License-Identifier: Apache-2.0
"""Mean over height and width: global average pooling with its own output scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import clamp_int8, quantise_multiplier, requantise
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Mean(Operator):
    """Input x (1, h, w, c), output (1, 1, 1, c).

    Source: TFLite reference_ops::QuantizedMeanOrSum, which carries 1 / count in the multiplier.
    """

    kind: ClassVar[str] = "mean"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if len(x) != 4:
            raise ValueError(f"mean: input {x} is not (1, h, w, c)")
        return (x[0], 1, 1, x[3])

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(inputs[0].mean(axis=(1, 2), keepdims=True), np.float32)

    @staticmethod
    def _multiplier(x: Tensor, out: Tensor) -> tuple[int, int]:
        count = x.shape[1] * x.shape[2]
        multiplier, shift = quantise_multiplier(x.q.s / out.q.s)
        normalise = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << normalise) // count, shift - normalise

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64) - ins[0].q.z
        sums = x.sum(axis=(1, 2), keepdims=True)
        return clamp_int8(requantise(sums, *self._multiplier(ins[0], out)) + out.q.z)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        axes = b.integers("axes", [1, 2])
        b.operator(
            "MEAN", [b.tensor(ins[0]), axes], [b.tensor(out)], "ReducerOptions", keepDims=True
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write(out, b.node("GlobalAveragePool", [b.read(ins[0])]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        x = ins[0]
        shape = c.shape("tml_mean_t", {"count": x.shape[1] * x.shape[2], "channels": x.shape[3]})
        record = c.record([x.q.z, out.q.z, *self._multiplier(x, out)])
        c.call("tml_mean_s8", shape, record, c.read(x), c.write(out))
