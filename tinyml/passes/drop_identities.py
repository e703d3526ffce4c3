# SPDX-License-Identifier: Apache-2.0
"""Removes what changes no integer: requantisation, tables, reshapes, transposes, padding.

Requires: an int8 graph after `CollapseTables`.
Ensures: no table maps every value that can occur to itself; no reshape or transpose undoes or
repeats the one before it, keeps its input's shape, or moves only sizes of 1; no padding of nothing;
no concatenation of one tensor.
"""

from __future__ import annotations

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Concatenation, Pad, Reshape, Transpose
from tinyml.ops.table import Table
from tinyml.ops.unary import ALL_INT8
from tinyml.passes.cancel_transposes import merge_reshape, merge_transpose, transpose_as_reshape
from tinyml.passes.intervals import Interval, intervals
from tinyml.passes.manager import Pass


class DropIdentities(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        changed = True
        while changed:
            graph.sweep()
            bounds = intervals(graph) if any(isinstance(n.op, Table) for n in graph.nodes) else {}
            changed = any(self._rewrite(graph, node, bounds) for node in list(graph.nodes))

    def ensures(self, graph: Graph) -> str | None:
        bounds = intervals(graph) if any(isinstance(n.op, Table) for n in graph.nodes) else {}
        left = next((n for n in graph.nodes if _is_identity(graph, n, bounds)), None)
        return f"'{left.name}' is left" if left else None

    @staticmethod
    def _rewrite(graph: Graph, node: Node, bounds: dict[str, Interval]) -> bool:
        if node not in graph.nodes:
            return False
        if _is_identity(graph, node, bounds):
            graph.rename_reads(node.output, node.inputs[0])
            graph.replace_nodes([node], [])
            return True
        if node.output in graph.kept:
            return False
        if isinstance(node.op, Transpose):
            return merge_transpose(graph, node) or transpose_as_reshape(graph, node)
        return isinstance(node.op, Reshape) and merge_reshape(graph, node)


def _is_identity(graph: Graph, node: Node, bounds: dict[str, Interval]) -> bool:
    source, out = graph.ins(node)[0], graph.out(node)
    if source.is_constant or source.shape != out.shape or source.dtype is not out.dtype:
        return False
    # An output keeps its own name and place; a reader of the source may count on its scale.
    if node.output in graph.kept:
        return False
    if isinstance(node.op, Table):
        possible = bounds[source.name]
        values = graph.ins(node)[1].values
        low, high = int(possible.low.min()) + 128, int(possible.high.max()) + 129
        same_grid = source.quant == out.quant
        return same_grid and np.array_equal(values[low:high], ALL_INT8[low:high])
    if isinstance(node.op, Transpose):
        return node.op.permutation == tuple(range(len(out.shape)))
    return isinstance(node.op, Reshape | Pad) or (
        isinstance(node.op, Concatenation) and len(node.inputs) == 1
    )
