# SPDX-License-Identifier: Apache-2.0
"""Parametric ReLU: a learned slope for negative values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import clamp_int8, quantise_multiplier, requantise
from tinyml.ir.tensor import Array, Tensor
from tinyml.ops.binary import Binary

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Prelu(Binary):
    """Inputs x and slope: x where not negative, x * slope elsewhere.

    Source: TFLite reference_ops::BroadcastPrelu4DSlow.
    """

    kind: ClassVar[str] = "prelu"

    @staticmethod
    def _multipliers(ins: Sequence[Tensor], out: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        product = ins[0].q.s * ins[1].q.s
        return (
            quantise_multiplier(ins[0].q.s / out.q.s),
            quantise_multiplier(product / out.q.s),
        )

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, slope = inputs
        return np.asarray(np.where(x >= 0, x, x * slope), np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        identity, of_slope = self._multipliers(ins, out)
        x = inputs[0].astype(np.int64) - ins[0].q.z
        slope = inputs[1].astype(np.int64) - ins[1].q.z
        x, slope = np.broadcast_arrays(x, slope)
        scaled = np.where(x >= 0, requantise(x, *identity), requantise(x * slope, *of_slope))
        return clamp_int8(scaled + out.q.z)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator("PRELU", [b.tensor(ins[0]), b.tensor(ins[1])], [b.tensor(out)])

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        # Only slopes that need no spreading of x; PRelu spreads its slope alone.
        x, slope = b.read(ins[0]), b.read(ins[1])
        b.write(out, b.node("PRelu", [x, slope]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        identity, of_slope = self._multipliers(ins, out)
        record = c.record([ins[0].q.z, ins[1].q.z, out.q.z, *identity, *of_slope])
        shape = self.c_shape(c, ins, out)
        c.call("tml_prelu_s8", shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))
