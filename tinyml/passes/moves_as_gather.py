# SPDX-License-Identifier: Apache-2.0
"""Says a chain of moves that only permutes one axis as what it is: channel shuffle is a pick.

Requires: a float graph.
Ensures: no chain of reshapes and transposes whose result has the elements of its source in another
order along one axis only is longer than that one pick.
"""

from __future__ import annotations

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops import Gather, Reshape, Transpose
from tinyml.passes.manager import Pass

Move = Reshape | Transpose


class MovesAsGather(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            found = _permuted(graph, node) if node in graph.nodes else None
            if found is None:
                continue
            chain, axis, order = found
            if np.array_equal(order, np.arange(order.size)):
                same = Node(Reshape(graph.out(node).shape), chain[0].inputs, node.output, node.name)
                graph.replace_nodes(chain, [same])
                continue
            ids = Tensor(f"{node.output}_order", order.shape, DType.INT32, None, order)
            inputs = (chain[0].inputs[0], graph.add(ids))
            graph.replace_nodes(chain, [Node(Gather(axis), inputs, node.output, node.name)])

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if _permuted(graph, n)), None)
        return f"the moves up to '{left.name}' are left" if left else None


def _permuted(graph: Graph, last: Node) -> tuple[list[Node], int, Array] | None:
    """The chain that ends with a node, the axis it permutes, and the source of each position."""
    if not isinstance(last.op, Move) or any(
        isinstance(n.op, Move) for n in graph.consumers(last.output)
    ):
        return None
    chain = [last]
    while (before := graph.producer(chain[0].inputs[0])) is not None:
        alone = len(graph.consumers(before.output)) == 1 and before.output not in graph.kept
        if not isinstance(before.op, Move) or not alone:
            break
        chain.insert(0, before)
    source = graph.ins(chain[0])[0]
    turns = sum(isinstance(n.op, Transpose) for n in chain)
    if (
        source.data is not None
        or source.shape != graph.out(last).shape
        or len(chain) < 3
        or not turns
    ):
        return None
    moved = np.arange(source.elements, dtype=np.int64).reshape(source.shape)
    straight = moved
    for node in chain:
        moved = node.op.run_float([moved])
    for axis in range(len(source.shape)):
        # What a permutation of the axis would have at the first position of the others.
        step = int(np.prod(source.shape[axis + 1 :]))
        first = tuple(slice(None) if a == axis else 0 for a in range(len(source.shape)))
        order = (moved[first] // max(step, 1)).astype(np.int32)
        inside = order.max(initial=0) < source.shape[axis]
        if inside and np.array_equal(np.take(straight, order, axis), moved):
            return chain, axis, order
    return None
