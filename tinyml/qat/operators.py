# SPDX-License-Identifier: Apache-2.0
"""The operators in PyTorch, on whole batches: what `run_float` computes, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tinyml import ops
from tinyml.errors import QuantisationError
from tinyml.ir.graph import Node
from tinyml.ir.operator import Operator
from tinyml.ops.activation import Activation
from tinyml.ops.window import Window

Spelling = Callable[[Any, Sequence[Tensor]], Tensor]


def spelling(node: Node) -> Spelling:
    """How an operator is computed. Activations have the batch on axis 0.

    Raises:
        QuantisationError: it has no spelling here, or does not keep samples apart.
    """
    found = _SPELLINGS.get(type(node.op))
    if found is None:
        raise QuantisationError(
            f"'{node.name}' is a {node.op.kind}, which cannot be trained under rounding",
            f"Operators that can: {', '.join(sorted(k.kind for k in _SPELLINGS))}.",
        )
    op: Any = node.op
    axes = (*getattr(op, "axes", ()), *([op.axis] if hasattr(op, "axis") else []))
    moved = hasattr(op, "permutation") and op.permutation[0] != 0
    if 0 in axes or moved:
        raise QuantisationError(f"'{node.name}' mixes the samples of a batch")
    return found


def _activated(x: Tensor, activation: Activation) -> Tensor:
    if activation is Activation.NONE:
        return x
    return x.clamp(0.0, 6.0) if activation is Activation.RELU6 else x.clamp(min=0.0)


def _padded(x: Tensor, window: Window, fill: float = 0.0) -> Tensor:
    """NHWC to NCHW, with the padding that the window touches."""
    top, bottom, left, right = window.used_padding(x.shape[1], x.shape[2])
    image = x.permute(0, 3, 1, 2)
    if not any((top, bottom, left, right)):
        return image
    return functional.pad(image, (left, right, top, bottom), value=fill)


def _conv2d(op: ops.Conv2D, inputs: Sequence[Tensor]) -> Tensor:
    x, weights, bias = inputs
    kernel = weights.permute(0, 3, 1, 2)
    window = op.window
    made = functional.conv2d(
        _padded(x, window), kernel, bias, window.stride, dilation=window.dilation
    )
    return _activated(made.permute(0, 2, 3, 1), op.activation)


def _depthwise(op: ops.DepthwiseConv2D, inputs: Sequence[Tensor]) -> Tensor:
    x, weights, bias = inputs
    kernel = weights.permute(3, 0, 1, 2)
    window, groups = op.window, x.shape[3]
    image = _padded(x, window)
    made = functional.conv2d(image, kernel, bias, window.stride, 0, window.dilation, groups)
    return _activated(made.permute(0, 2, 3, 1), op.activation)


def _fully_connected(op: ops.FullyConnected, inputs: Sequence[Tensor]) -> Tensor:
    return _activated(functional.linear(*inputs), op.activation)


def _average_pool(op: ops.AveragePool2D, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    inside = torch.ones((1, 1, x.shape[1], x.shape[2]))
    kernel, stride = op.window.kernel, op.window.stride
    sums = functional.avg_pool2d(_padded(x, op.window), kernel, stride)
    counts = functional.avg_pool2d(_padded(inside.permute(0, 2, 3, 1), op.window), kernel, stride)
    return (sums / counts).permute(0, 2, 3, 1)


def _max_pool(op: ops.MaxPool2D, inputs: Sequence[Tensor]) -> Tensor:
    image = _padded(inputs[0], op.window, float("-inf"))
    return functional.max_pool2d(image, op.window.kernel, op.window.stride).permute(0, 2, 3, 1)


def _reshape(op: ops.Reshape, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].reshape(len(inputs[0]), *op.shape[1:])


def _pad(op: ops.Pad, inputs: Sequence[Tensor]) -> Tensor:
    sides = [s for pair in zip(reversed(op.before), reversed(op.after), strict=True) for s in pair]
    return functional.pad(inputs[0], sides)


def _slice(op: ops.Slice, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    for axis in range(1, x.dim()):
        begin, size, stride = op.begin[axis], op.size[axis], op.strides[axis]
        places = torch.arange(size) * stride + begin
        x = x.index_select(axis, places)
    return x


_SPELLINGS: dict[type[Operator], Spelling] = {
    ops.Conv2D: _conv2d,
    ops.DepthwiseConv2D: _depthwise,
    ops.FullyConnected: _fully_connected,
    ops.Add: lambda op, x: _activated(x[0] + x[1], op.activation),
    ops.Sub: lambda op, x: _activated(x[0] - x[1], op.activation),
    ops.Mul: lambda op, x: _activated(x[0] * x[1], op.activation),
    ops.Maximum: lambda op, x: torch.maximum(x[0], x[1]),
    ops.Minimum: lambda op, x: torch.minimum(x[0], x[1]),
    ops.Mean: lambda op, x: x[0].mean(op.axes, keepdim=True),
    ops.Sum: lambda op, x: x[0].sum(op.axes, keepdim=True),
    ops.AveragePool2D: _average_pool,
    ops.MaxPool2D: _max_pool,
    ops.Relu: lambda op, x: x[0].clamp(min=0.0),
    ops.Relu6: lambda op, x: x[0].clamp(0.0, 6.0),
    ops.LeakyRelu: lambda op, x: functional.leaky_relu(x[0], op.alpha),
    ops.HardSwish: lambda op, x: functional.hardswish(x[0]),
    ops.Gelu: lambda op, x: functional.gelu(x[0], approximate="tanh" if op.tanh else "none"),
    ops.Logistic: lambda op, x: torch.sigmoid(x[0]),
    ops.Tanh: lambda op, x: torch.tanh(x[0]),
    ops.Softmax: lambda op, x: torch.softmax(x[0], -1),
    ops.Reshape: _reshape,
    ops.Transpose: lambda op, x: x[0].permute(op.permutation),
    ops.Concatenation: lambda op, x: torch.cat(list(x), op.axis),
    ops.Pad: _pad,
    ops.Slice: _slice,
    ops.Requantise: lambda op, x: x[0],
}
