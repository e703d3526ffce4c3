# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions that TFLite-Micro has no kernel for. On int8 each is a table of its 256
results, which TFLite spells as a GATHER."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.operator import Operator
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


class RealFunction(Unary):
    """Base class: what has a real value for each real.

    The int8 result is the nearest integer to the real one, ties to even; where the function has
    no value it is that of 0, and beyond all numbers the end of the grid.
    """

    @abstractmethod
    def real(self, x: Array) -> Array:
        """The function in double precision."""

    def run_float(self, inputs: Sequence[Array]) -> Array:
        with np.errstate(all="ignore"):
            return self.real(inputs[0].astype(np.float64)).astype(np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        with np.errstate(all="ignore"):
            real = self.real((x - source.z) * source.s)
        return target.quantise(np.where(np.isnan(real), 0.0, real))

    def _table(self, ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.map_int8(ALL_INT8.astype(np.int64), ins[0].q, out.q)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], self._table(ins, out), out)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], self._table(ins, out), out)


@dataclass(frozen=True)
class Function(RealFunction):
    """A function by name.

    Args:
        name: in `FUNCTIONS`.
        parameters: what the function takes after x.
    """

    name: str
    parameters: tuple[float, ...] = ()
    kind: ClassVar[str] = "function"

    def real(self, x: Array) -> Array:
        return np.asarray(FUNCTIONS[self.name](x, *self.parameters), np.float64)


@dataclass(frozen=True)
class Step:
    """One operator of a chain.

    Args:
        op: of one input, or of two of which one is ``constant``.
        constant: None for one input.
        constant_first: whether it is the first of two.
    """

    op: Operator
    constant: float | None = None
    constant_first: bool = False

    def apply(self, x: Array) -> Array:
        """The operator on an array."""
        if self.constant is None:
            return self.op.run_float([x])
        other = np.full_like(x, self.constant)
        return self.op.run_float([other, x] if self.constant_first else [x, other])


# What a chain makes of x: a number, or its steps one after the other.
Chain = float | tuple[Step, ...]

RELATIONS: dict[str, Callable[..., Any]] = {
    "greater": np.greater,
    "greater or equal": np.greater_equal,
    "less": np.less,
    "less or equal": np.less_equal,
}


@dataclass(frozen=True)
class Piecewise(RealFunction):
    """One function of x where a relation holds, another one elsewhere.

    Args:
        relation: of ``tested`` to ``threshold``, in `RELATIONS`.
    """

    relation: str
    threshold: float
    tested: Chain
    holds: Chain
    fails: Chain
    kind: ClassVar[str] = "piecewise"

    def real(self, x: Array) -> Array:
        where = RELATIONS[self.relation](_along(self.tested, x), self.threshold)
        return np.where(where, _along(self.holds, x), _along(self.fails, x))


def _along(chain: Chain, x: Array) -> Array:
    if not isinstance(chain, tuple):
        return np.full_like(x, chain)
    for step in chain:
        x = step.apply(x)
    return np.asarray(x, np.float64)
