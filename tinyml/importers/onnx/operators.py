# SPDX-License-Identifier: Apache-2.0
"""One small function per ONNX operator: how it is said in the Graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, Quantisation
from tinyml.ops import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Div,
    FullyConnected,
    Gelu,
    HardSwish,
    LayerNorm,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relu,
    Relu6,
    Reshape,
    Slice,
    Softmax,
    Sqrt,
    Sub,
    Tanh,
    Transpose,
    Window,
)

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

Translator = Callable[["Translation", onnx.NodeProto], None]
TRANSLATORS: dict[str, Translator] = {}

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class Unsupported(Exception):  # noqa: N818 - a verdict on a node, not a failure
    """An attribute or input form of a supported operator that the compiler does not support."""


def translates(*kinds: str) -> Callable[[Translator], Translator]:
    """Registers a function as the translator of ONNX operators."""

    def register(function: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(kinds, function))
        return function

    return register


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _window(node: onnx.NodeProto, kernel: Sequence[int], size: Sequence[int]) -> Window:
    """The window of a convolution or pooling over an input of (height, width)."""
    given = attributes_of(node)
    stride = tuple(given.get("strides", (1, 1)))
    dilation = tuple(given.get("dilations", (1, 1)))
    mode = given.get("auto_pad", b"NOTSET").decode()
    if mode == "NOTSET":
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        padding = (top, bottom, left, right)
    elif mode == "VALID":
        padding = (0, 0, 0, 0)
    else:
        pairs = []
        for axis in range(2):
            span = (kernel[axis] - 1) * dilation[axis] + 1
            out = -(-size[axis] // stride[axis])
            total = max((out - 1) * stride[axis] + span - size[axis], 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
        padding = (*pairs[0], *pairs[1])
    if min(padding) < 0:
        raise Unsupported(f"negative padding {padding}")
    height, width = kernel
    return Window((height, width), (stride[0], stride[1]), (dilation[0], dilation[1]), padding)


def _nhwc(t: Translation, op: Operator, x: str, *constants: str) -> str:
    """Applies an NHWC operator to an NCHW tensor."""
    turned = t.apply(Transpose(TO_NHWC), [x])
    return t.apply(Transpose(TO_NCHW), [t.apply(op, [turned, *constants])])


@translates("Conv")
def _conv(t: Translation, node: onnx.NodeProto) -> None:
    weights = t.constant(node, 1)
    shape = t.shape(node.input[0])
    if weights is None or weights.ndim != 4:
        raise Unsupported("only two-dimensional convolutions are supported")
    group = int(attributes_of(node).get("group", 1))
    bias = t.constant(node, 2)
    if bias is None:
        bias = np.zeros(weights.shape[0], np.float32)
    window = _window(node, weights.shape[2:], shape[2:])
    if group == 1:
        op: Operator = Conv2D(window)
        stored, axis = weights.transpose(0, 2, 3, 1), 0
    elif group == shape[1] and weights.shape[1] == 1:
        op = DepthwiseConv2D(window)
        stored, axis = weights.transpose(1, 2, 3, 0), 3
    else:
        raise Unsupported(f"{group} groups over {shape[1]} channels; use 1 or depthwise")
    x = t.read(node.input[0])
    grid = t.stored(node.input[1], 0, axis)
    constants = [t.store(f"{node.output[0]}_weights", stored, grid)]
    constants.append(t.store(f"{node.output[0]}_bias", bias))
    t.bind(node.output[0], _nhwc(t, op, x, *constants))


@translates("BatchNormalization")
def _batch_normalization(t: Translation, node: onnx.NodeProto) -> None:
    scale, bias, mean, variance = (_required(t, node, i).astype(np.float64) for i in range(1, 5))
    gain = scale / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))
    rank = len(t.shape(node.input[0]))
    shape = (1, -1) + (1,) * (rank - 2)
    x = t.apply(Mul(), [t.read(node.input[0]), t.store(f"{node.name}_gain", gain.reshape(shape))])
    offset = (bias - mean * gain).reshape(shape)
    t.bind(node.output[0], t.apply(Add(), [x, t.store(f"{node.name}_offset", offset)]))


def _required(t: Translation, node: onnx.NodeProto, index: int) -> Array:
    value = t.constant(node, index)
    if value is None:
        raise Unsupported(f"input {index} is missing")
    return value


@translates("MaxPool", "AveragePool")
def _pool(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    shape = t.shape(node.input[0])
    if len(shape) != 4:
        raise Unsupported("only two-dimensional pooling is supported")
    window = _window(node, given["kernel_shape"], shape[2:])
    if given.get("ceil_mode", 0):
        window = _ceiling(window, shape[2:], node.op_type)
    x = t.read(node.input[0])
    padded = any(window.used_padding(shape[2], shape[3]))
    if node.op_type == "MaxPool":
        t.bind(node.output[0], _nhwc(t, MaxPool2D(window), x))
    elif padded and given.get("count_include_pad", 0):
        # Padding that counts as zeros is padding by zeros.
        top, bottom, left, right = window.used_padding(shape[2], shape[3])
        x = t.apply(Pad((0, 0, top, left), (0, 0, bottom, right)), [x])
        bare = Window(window.kernel, window.stride)
        t.bind(node.output[0], _nhwc(t, AveragePool2D(bare), x))
    else:
        t.bind(node.output[0], _nhwc(t, AveragePool2D(window), x))


def _ceiling(window: Window, size: Sequence[int], kind: str) -> Window:
    """The window whose output size is rounded up; the extra positions see padding."""
    top, bottom, left, right = window.padding
    extra = []
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        span = size[axis] + before + after - window.extent[axis]
        extra.append(-span % window.stride[axis])
    if any(extra) and kind == "AveragePool":
        raise Unsupported("ceil_mode whose windows reach beyond the input")
    padding = (top, bottom + extra[0], left, right + extra[1])
    return Window(window.kernel, window.stride, window.dilation, padding)


@translates("GlobalAveragePool")
def _global_average_pool(t: Translation, node: onnx.NodeProto) -> None:
    if len(t.shape(node.input[0])) != 4:
        raise Unsupported("only two-dimensional pooling is supported")
    t.bind(node.output[0], _nhwc(t, Mean(), t.read(node.input[0])))


@translates("ReduceMean")
def _reduce_mean(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    shape = t.shape(node.input[0])
    axes = t.constant(node, 1) if t.opset >= 18 else np.array(given.get("axes", ()))
    wanted = sorted(int(a) % len(shape) for a in (axes if axes is not None else ()))
    if len(shape) == 4 and wanted == [2, 3]:
        mean = _nhwc(t, Mean(), t.read(node.input[0]))
    elif wanted and wanted == list(range(wanted[0], wanted[0] + len(wanted))):
        mean = t.apply(Mean(tuple(wanted)), [t.read(node.input[0])])
    else:
        raise Unsupported(f"mean over axes {wanted} of {shape}; neighbouring axes are supported")
    if not given.get("keepdims", 1):
        kept = tuple(size for axis, size in enumerate(shape) if axis not in wanted)
        mean = t.apply(Reshape(kept), [mean])
    t.bind(node.output[0], mean)


@translates("LayerNormalization")
def _layer_norm(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    shape = t.shape(node.input[0])
    if int(given.get("axis", -1)) % len(shape) != len(shape) - 1:
        raise Unsupported("axes other than the last")
    if any(node.output[1:]):
        raise Unsupported("its mean or deviation as an output")
    gain, offset = _required(t, node, 1), t.constant(node, 2)
    offset = np.zeros_like(gain) if offset is None else offset
    constants = [t.store(f"{node.output[0]}_gain", np.broadcast_to(gain, shape[-1:]))]
    constants.append(t.store(f"{node.output[0]}_offset", np.broadcast_to(offset, shape[-1:])))
    op = LayerNorm(float(given.get("epsilon", 1e-5)))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0]), *constants]))


@translates("Gelu")
def _gelu(t: Translation, node: onnx.NodeProto) -> None:
    op = Gelu(attributes_of(node).get("approximate", b"none") == b"tanh")
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Gemm")
def _gemm(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    weights = _required(t, node, 1)
    if given.get("transA", 0):
        raise Unsupported("transA")
    if not given.get("transB", 0):
        weights = weights.T
    alpha = given.get("alpha", 1.0)
    grid = t.stored(node.input[1], 0 if given.get("transB", 0) else 1, 0) if alpha == 1 else None
    weights = weights * alpha
    bias = t.constant(node, 2)
    bias = np.zeros(1) if bias is None else bias * given.get("beta", 1.0)
    t.bind(node.output[0], _fully_connected(t, node, weights, bias, grid))


@translates("MatMul")
def _matmul(t: Translation, node: onnx.NodeProto) -> None:
    weights = _required(t, node, 1)
    if weights.ndim != 2:
        raise Unsupported(f"a constant of shape {weights.shape}; a matrix is supported")
    grid = t.stored(node.input[1], 1, 0)
    t.bind(node.output[0], _fully_connected(t, node, weights.T, np.zeros(1), grid))


def _fully_connected(
    t: Translation,
    node: onnx.NodeProto,
    weights: Array,
    bias: Array,
    grid: Quantisation | None,
) -> str:
    row = np.broadcast_to(bias.reshape(-1), (weights.shape[0],))
    constants = [t.store(f"{node.output[0]}_weights", weights, grid)]
    constants.append(t.store(f"{node.output[0]}_bias", row))
    return t.apply(FullyConnected(), [t.read(node.input[0]), *constants])


@translates("Add", "Sub", "Mul", "Div")
def _binary(t: Translation, node: onnx.NodeProto) -> None:
    a, b = node.input
    if node.op_type == "Div" and not t.is_constant(b):
        rank = max(len(t.shape(a)), len(t.shape(b)))
        sides = [_with_rank(t, t.read(s), rank) for s in (a, b)]
        t.bind(node.output[0], t.apply(Div(), sides))
        return
    if node.op_type == "Div":
        divisor = _required(t, node, 1)
        if np.any(divisor == 0):
            raise Unsupported("division by zero")
        inverse = t.store(f"{b}_inverse", 1.0 / divisor.astype(np.float64))
        sides = [t.read(a), inverse]
    else:
        sides = [t.read(a), t.read(b)]
    op: Operator = {"Add": Add, "Sub": Sub}.get(node.op_type, Mul)()
    rank = max(len(t.graph.tensors[s].shape) for s in sides)
    t.bind(node.output[0], t.apply(op, [_with_rank(t, s, rank) for s in sides]))


def _with_rank(t: Translation, tensor: str, rank: int) -> str:
    """The tensor with leading sizes of 1."""
    held = t.graph.tensors[tensor]
    if len(held.shape) == rank:
        return tensor
    shape = (1,) * (rank - len(held.shape)) + held.shape
    if held.data is not None:
        return t.store(f"{tensor}_r{rank}", held.data.reshape(shape), held.quant)
    return t.apply(Reshape(shape), [tensor])


_UNARY: dict[str, Operator] = {
    "Relu": Relu(),
    "Sigmoid": Logistic(),
    "Tanh": Tanh(),
    "HardSwish": HardSwish(),
    "Sqrt": Sqrt(),
}


@translates(*_UNARY)
def _unary(t: Translation, node: onnx.NodeProto) -> None:
    t.bind(node.output[0], t.apply(_UNARY[node.op_type], [t.read(node.input[0])]))


@translates("LeakyRelu")
def _leaky_relu(t: Translation, node: onnx.NodeProto) -> None:
    op = LeakyRelu(float(attributes_of(node).get("alpha", 0.01)))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Clip")
def _clip(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    low, high = t.constant(node, 1), t.constant(node, 2)
    bounds = (
        float(low) if low is not None else given.get("min", -math.inf),
        float(high) if high is not None else given.get("max", math.inf),
    )
    known = {(0.0, 6.0): Relu6(), (0.0, math.inf): Relu()}
    if bounds not in known:
        raise Unsupported(f"bounds {bounds}; (0, 6) and (0, inf) are supported")
    t.bind(node.output[0], t.apply(known[bounds], [t.read(node.input[0])]))


@translates("Identity", "Dropout")
def _identity(t: Translation, node: onnx.NodeProto) -> None:
    t.bind(node.output[0], t.read(node.input[0]))


@translates("Cast")
def _cast(t: Translation, node: onnx.NodeProto) -> None:
    if attributes_of(node)["to"] != onnx.TensorProto.FLOAT:
        raise Unsupported("casts to anything but float32")
    t.bind(node.output[0], t.read(node.input[0]))


@translates("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    given = attributes_of(node)
    if node.op_type == "Flatten":
        axis = int(given.get("axis", 1)) % (len(shape) + 1)
        target = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    elif node.op_type == "Reshape":
        target = [int(v) for v in _required(t, node, 1)]
        if not given.get("allowzero", 0):
            target = [shape[i] if v == 0 else v for i, v in enumerate(target)]
        if -1 in target:
            rest = math.prod(v for v in target if v != -1)
            target[target.index(-1)] = math.prod(shape) // rest
    else:
        axes = t.constant(node, 1)
        if axes is None:
            axes = np.array(given.get("axes", [i for i, v in enumerate(shape) if v == 1]))
        if node.op_type == "Squeeze":
            dropped = {int(a) % len(shape) for a in axes}
            target = [v for i, v in enumerate(shape) if i not in dropped]
        else:
            rank = len(shape) + len(axes)
            ones = {int(a) % rank for a in axes}
            rest_of = iter(shape)
            target = [1 if i in ones else next(rest_of) for i in range(rank)]
    t.bind(node.output[0], t.apply(Reshape(tuple(target)), [t.read(node.input[0])]))


@translates("Transpose")
def _transpose(t: Translation, node: onnx.NodeProto) -> None:
    rank = len(t.shape(node.input[0]))
    permutation = tuple(attributes_of(node).get("perm", range(rank)[::-1]))
    t.bind(node.output[0], t.apply(Transpose(permutation), [t.read(node.input[0])]))


@translates("Slice")
def _slice(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    starts, ends = (_required(t, node, i).ravel() for i in (1, 2))
    axes, steps = t.constant(node, 3), t.constant(node, 4)
    begin, size, stride = [0] * len(shape), list(shape), [1] * len(shape)
    chosen = np.arange(len(starts)) if axes is None else axes.ravel()
    taken = np.ones(len(starts), np.int64) if steps is None else steps.ravel()
    for axis, start, end, step in zip(chosen, starts, ends, taken, strict=True):
        place = int(axis) % len(shape)
        if step < 1:
            raise Unsupported(f"step {step}; steps from 1 are supported")
        low, high, _ = slice(int(start), int(end)).indices(shape[place])
        if high <= low:
            raise Unsupported("an empty result")
        begin[place], stride[place] = low, int(step)
        size[place] = -(-(high - low) // int(step))
    op = Slice(tuple(begin), tuple(size), tuple(stride))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Concat")
def _concat(t: Translation, node: onnx.NodeProto) -> None:
    axis = int(attributes_of(node)["axis"]) % len(t.shape(node.input[0]))
    t.bind(node.output[0], t.apply(Concatenation(axis), [t.read(i) for i in node.input]))


@translates("Softmax")
def _softmax(t: Translation, node: onnx.NodeProto) -> None:
    rank = len(t.shape(node.input[0]))
    axis = int(attributes_of(node).get("axis", -1 if t.opset >= 13 else 1)) % rank
    x = t.read(node.input[0])
    if axis == rank - 1:
        t.bind(node.output[0], t.apply(Softmax(), [x]))
        return
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    turn = Transpose(tuple(swap))
    t.bind(node.output[0], t.apply(turn, [t.apply(Softmax(), [t.apply(turn, [x])])]))


@translates("Pad")
def _pad(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    if given.get("mode", b"constant") != b"constant":
        raise Unsupported(f"mode {given['mode'].decode()}; constant zeros are supported")
    value = t.constant(node, 2)
    if value is not None and float(value) != 0.0:
        raise Unsupported(f"padding by {float(value)}; zeros are supported")
    rank = len(t.shape(node.input[0]))
    pads = [int(p) for p in _required(t, node, 1)]
    axes = t.constant(node, 3)
    chosen = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = pads[i], pads[i + len(chosen)]
    if min(before + after) < 0:
        raise Unsupported("negative padding")
    t.bind(node.output[0], t.apply(Pad(tuple(before), tuple(after)), [t.read(node.input[0])]))


SUPPORTED = sorted(TRANSLATORS)
