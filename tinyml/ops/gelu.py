# SPDX-License-Identifier: Apache-2.0
"""GELU. TFLite-Micro has no such operator; on int8 it is a table of 256 results, which TFLite
spells as a GATHER."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.tensor import Array, Quantisation, Tensor
from tinyml.ops.unary import ALL_INT8, Unary

if TYPE_CHECKING:
    from tinyml.writers.tflite.builder import TfliteBuilder

_ERF = np.frompyfunc(math.erf, 1, 1)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Gelu(Unary):
    """x * P(X <= x) for a standard normal X.

    Args:
        tanh: the approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))) in its place.

    The int8 result is the nearest integer to the real one, ties to even.
    Source: Hendrycks and Gimpel, arXiv 1606.08415.
    """

    tanh: bool = False
    kind: ClassVar[str] = "gelu"
    onnx_name: ClassVar[str] = "Gelu"

    def _real(self, x: Array) -> Array:
        if self.tanh:
            return np.asarray(0.5 * x * (1 + np.tanh(_SQRT_2_OVER_PI * (x + 0.044715 * x**3))))
        return np.asarray(0.5 * x * (1 + np.asarray(_ERF(x * math.sqrt(0.5)), np.float64)))

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._real(inputs[0].astype(np.float64)).astype(np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        return target.quantise(self._real((x - source.z) * source.s))

    def onnx_attributes(self) -> dict[str, Any]:
        return {"approximate": "tanh" if self.tanh else "none"}

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], self.map_int8(ALL_INT8.astype(np.int64), ins[0].q, out.q), out)
