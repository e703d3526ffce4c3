# SPDX-License-Identifier: Apache-2.0
"""Takes away the reshapes around a depthwise convolution that runs along a sequence.

Requires: an integer graph.
Ensures: no depthwise convolution stands between a reshape of (1, length, channels) to
(1, length, 1, channels) and its inverse, where nothing else reads the images.
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ops import DepthwiseConv2D, Reshape, SequenceConv
from tinyml.passes.manager import Pass


class DropImageAxes(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            found = _around(graph, node)
            if found is None:
                continue
            before, after = found
            assert isinstance(node.op, DepthwiseConv2D)
            op = SequenceConv(node.op.window, node.op.activation)
            inputs = (before.inputs[0], *node.inputs[1:])
            graph.replace_nodes([node, after], [Node(op, inputs, after.output, node.name)])

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if _around(graph, n)), None)
        return f"the reshapes around '{left.name}' are left" if left else None


def _around(graph: Graph, node: Node) -> tuple[Node, Node] | None:
    """The reshapes before and after a convolution along a sequence."""
    if not isinstance(node.op, DepthwiseConv2D) or node.output in graph.outputs:
        return None
    before, readers = graph.producer(node.inputs[0]), graph.consumers(node.output)
    if before is None or not isinstance(before.op, Reshape) or len(readers) != 1:
        return None
    after = readers[0]
    x, image = graph.ins(before)[0].shape, graph.out(before).shape
    y, made = graph.out(after).shape, graph.out(node).shape
    fits = len(x) == len(y) == 3 and image == (*x[:2], 1, x[2]) and made == (*y[:2], 1, y[2])
    return (before, after) if fits and isinstance(after.op, Reshape) else None
