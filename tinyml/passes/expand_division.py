# SPDX-License-Identifier: Apache-2.0
"""Says division by what is computed as multiplication.

Requires: a float graph, after `LiftScaling`, which knows divisions by a deviation.
Ensures: no Div is left. a / b is a * (1 / b), and a / sqrt(b) is a * Rsqrt(b).
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Tensor
from tinyml.ops import Div, Function, Mul, Rsqrt
from tinyml.passes.manager import Pass


class ExpandDivision(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if isinstance(node.op, Div):
                self._expand(graph, node)

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if isinstance(n.op, Div)), None)
        return f"'{left.name}' is left" if left else None

    @staticmethod
    def _expand(graph: Graph, node: Node) -> None:
        over, under = node.inputs
        root = graph.producer(under)
        rooted = root is not None and root.op == Function("sqrt")
        op = Rsqrt() if rooted else Function("reciprocal")
        source = root.inputs[0] if root is not None and rooted else under
        shape = graph.tensors[source].shape
        inverse = graph.add(Tensor(f"{node.output}_inverse", shape))
        graph.replace_nodes(
            [node],
            [
                Node(op, (source,), inverse, node.name),
                Node(Mul(), (over, inverse), node.output, node.name),
            ],
        )
