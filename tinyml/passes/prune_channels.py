# SPDX-License-Identifier: Apache-2.0
"""Removes channels that hold one value for every input, and channels that nothing reads.

Requires: an int8 graph after `CollapseTables`.
Ensures: the outputs' integers are unchanged; of each run of layers that keep channels apart, no
channel is left that every reader could do without, except where the rest would not be a multiple
of the channels that kernels take at a time.

A reader of a constant channel has what it contributes added to its bias. In the padding of a
convolution a tap contributes nothing, so there the constant must be the zero point. A channel
goes from all tensors between the layers that write it and those that read it at once: depthwise
convolutions, pooling and elementwise operators keep channels apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinyml.ir.fixedpoint import INT32_MAX, INT32_MIN
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Pad,
    Reshape,
)
from tinyml.ops.binary import Binary
from tinyml.ops.table import Table
from tinyml.passes.intervals import Interval, intervals
from tinyml.passes.manager import Pass

# Channels that kernels take at a time: other counts cost more than the channels that go.
TOGETHER = 4
_MIXING = (Conv2D, FullyConnected)


@dataclass
class _Space:
    """Tensors whose innermost axis is the same channels.

    Args:
        tensors: their names.
        free: channels that may go; all at first.
        readers: layers that mix the channels, with the tensor that each reads.
    """

    tensors: list[str]
    free: Array
    readers: list[Node] = field(default_factory=list)


class PruneChannels(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        while True:
            bounds = intervals(graph)
            spaces = [s for s in _spaces(graph, bounds) if s.free.any()]
            if not spaces:
                return
            for space in spaces:
                _remove(graph, space, bounds)
            graph.sweep()

    def ensures(self, graph: Graph) -> str | None:
        left = [s for s in _spaces(graph, intervals(graph)) if s.free.any()]
        return f"'{left[0].tensors[0]}' has channels to spare" if left else None


def _keeps_channels(graph: Graph, node: Node) -> bool:
    """Whether channel c of the output depends on channel c of each input alone."""
    ins, out = graph.ins(node), graph.out(node)
    if any(t.dtype is not DType.INT8 or not t.shape for t in (*ins[:1], out)):
        return False
    channels = out.shape[-1]
    if isinstance(node.op, DepthwiseConv2D | AveragePool2D | MaxPool2D | Table):
        return ins[0].shape[-1] == channels
    if isinstance(node.op, Mean):
        return len(out.shape) == 4 and out.shape[1:3] == (1, 1) and ins[0].shape[-1] == channels
    if isinstance(node.op, Pad):
        return node.op.before[-1] == node.op.after[-1] == 0
    if isinstance(node.op, Reshape):
        return ins[0].shape[-1] == channels
    if isinstance(node.op, Binary):
        return all(t.shape[-1] == channels or t.elements == 1 for t in ins)
    return False


def _spaces(graph: Graph, bounds: Mapping[str, Interval]) -> list[_Space]:
    """The channel spaces of a graph, each with the channels that may go."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    keeping = [n for n in graph.nodes if _keeps_channels(graph, n)]
    for node in keeping:
        for tensor in graph.ins(node):
            if not tensor.is_constant and tensor.shape[-1:] == graph.out(node).shape[-1:]:
                root[find(tensor.name)] = find(node.output)
    mixing = [
        n
        for n in graph.nodes
        if isinstance(n.op, _MIXING) and all(t.is_constant for t in graph.ins(n)[1:])
    ]
    for name in [*graph.inputs, *graph.variables, *(n.output for n in graph.nodes)]:
        find(name)
    members: dict[str, list[str]] = {}
    for name in root:
        members.setdefault(find(name), []).append(name)
    spaces = {r: _space(graph, names) for r, names in members.items()}
    fixed = {find(n) for n in [*graph.inputs, *graph.variables, *graph.kept]}
    for node in graph.nodes:
        if node in keeping:
            continue
        if node in mixing and not graph.ins(node)[0].is_constant:
            space = spaces[find(node.inputs[0])]
            space.readers.append(node)
            space.free &= _dispensable(graph, node, bounds)
            continue
        fixed.add(find(node.output))
        fixed.update(find(n) for n in node.inputs if not graph.tensors[n].is_constant)
    found = [s for r, s in spaces.items() if r not in fixed]
    for space in found:
        _round(space)
    return found


