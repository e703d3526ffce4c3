# SPDX-License-Identifier: Apache-2.0
"""Operators that can make their output a few rows at a time, and what each row needs.

A row is everything at one index of the row axis: image height, or position in a sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Tensor
from tinyml.ops import (
    Attention,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Gate,
    MaxPool2D,
    Norm,
    Pad,
    SequenceConv,
    Slice,
    Softmax,
    Table,
    Unary,
)
from tinyml.ops.binary import Binary

WINDOWED = (Conv2D, DepthwiseConv2D, SequenceConv, AveragePool2D, MaxPool2D)
# Row y of the output depends on row y of the inputs alone.
POINTWISE = (Binary, Unary, Table, Norm, Softmax, Gate, FullyConnected, Concatenation, Pad)


@dataclass(frozen=True)
class RowWindow:
    """The input rows under an output row: [y * stride - pad, y * stride - pad + extent)."""

    extent: int = 1
    stride: int = 1
    pad: int = 0

    def low(self, y: int) -> int:
        """The first input row that output row ``y`` and those after it read."""
        return max(0, y * self.stride - self.pad)

    def high(self, y: int, rows: int) -> int:
        """One past the last input row under output row ``y``, of ``rows`` input rows."""
        return min(rows, y * self.stride - self.pad + self.extent)


@dataclass(frozen=True)
class RowRule:
    """How a node runs by rows.

    Args:
        rows: output rows.
        windows: by position of the input; None for inputs that every row needs whole.
    """

    rows: int
    windows: tuple[RowWindow | None, ...]


def row_axis(tensor: Tensor) -> int | None:
    """The axis of rows, None where the tensor has none."""
    rank = len(tensor.shape)
    if rank == 2:
        return 0
    return 1 if rank in (3, 4) and tensor.shape[0] == 1 else None


def row_count(tensor: Tensor) -> int:
    """Rows of a tensor that has a row axis."""
    axis = row_axis(tensor)
    assert axis is not None
    return tensor.shape[axis]


def row_bytes(tensor: Tensor) -> int:
    """Bytes of one row."""
    return tensor.bytes // row_count(tensor)


def row_rule(graph: Graph, node: Node) -> RowRule | None:
    """How the node runs by rows; None when it runs only as a whole."""
    ins, out = graph.ins(node), graph.out(node)
    if row_axis(out) is None or row_count(out) < 2:
        return None
    if isinstance(node.op, WINDOWED):
        window = node.op.window
        first = RowWindow(window.extent[0], window.stride[0], window.padding[0])
        rule = RowRule(row_count(out), (first, *(None,) * (len(ins) - 1)))
        return rule if _reaches_every_row(rule, ins) else None
    if isinstance(node.op, Attention):
        # Queries come one by one; every one of them looks at all keys.
        return RowRule(row_count(out), (RowWindow(), None, None))
    if isinstance(node.op, Slice):
        return _sliced(node.op, ins, out)
    if isinstance(node.op, POINTWISE):
        return _pointwise(node.op, ins, out)
    return None


def _reaches_every_row(rule: RowRule, ins: Sequence[Tensor]) -> bool:
    """No window lies wholly in the padding: a kernel's input has at least one row."""
    window, rows = rule.windows[0], row_count(ins[0])
    assert window is not None
    return all(window.low(y) < window.high(y, rows) for y in range(rule.rows))


def _sliced(op: Slice, ins: Sequence[Tensor], out: Tensor) -> RowRule | None:
    """A slice that leaves rows whole."""
    axis = row_axis(out)
    assert axis is not None
    # One image of a batch leaves no row in its place.
    same = row_axis(ins[0]) == axis and ins[0].shape[axis] == out.shape[axis]
    return RowRule(row_count(out), (RowWindow(),)) if same else None


def _pointwise(op: Operator, ins: Sequence[Tensor], out: Tensor) -> RowRule | None:
    axis = row_axis(out)
    assert axis is not None
    if isinstance(op, Concatenation) and op.axis == axis:
        return None
    if isinstance(op, Pad) and (op.before[axis] or op.after[axis]):
        return None
    windows: list[RowWindow | None] = []
    for tensor in ins:
        same = len(tensor.shape) == len(out.shape) and tensor.shape[axis] == out.shape[axis]
        same = same and (tensor.is_constant or row_axis(tensor) == axis)
        if tensor.is_constant:
            # Weights and tables serve every row; a constant with rows of its own does not.
            if not isinstance(op, FullyConnected | Table) and same:
                return None
            windows.append(None)
        else:
            windows.append(RowWindow() if same else None)
    return RowRule(row_count(out), tuple(windows)) if any(windows) else None


@dataclass(frozen=True)
class RowForm:
    """A node restricted to one output row: an ordinary node on smaller tensors.

    Args:
        op: with the padding that this row touches.
        ins, out: the same names; rows that are not needed are cut off.
    """

    op: Operator
    ins: tuple[Tensor, ...]
    out: Tensor


def row_form(graph: Graph, node: Node, rule: RowRule, y: int) -> RowForm:
    """The node for output row ``y``. Rows in the middle of an image share one form."""
    ins, op = [], node.op
    for tensor, window in zip(graph.ins(node), rule.windows, strict=True):
        if window is None:
            ins.append(tensor)
            continue
        rows = row_count(tensor)
        low, high = window.low(y), window.high(y, rows)
        ins.append(_cut(tensor, high - low))
        if isinstance(op, WINDOWED):
            top = low - (y * window.stride - window.pad)
            bottom = window.extent - top - (high - low)
            padding = (top, bottom, *op.window.padding[2:])
            op = replace(op, window=replace(op.window, padding=padding))
    out = _cut(graph.out(node), 1)
    return RowForm(replace(op, size=out.shape) if isinstance(op, Slice) else op, tuple(ins), out)


def row_scratch(graph: Graph, node: Node, rule: RowRule | None, isa: str) -> int:
    """Scratch bytes of the node's kernel on single rows; 0 for a node without a rule."""
    if rule is None:
        return 0
    forms = {}
    for y in range(rule.rows):
        form = row_form(graph, node, rule, y)
        forms[tuple(t.shape for t in form.ins), form.op] = form
    return max(f.op.c_scratch(f.ins, f.out, isa) for f in forms.values())


def _cut(tensor: Tensor, rows: int) -> Tensor:
    axis = row_axis(tensor)
    assert axis is not None
    shape = (*tensor.shape[:axis], rows, *tensor.shape[axis + 1 :])
    assert math.prod(shape) * tensor.dtype.bytes == rows * row_bytes(tensor)
    return replace(tensor, shape=shape)
