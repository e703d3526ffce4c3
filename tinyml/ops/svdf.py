# SPDX-License-Identifier: Apache-2.0
"""Singular value decomposition filter: a layer over a window of time that moves by one each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import TinymlError
from tinyml.ir.fixedpoint import quantise_multiplier, requantise, saturate, wrap32
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Svdf(Operator):
    """Inputs: x (1, in), feature weights (filters, in) int8, time weights (filters, memory) of
    the state's type, bias (units) int32, state (1, filters * memory) int8 or int16. Output
    (1, units) where filters = units * rank.

    The output is the sum over time of the state, whose last column is the product of the feature
    weights with x. Source: TFLite-Micro svdf_common.cc; it ignores a fused activation, and an int8
    state wraps where its zero point takes it out of the type (corrected there since).
    """

    rank: int = 1
    kind: ClassVar[str] = "svdf"
    mutates: ClassVar[tuple[int, ...]] = (4,)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, feature, time, bias, state = inputs
        filters = feature[0]
        fits = (
            x == (1, feature[1])
            and time[0] == filters
            and bias == (filters // self.rank,)
            and filters % self.rank == 0
            and state == (1, filters * time[1])
        )
        if not fits:
            raise ValueError(f"svdf: {list(inputs)} do not fit")
        return (1, filters // self.rank)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return int(np.prod(inputs[1]) + np.prod(inputs[2]))

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("svdf comes from TFLite files, which hold integers")

    @staticmethod
    def _multipliers(ins: Sequence[Tensor], out: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        x, feature, time, _, state = ins
        return (
            quantise_multiplier(x.q.s * feature.q.s / state.q.s),
            quantise_multiplier(state.q.s * time.q.s / out.q.s),
        )

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x, feature, time, bias, state = inputs
        of_feature, of_time = self._multipliers(ins, out)
        zero = ins[4].q.z
        columns = state.reshape(time.shape)
        dots = feature.astype(np.int64) @ (x[0].astype(np.int64) - ins[0].q.z)
        columns[:, :-1] = columns[:, 1:].copy()
        # The zero point is added after the clamp and wraps.
        latest = saturate(requantise(dots, *of_feature), ins[4].dtype).astype(np.int64) + zero
        columns[:, -1] = latest.astype(ins[4].dtype.numpy)
        sums = (time.astype(np.int64) * (columns.astype(np.int64) - zero)).sum(axis=1)
        total = wrap32(sums.reshape(-1, self.rank).sum(axis=1) + bias)
        return saturate(requantise(total, *of_time) + out.q.z, DType.INT8)[None]

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [*(b.tensor(t) for t in ins[:4]), b.variable(ins[4])]
        b.operator("SVDF", inputs, [b.tensor(out)], "SVDFOptions", rank=self.rank)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise TinymlError("ONNX has no operator that keeps state between runs (svdf)")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        x, feature, time, bias, state = ins
        shape = c.shape(
            "tml_svdf_t",
            {
                "inputs": feature.shape[1],
                "units": out.shape[1],
                "rank": self.rank,
                "memory": time.shape[1],
            },
        )
        of_feature, of_time = self._multipliers(ins, out)
        header = [state.q.z, out.q.z, *of_feature, *of_time]
        offsets = (-x.q.z * feature.values.sum(axis=1, dtype=np.int64)).astype(np.int32)
        record = c.record(header, bias.values, offsets, feature.values, time.values)
        kernel = f"tml_svdf_{c.suffix(state)}"
        c.call(kernel, shape, record, c.read(x), c.write(state), c.write(out))
