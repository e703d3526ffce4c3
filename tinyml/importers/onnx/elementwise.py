# SPDX-License-Identifier: Apache-2.0
"""Functions of one element, and of two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, required, translates
from tinyml.ir.operator import Operator
from tinyml.ops import (
    Abs,
    Add,
    Div,
    Function,
    Gelu,
    HardSwish,
    LeakyRelu,
    Logistic,
    Maximum,
    Minimum,
    Mul,
    Prelu,
    Relu,
    Relu6,
    Rsqrt,
    Sub,
    Tanh,
)

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

_UNARY: dict[str, Operator] = {
    "Abs": Abs(),
    "HardSwish": HardSwish(),
    "Relu": Relu(),
    "Sigmoid": Logistic(),
    "Tanh": Tanh(),
}
# Functions by table, with the defaults of their attributes.
_FUNCTIONS: dict[str, dict[str, float]] = {
    "Acos": {},
    "Asin": {},
    "Atan": {},
    "Ceil": {},
    "Celu": {"alpha": 1.0},
    "Cos": {},
    "Erf": {},
    "Exp": {},
    "Floor": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Log": {},
    "Mish": {},
    "Neg": {},
    "Round": {},
    "Shrink": {"lambd": 0.5, "bias": 0.0},
    "Sign": {},
    "Sin": {},
    "Softplus": {},
    "Softsign": {},
    "Sqrt": {},
    "Tan": {},
    "ThresholdedRelu": {"alpha": 1.0},
}


def _real(given: dict[str, Any], name: str, default: float) -> float:
    """An attribute as the decimal number it was written as: ONNX stores single precision."""
    return float(str(np.float32(given.get(name, default))))


@translates(*_UNARY)
def _unary(t: Translation, node: onnx.NodeProto) -> None:
    t.bind(node.output[0], t.apply(_UNARY[node.op_type], [t.read(node.input[0])]))


@translates(*_FUNCTIONS)
def _function(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    parameters = tuple(_real(given, k, v) for k, v in _FUNCTIONS[node.op_type].items())
    op = Function(node.op_type.lower(), parameters)
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Elu", "Selu")
def _elu(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    selu = node.op_type == "Selu"
    alpha = _real(given, "alpha", 1.67326319217681884765625 if selu else 1.0)
    gamma = _real(given, "gamma", 1.05070102214813232421875) if selu else 1.0
    t.bind(node.output[0], t.apply(Function("elu", (alpha, gamma)), [t.read(node.input[0])]))


@translates("LeakyRelu")
def _leaky_relu(t: Translation, node: onnx.NodeProto) -> None:
    alpha = float(attributes_of(node).get("alpha", 0.01))
    op: Operator = LeakyRelu(alpha) if alpha >= 0 else Function("leakyrelu", (alpha,))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("PRelu")
def _prelu(t: Translation, node: onnx.NodeProto) -> None:
    x, slope = t.read(node.input[0]), t.read(node.input[1])
    rank = len(t.graph.tensors[x].shape)
    t.bind(node.output[0], t.apply(Prelu(), [x, t.with_rank(slope, rank)]))


@translates("Gelu")
def _gelu(t: Translation, node: onnx.NodeProto) -> None:
    op = Gelu(attributes_of(node).get("approximate", b"none") == b"tanh")
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Clip")
def _clip(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    low, high = t.constant(node, 1), t.constant(node, 2)
    bounds = (
        float(low) if low is not None else given.get("min", -math.inf),
        float(high) if high is not None else given.get("max", math.inf),
    )
    known: dict[tuple[float, float], Operator] = {(0.0, 6.0): Relu6(), (0.0, math.inf): Relu()}
    op = known.get(bounds, Function("clip", bounds))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Pow")
def _pow(t: Translation, node: onnx.NodeProto) -> None:
    exponent = required(t, node, 1)
    if exponent.size != 1:
        raise Unsupported(f"{exponent.size} exponents; one is supported")
    x, power = t.read(node.input[0]), float(exponent.ravel()[0])
    made = t.apply(Mul(), [x, x]) if power == 2 else t.apply(Function("pow", (power,)), [x])
    t.bind(node.output[0], made)


@translates("Reciprocal")
def _reciprocal(t: Translation, node: onnx.NodeProto) -> None:
    x = t.read(node.input[0])
    root = t.graph.producer(x)
    if root is not None and root.op == Function("sqrt"):
        t.bind(node.output[0], t.apply(Rsqrt(), [root.inputs[0]]))
    else:
        t.bind(node.output[0], t.apply(Function("reciprocal"), [x]))


@translates("Add", "Sub", "Mul", "Div")
def _arithmetic(t: Translation, node: onnx.NodeProto) -> None:
    a, b = node.input
    if node.op_type == "Div" and t.is_constant(b):
        divisor = required(t, node, 1)
        if np.any(divisor == 0):
            raise Unsupported("division by zero")
        _binary(
            t, node, Mul(), [t.read(a), t.store(f"{b}_inverse", 1.0 / divisor.astype(np.float64))]
        )
        return
    ops: dict[str, Operator] = {"Add": Add(), "Sub": Sub(), "Mul": Mul(), "Div": Div()}
    _binary(t, node, ops[node.op_type], [t.read(a), t.read(b)])


@translates("Max", "Min")
def _extreme(t: Translation, node: onnx.NodeProto) -> None:
    op: Operator = Maximum() if node.op_type == "Max" else Minimum()
    left = t.read(node.input[0])
    for value in node.input[1:]:
        left = _aligned(t, op, [left, t.read(value)])
    t.bind(node.output[0], left)


def _binary(t: Translation, node: onnx.NodeProto, op: Operator, sides: list[str]) -> None:
    t.bind(node.output[0], _aligned(t, op, sides))


def _aligned(t: Translation, op: Operator, sides: list[str]) -> str:
    """The operator on two tensors that get one rank."""
    rank = max(len(t.graph.tensors[s].shape) for s in sides)
    return t.apply(op, [t.with_rank(s, rank) for s in sides])
