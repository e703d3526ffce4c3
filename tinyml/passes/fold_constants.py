# SPDX-License-Identifier: Apache-2.0
"""Computes at compile time what depends on no input.

Requires: an int8 graph.
Ensures: no node has only constant inputs, unless it writes an output of the graph.
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.passes.manager import Pass


class FoldConstants(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if self._folds(graph, node):
                ins, out = graph.ins(node), graph.out(node)
                value = node.op.run_int([t.values for t in ins], ins, out)
                graph.tensors[out.name] = out.with_data(value, out.quant)
                graph.replace_nodes([node], [])

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if self._folds(graph, n)), None)
        return f"'{left.name}' is left" if left else None

    @staticmethod
    def _folds(graph: Graph, node: Node) -> bool:
        return node.output not in graph.kept and all(t.is_constant for t in graph.ins(node))
