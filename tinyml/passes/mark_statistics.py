# SPDX-License-Identifier: Apache-2.0
"""Says which activations of normalised attention networks need 16 bits, and which do not.

Requires: a float graph.
Ensures: the operators of every normalisation by the root of the mean square,
x * rsqrt(mean(x * x)), are marked `Node.wide`, and what reads the result reads it through a
Requantise, in its own type; so are masked attention weights, their product with the values, and
concatenations that a fully connected layer turns into such an x.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Tensor
from tinyml.ops import (
    Add,
    BatchMatMul,
    Concatenation,
    FullyConnected,
    MaskedSoftmax,
    Mean,
    Mul,
    Requantise,
    Rsqrt,
)
from tinyml.passes.manager import Pass


class MarkStatistics(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if isinstance(node.op, Rsqrt):
                chain = _chain(graph, node)
                if chain is not None:
                    _mark(graph, chain)
        for node in list(graph.nodes):
            if isinstance(node.op, MaskedSoftmax):
                readers = graph.consumers(node.output)
                _set(graph, [node, *(r for r in readers if isinstance(r.op, BatchMatMul))])

    def ensures(self, graph: Graph) -> str | None:
        for node in graph.nodes:
            if isinstance(node.op, MaskedSoftmax) and not node.wide:
                return f"'{node.name}' is not marked"
        return None


def _chain(graph: Graph, root: Node) -> list[Node] | None:
    """mean square, its floor if there is one, root, product; None where it is no such chain."""
    before = graph.producer(root.inputs[0])
    nodes = [root]
    if before is not None and isinstance(before.op, Add):
        nodes.append(before)
        sources = [i for i in before.inputs if not graph.tensors[i].is_constant]
        before = graph.producer(sources[0]) if len(sources) == 1 else None
    if before is None or not isinstance(before.op, Mean):
        return None
    square = graph.producer(before.inputs[0])
    if square is None or not isinstance(square.op, Mul) or len(set(square.inputs)) != 1:
        return None
    readers = graph.consumers(root.output)
    if len(readers) != 1 or set(readers[0].inputs) != {square.inputs[0], root.output}:
        return None
    return [square, before, *nodes, readers[0]]


def _mark(graph: Graph, chain: list[Node]) -> None:
    if chain[0].wide:
        return
    source, product = chain[0].inputs[0], chain[-1]
    _set(graph, chain)
    layer = graph.producer(source)
    if layer is not None and isinstance(layer.op, FullyConnected):
        joined = graph.producer(layer.inputs[0])
        if joined is not None and isinstance(joined.op, Concatenation):
            _set(graph, [joined])
    narrow = graph.add(Tensor(f"{product.output}_narrow", graph.tensors[product.output].shape))
    graph.rename_reads(product.output, narrow)
    last = next(n for n in graph.nodes if n.output == product.output)
    made = Node(Requantise(), (last.output,), narrow, last.name)
    graph.replace_nodes([last], [last, made])


def _set(graph: Graph, nodes: list[Node]) -> None:
    marked = {n.output for n in nodes}
    graph.nodes = [replace(n, wide=True) if n.output in marked else n for n in graph.nodes]
