# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions that TFLite-Micro has no kernel for. On int8 each is a table of its 256
results, which TFLite spells as a GATHER."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.tensor import Array, Quantisation, Tensor
from tinyml.ops.unary import ALL_INT8, Unary

if TYPE_CHECKING:
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

_ERF = np.frompyfunc(math.erf, 1, 1)


def _erf(x: Array) -> Array:
    return np.asarray(_ERF(x), np.float64)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _elu(x: Array, alpha: float, gamma: float) -> Array:
    return np.where(x > 0, gamma * x, gamma * alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _shrink(x: Array, threshold: float, bias: float) -> Array:
    return np.where(x < -threshold, x + bias, np.where(x > threshold, x - bias, 0.0))


# In double precision, by the name that ONNX has for them in lower case.
FUNCTIONS: dict[str, Callable[..., Array]] = {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceil": np.ceil,
    "celu": _celu,
    "clip": np.clip,
    "cos": np.cos,
    "elu": _elu,
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "hardsigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0.0, 1.0),
    "leakyrelu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "log": np.log,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "neg": np.negative,
    "pow": np.power,
    "reciprocal": np.reciprocal,
    "round": np.rint,
    "shrink": _shrink,
    "sign": np.sign,
    "sin": np.sin,
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "tan": np.tan,
    "thresholdedrelu": lambda x, alpha: np.where(x > alpha, x, 0.0),
}


@dataclass(frozen=True)
class Function(Unary):
    """A real function of each element.

    The int8 result is the nearest integer to the real one, ties to even; where the function has
    no value it is that of 0, and beyond all numbers the end of the grid.

    Args:
        name: in `FUNCTIONS`.
        parameters: what the function takes after x.
    """

    name: str
    parameters: tuple[float, ...] = ()
    kind: ClassVar[str] = "function"

    def _real(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(FUNCTIONS[self.name](x, *self.parameters), np.float64)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        with np.errstate(over="ignore"):
            return self._real(inputs[0].astype(np.float64)).astype(np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        real = self._real((x - source.z) * source.s)
        return target.quantise(np.where(np.isnan(real), 0.0, real))

    def _table(self, ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.map_int8(ALL_INT8.astype(np.int64), ins[0].q, out.q)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], self._table(ins, out), out)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], self._table(ins, out), out)
