# SPDX-License-Identifier: Apache-2.0
"""One small function per TFLite operator: how it is said in the Graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.ir.operator import Operator
from tinyml.ir.tensor import DType, Quantisation, Tensor
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relu,
    Relu6,
    Requantise,
    Reshape,
    Softmax,
    Sub,
    Tanh,
    Transpose,
    Window,
)

if TYPE_CHECKING:
    from tinyml.importers.tflite.importer import Reader

Translator = Callable[["Reader", Any], None]
TRANSLATORS: dict[str, Translator] = {}
_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: Activation.NONE,
    schema.ActivationFunctionType.RELU: Activation.RELU,
    schema.ActivationFunctionType.RELU6: Activation.RELU6,
}


class Unsupported(Exception):  # noqa: N818 - a verdict on an operator, not a failure
    """A form of a supported operator that the compiler does not support."""


def translates(*kinds: str) -> Callable[[Translator], Translator]:
    """Registers a function as the translator of TFLite operators."""

    def register(function: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(kinds, function))
        return function

    return register


def _options(operator: Any) -> Any:
    if operator.builtinOptions is None:
        raise Unsupported("its options are missing")
    return operator.builtinOptions


def _activation(number: int) -> Activation:
    if number not in _ACTIVATIONS:
        raise Unsupported(f"fused activation {number}; none, RELU and RELU6 are supported")
    return _ACTIVATIONS[number]


def _window(
    options: Any, kernel: tuple[int, int], dilation: tuple[int, int], size: tuple[int, ...]
) -> Window:
    stride = (int(options.strideH), int(options.strideW))
    if min(*stride, *dilation, *kernel) < 1:
        raise Unsupported("a stride, dilation or kernel size below 1")
    padding = [0, 0, 0, 0]
    if options.padding == schema.Padding.SAME:
        for axis in range(2):
            span = (kernel[axis] - 1) * dilation[axis] + 1
            out = -(-size[axis + 1] // stride[axis])
            total = max((out - 1) * stride[axis] + span - size[axis + 1], 0)
            padding[2 * axis : 2 * axis + 2] = [total // 2, total - total // 2]
    top, bottom, left, right = padding
    return Window(kernel, stride, dilation, (top, bottom, left, right))


def _weights(reader: Reader, operator: Any, axis: int) -> list[str]:
    """Weights and bias; the bias defaults to zeros."""
    weights = reader.held(reader.tensor(int(operator.inputs[1])))
    if weights.data is None or weights.dtype is not DType.INT8 or weights.quant is None:
        raise Unsupported("weights that are no int8 constants")
    if any(weights.quant.zero_point):
        raise Unsupported("weights with a zero point")
    if weights.quant.axis not in (None, axis):
        raise Unsupported(f"weights quantised along axis {weights.quant.axis}")
    if reader.has_input(operator, 2):
        bias = reader.held(reader.tensor(int(operator.inputs[2])))
        if bias.data is None or bias.dtype is not DType.INT32:
            raise Unsupported("a bias that is no int32 constant")
        return [weights.name, bias.name]
    zeros = np.zeros(weights.shape[axis], np.int32)
    quant = Quantisation.per_tensor(weights.quant.scale[0], 0)
    return [
        weights.name,
        reader.constant(Tensor(f"{weights.name}_bias", zeros.shape, DType.INT32, quant, zeros)),
    ]


@translates("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv(reader: Reader, operator: Any) -> None:
    options = _options(operator)
    depthwise = hasattr(options, "depthMultiplier")
    constants = _weights(reader, operator, 3 if depthwise else 0)
    x = reader.tensor(int(operator.inputs[0]))
    weights = reader.held(constants[0]).shape
    if len(weights) != 4 or len(reader.held(x).shape) != 4:
        raise Unsupported("operands that are not of rank 4")
    dilation = (int(options.dilationHFactor), int(options.dilationWFactor))
    window = _window(options, (weights[1], weights[2]), dilation, reader.held(x).shape)
    kind = DepthwiseConv2D if depthwise else Conv2D
    op: Operator = kind(window, _activation(options.fusedActivationFunction))
    reader.apply(op, [x, *constants], operator)


@translates("FULLY_CONNECTED")
def _fully_connected(reader: Reader, operator: Any) -> None:
    options = _options(operator)
    if options.weightsFormat:
        raise Unsupported("shuffled weights")
    constants = _weights(reader, operator, 0)
    x = reader.tensor(int(operator.inputs[0]))
    inputs = reader.held(constants[0]).shape[1]
    shape = reader.held(x).shape
    out = reader.held(reader.tensor(int(operator.outputs[0]))).shape
    wanted = (*out[:-1], inputs)
    if shape != wanted:
        x = reader.apply_between(Reshape(wanted), [x], reader.held(x))
    op = FullyConnected(_activation(options.fusedActivationFunction))
    reader.apply(op, [x, *constants], operator)


@translates("ADD", "SUB", "MUL")
def _binary(reader: Reader, operator: Any) -> None:
    options = _options(operator)
    kind = {"AddOptionsT": Add, "SubOptionsT": Sub, "MulOptionsT": Mul}[type(options).__name__]
    sides = reader.inputs(operator)
    rank = max(len(reader.held(s).shape) for s in sides)
    op: Operator = kind(_activation(options.fusedActivationFunction))
    reader.apply(op, [_with_rank(reader, s, rank) for s in sides], operator)


def _with_rank(reader: Reader, name: str, rank: int) -> str:
    tensor = reader.held(name)
    if len(tensor.shape) == rank:
        return name
    shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
    if tensor.data is not None:
        return reader.constant(
            replace(tensor, name=f"{name}_r{rank}", shape=shape, data=tensor.data.reshape(shape))
        )
    return reader.apply_between(Reshape(shape), [name], tensor)


@translates("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(reader: Reader, operator: Any) -> None:
    options = _options(operator)
    _only(options.fusedActivationFunction)
    x = reader.tensor(int(operator.inputs[0]))
    kernel = (int(options.filterHeight), int(options.filterWidth))
    window = _window(options, kernel, (1, 1), reader.held(x).shape)
    if reader.kind(operator) == "AVERAGE_POOL_2D":
        reader.apply(AveragePool2D(window), [x], operator)
        return
    if x in reader.lowest_padding and window.padding == (0, 0, 0, 0):
        x, padding = reader.lowest_padding[x]
        window = replace(window, padding=padding)
    reader.apply(MaxPool2D(window), [x], operator)


def _only(activation: int) -> None:
    if _activation(activation) is not Activation.NONE:
        raise Unsupported("a fused activation")


@translates("MEAN")
def _mean(reader: Reader, operator: Any) -> None:
    x = reader.tensor(int(operator.inputs[0]))
    rank = len(reader.held(x).shape)
    axes = sorted(a % rank for a in reader.integers(operator, 1))
    if rank != 4 or axes != [1, 2]:
        raise Unsupported(f"axes {axes} of rank {rank}; height and width are supported")
    out = reader.held(reader.tensor(int(operator.outputs[0])))
    if len(out.shape) == 4:
        reader.apply(Mean(), [x], operator)
    else:
        inner = reader.apply_between(Mean(), [x], out)
        reader.apply(Reshape(out.shape), [inner], operator)


@translates("SOFTMAX")
def _softmax(reader: Reader, operator: Any) -> None:
    if _options(operator).beta != 1.0:
        raise Unsupported("beta other than 1")
    out = reader.held(reader.tensor(int(operator.outputs[0])))
    if out.quant != Softmax().fixed_quantisation():
        raise Unsupported("an output scale other than 1/256 with zero point -128")
    reader.apply(Softmax(), reader.inputs(operator), operator)


_UNARY: dict[str, Operator] = {
    "HARD_SWISH": HardSwish(),
    "LOGISTIC": Logistic(),
    "QUANTIZE": Requantise(),
    "RELU": Relu(),
    "TANH": Tanh(),
}


@translates(*_UNARY)
def _unary(reader: Reader, operator: Any) -> None:
    reader.apply(_UNARY[reader.kind(operator)], reader.inputs(operator), operator)


@translates("RELU6")
def _relu6(reader: Reader, operator: Any) -> None:
    x = reader.held(reader.tensor(int(operator.inputs[0])))
    out = reader.held(reader.tensor(int(operator.outputs[0])))
    if x.quant != out.quant:
        raise Unsupported("another scale for the output than for the input")
    reader.apply(Relu6(), [x.name], operator)


@translates("LEAKY_RELU")
def _leaky_relu(reader: Reader, operator: Any) -> None:
    op = LeakyRelu(float(_options(operator).alpha))
    reader.apply(op, reader.inputs(operator), operator)


@translates("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(reader: Reader, operator: Any) -> None:
    x = reader.tensor(int(operator.inputs[0]))
    out = reader.held(reader.tensor(int(operator.outputs[0])))
    if math.prod(out.shape) != reader.held(x).elements:
        raise Unsupported(f"{reader.held(x).shape} as {out.shape}")
    reader.apply(Reshape(out.shape), [x], operator)


@translates("TRANSPOSE")
def _transpose(reader: Reader, operator: Any) -> None:
    permutation = tuple(reader.integers(operator, 1))
    reader.apply(Transpose(permutation), [reader.tensor(int(operator.inputs[0]))], operator)


@translates("PAD")
def _pad(reader: Reader, operator: Any) -> None:
    x = reader.tensor(int(operator.inputs[0]))
    widths = np.reshape(reader.integers(operator, 1), (-1, 2))
    before, after = (tuple(int(v) for v in widths[:, i]) for i in range(2))
    if min(*before, *after) < 0:
        raise Unsupported("negative padding")
    reader.apply(Pad(before, after), [x], operator)


@translates("PADV2")
def _pad_lowest(reader: Reader, operator: Any) -> None:
    """Padding by -128 before a maximum, as the TFLite writer spells it: becomes the window's."""
    if reader.integers(operator, 2) != [-128]:
        raise Unsupported("a padding value; -128 before a MAX_POOL_2D is supported")
    widths = reader.integers(operator, 1)
    if len(widths) != 8 or any(widths[:2]) or any(widths[6:]) or min(widths) < 0:
        raise Unsupported("padding of other axes than height and width")
    top, bottom, left, right = widths[2:6]
    padded = reader.tensor(int(operator.outputs[0]))
    source = reader.tensor(int(operator.inputs[0]))
    reader.lowest_padding[padded] = (source, (top, bottom, left, right))


@translates("CONCATENATION")
def _concatenation(reader: Reader, operator: Any) -> None:
    options = _options(operator)
    _only(options.fusedActivationFunction)
    names = reader.inputs(operator)
    out = reader.held(reader.tensor(int(operator.outputs[0])))
    if any(reader.held(n).quant != out.quant for n in names):
        raise Unsupported("inputs whose scale is not the output's")
    reader.apply(Concatenation(int(options.axis) % len(out.shape)), names, operator)


SUPPORTED = sorted(TRANSLATORS)