def _space(graph: Graph, names: Sequence[str]) -> _Space:
    shape = graph.tensors[names[0]].shape
    channels = shape[-1] if shape else 1
    return _Space(list(names), np.ones(channels, bool))


def _round(space: _Space) -> None:
    """Leaves as many channels as kernels take at a time, and never none."""
    total = len(space.free)
    kept = max(total - int(space.free.sum()), 1)
    if total % TOGETHER == 0:
        kept = -(-kept // TOGETHER) * TOGETHER
    space.free[np.flatnonzero(space.free)[max(total - kept, 0) :]] = False


def _dispensable(graph: Graph, node: Node, bounds: Mapping[str, Interval]) -> Array:
    """Input channels that a layer can do without: constants that its bias can take over, and
    those its weights ignore."""
    weights = graph.ins(node)[1].values
    ignored = ~np.any(weights, axis=tuple(range(weights.ndim - 1)))
    constant = bounds[node.inputs[0]].constant
    if isinstance(node.op, Conv2D):
        height, width = graph.ins(node)[0].shape[1:3]
        if any(node.op.window.used_padding(height, width)):
            constant = constant & (bounds[node.inputs[0]].low == graph.ins(node)[0].q.z)
    total = _bias_with(graph, node, bounds, constant)
    fits = np.all(total >= INT32_MIN) and np.all(total <= INT32_MAX)
    return np.asarray(ignored | constant) if fits else np.asarray(ignored)


def _bias_with(graph: Graph, node: Node, bounds: Mapping[str, Interval], channels: Array) -> Array:
    """The bias of a layer after constant input channels have gone; int64."""
    x, weights, bias = graph.ins(node)
    values = np.where(channels, bounds[x.name].low - x.q.z, 0)
    sums = (weights.values.astype(np.int64) * values).reshape(len(bias.values), -1).sum(axis=1)
    return np.asarray(bias.values.astype(np.int64) + sums)


def _remove(graph: Graph, space: _Space, bounds: Mapping[str, Interval]) -> None:
    keep = np.flatnonzero(~space.free)
    replaced: dict[int, Node] = {}
    for node in space.readers:
        constant = space.free & bounds[node.inputs[0]].constant
        total = _bias_with(graph, node, bounds, constant)
        weights, bias = graph.ins(node)[1:]
        inputs = (
            node.inputs[0],
            graph.add(_sliced(weights, weights.values.ndim - 1, keep)),
            graph.add(replace(bias, data=total.astype(bias.values.dtype))),
        )
        replaced[id(node)] = replace(node, inputs=inputs)
    nodes = [replaced.get(id(n), n) for n in graph.nodes]
    inside = set(space.tensors)
    graph.nodes = [_written(graph, n, keep) if n.output in inside else n for n in nodes]
    for name in space.tensors:
        tensor = graph.tensors[name]
        graph.tensors[name] = replace(tensor, shape=(*tensor.shape[:-1], len(keep)))


def _written(graph: Graph, node: Node, keep: Array) -> Node:
    """The node making the kept channels only."""
    op, inputs = node.op, list(node.inputs)
    if isinstance(op, DepthwiseConv2D | Conv2D | FullyConnected):
        weights, bias = (graph.tensors[i] for i in inputs[1:])
        axis = 3 if isinstance(op, DepthwiseConv2D) else 0
        inputs[1] = graph.add(_sliced(weights, axis, keep))
        inputs[2] = graph.add(_sliced(bias, 0, keep))
    elif isinstance(op, Binary):
        for position, tensor in enumerate(graph.ins(node)):
            if tensor.is_constant and tensor.shape[-1] > 1:
                inputs[position] = graph.add(_sliced(tensor, len(tensor.shape) - 1, keep))
    elif isinstance(op, Reshape):
        op = Reshape((*op.shape[:-1], len(keep)))
    return replace(node, op=op, inputs=tuple(inputs))


def _sliced(tensor: Tensor, axis: int, keep: Array) -> Tensor:
    data = np.ascontiguousarray(np.take(tensor.values, keep, axis=axis))
    quant = tensor.quant
    if quant is not None and quant.axis == axis:
        scales = tuple(quant.scale[i] for i in keep)
        quant = Quantisation(scales, tuple(quant.zero_point[i] for i in keep), axis)
    return tensor.with_data(data, quant)
