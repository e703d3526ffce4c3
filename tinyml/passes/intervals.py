# SPDX-License-Identifier: Apache-2.0
"""Which integers each channel of an int8 graph can take, whatever the input.

Interval analysis: from the full range at the inputs through every operator. A channel whose
interval is one value is constant. Operators without a rule give the full range, so the result is
always a superset of what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyml.ir.fixedpoint import INT32_MAX, INT32_MIN
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Reshape,
    Sub,
    Transpose,
)
from tinyml.ops.table import Table
from tinyml.ops.weighted import finish_accumulators, output_multipliers


@dataclass(frozen=True)
class Interval:
    """Lowest and highest value of each channel, the innermost axis; int64 (channels,)."""

    low: Array
    high: Array

    @property
    def constant(self) -> Array:
        """Which channels hold one value."""
        return np.asarray(self.low == self.high)


def intervals(graph: Graph) -> dict[str, Interval]:
    """The interval of every tensor, constants included."""
    found: dict[str, Interval] = {}
    for name, tensor in graph.tensors.items():
        if tensor.data is not None:
            rows = tensor.data.reshape(-1, tensor.shape[-1] if tensor.shape else 1).astype(np.int64)
            found[name] = Interval(rows.min(axis=0), rows.max(axis=0))
        elif name in graph.inputs or name in graph.variables:
            found[name] = _everything(tensor)
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        rule = _RULES.get(type(node.op))
        # The bias of a weighted layer has its own type.
        typed = [*ins[:2], *ins[3:], out] if rule is _weighted else [*ins, out]
        # A single number has no channels.
        known = all(t.dtype is DType.INT8 and t.shape for t in typed)
        if rule is None or not known:
            found[out.name] = _everything(out)
        else:
            found[out.name] = rule(node, ins, out, [found[t.name] for t in ins])
    return found


def _everything(tensor: Tensor) -> Interval:
    channels = tensor.shape[-1] if tensor.shape else 1
    low, high = tensor.dtype.limits
    return Interval(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


Rule = Callable[[Node, Sequence[Tensor], Tensor, Sequence[Interval]], Interval]


def _weighted(
    node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]
) -> Interval:
    op, x, weights = node.op, ins[0], ins[1].values.astype(np.int64)
    low, high = given[0].low - x.q.z, given[0].high - x.q.z
    if isinstance(op, Conv2D | DepthwiseConv2D) and any(
        op.window.used_padding(x.shape[1], x.shape[2])
    ):
        # A tap in the padding contributes nothing.
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if isinstance(op, DepthwiseConv2D):
        repeat = weights.shape[3] // x.shape[3]
        low, high = np.repeat(low, repeat), np.repeat(high, repeat)
        axes: tuple[int, ...] = (0, 1, 2)
    else:
        axes = tuple(range(1, weights.ndim))
    least = np.minimum(weights * low, weights * high).sum(axis=axes)
    most = np.maximum(weights * low, weights * high).sum(axis=axes)
    bias = ins[2].values.astype(np.int64)
    shift = np.maximum(output_multipliers(ins, out)[1], 0)
    if np.any((least + bias) << shift < INT32_MIN) or np.any((most + bias) << shift > INT32_MAX):
        return _everything(out)  # sums may wrap
    assert isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected)
    ends = [finish_accumulators(s, ins[2].values, ins, out, op.activation) for s in (least, most)]
    return Interval(ends[0].astype(np.int64), ends[1].astype(np.int64))


def _table(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    values = ins[1].values.astype(np.int64)
    spans = zip(given[0].low + 128, given[0].high + 129, strict=True)
    parts = [values[low:high] for low, high in spans]
    return Interval(np.array([p.min() for p in parts]), np.array([p.max() for p in parts]))


def _corners(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    """Two-input operators that are monotone in each input while the other stands still."""
    seen = []
    for a in (given[0].low, given[0].high):
        for b in (given[1].low, given[1].high):
            seen.append(node.op.run_int([a.astype(np.int8), b.astype(np.int8)], ins, out))
    stacked = np.stack(np.broadcast_arrays(*seen)).astype(np.int64)
    whole = np.broadcast_to(stacked, (4, out.shape[-1]))
    return Interval(whole.min(axis=0), whole.max(axis=0))


def _same(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    return given[0]


def _mean(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    ends = []
    for end in (given[0].low, given[0].high):
        image = np.broadcast_to(end.astype(np.int8), ins[0].shape)
        ends.append(node.op.run_int([image], ins, out).reshape(-1).astype(np.int64))
    if len(ends[0]) != out.shape[-1]:
        return _everything(out)
    return Interval(ends[0], ends[1])


def _pad(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    assert isinstance(node.op, Pad)
    if node.op.before[-1] or node.op.after[-1]:
        return _everything(out)
    added = node.op.added(ins[0])
    return Interval(np.minimum(given[0].low, added), np.maximum(given[0].high, added))


def _moved(node: Node, ins: Sequence[Tensor], out: Tensor, given: Sequence[Interval]) -> Interval:
    """Operators that move integers: moves the bounds of every element."""
    sides = []
    for bounds in ([g.low for g in given], [g.high for g in given]):
        whole = [np.broadcast_to(b, t.shape) for b, t in zip(bounds, ins, strict=True)]
        sides.append(node.op.run_int(whole, ins, out).reshape(-1, out.shape[-1]))
    return Interval(sides[0].min(axis=0), sides[1].max(axis=0))


_RULES: dict[type, Rule] = {
    Conv2D: _weighted,
    DepthwiseConv2D: _weighted,
    FullyConnected: _weighted,
    Table: _table,
    Add: _corners,
    Sub: _corners,
    Mul: _corners,
    MaxPool2D: _same,
    AveragePool2D: _same,
    Mean: _mean,
    Pad: _pad,
    Reshape: _moved,
    Transpose: _moved,
    Concatenation: _moved,
}
