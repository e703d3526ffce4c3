# SPDX-License-Identifier: Apache-2.0
"""Rows that no output depends on: those of the padding behind a text.

Generated C does not compute them: it runs the true length of each text, which it sees from the
ids.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Attention, MaskedSoftmax, Slice
from tinyml.plan.rows import row_axis, row_count, row_rule


@dataclass(frozen=True)
class Length:
    """Where the number of rows that matter is seen.

    Args:
        ids: a tensor (1, rows) of int32; trailing ones equal to ``padding`` do not matter.
        padding: the id of padding.
    """

    ids: str
    padding: int


def inert_rows(graph: Graph) -> dict[str, Length]:
    """The activations whose rows from the padding on no output depends on.

    Row 0 always matters, even of a text that is all padding.
    """
    found: dict[str, Length] = {}
    for length in dict.fromkeys(_length(n) for n in graph.nodes if isinstance(n.op, Attention)):
        rows = graph.tensors[length.ids].shape[1]
        # From the last readers to the first writers: a tensor after all that reads it.
        for name in [n.output for n in reversed(graph.nodes)]:
            if name in graph.outputs or _rows(graph, name) != rows:
                continue
            readers = graph.consumers(name)
            if readers and all(_ignores(graph, r, name, length, found) for r in readers):
                found[name] = length
    return found


def _length(node: Node) -> Length:
    assert isinstance(node.op, Attention)
    softmax = next(p.op for p in node.op.parts if isinstance(p.op, MaskedSoftmax))
    return Length(node.inputs[2], softmax.padding)


def _rows(graph: Graph, name: str) -> int | None:
    tensor = graph.tensors[name]
    return row_count(tensor) if row_axis(tensor) is not None else None


def _ignores(graph: Graph, node: Node, name: str, length: Length, found: dict[str, Length]) -> bool:
    """Whether a reader's part in the outputs does not depend on the padding's rows of a tensor."""
    positions = [i for i, n in enumerate(node.inputs) if n == name]
    if isinstance(node.op, Attention):
        masked = positions == [1] and node.inputs[2] == length.ids
        return masked or (positions == [0] and found.get(node.output) == length)
    if isinstance(node.op, Slice):
        axis = row_axis(graph.tensors[name])
        assert axis is not None
        return node.op.begin[axis] == 0 and node.op.size[axis] == 1
    rule = row_rule(graph, node)
    if rule is None or found.get(node.output) != length:
        return False
    windows = [rule.windows[i] for i in positions]
    # Row y of the output reads no row behind y.
    return all(w is not None and w.stride == 1 and w.extent <= w.pad + 1 for w in windows)
