# SPDX-License-Identifier: Apache-2.0
"""Makes a gate by a softmax one operator that stores no shares.

Requires: an integer graph.
Ensures: no product of int16 values and their int16 softmax shares is left whose two inputs are
int8 integers less their zero point, and whose shares nothing else reads. Exact by construction:
the fused operator is defined by the chain it replaces.
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType
from tinyml.ops import Gate, Mul, Requantise, Softmax
from tinyml.passes.fusion import Fusion

_Chain = tuple[Node, Node, Node, Node]


class FuseGates(Fusion[_Chain]):
    """See the module."""

    what = "gate"

    def chain(self, graph: Graph, node: Node) -> _Chain | None:
        return _chain(graph, node)

    def fuse(self, graph: Graph, chain: _Chain) -> None:
        _fuse(graph, chain)


def _chain(graph: Graph, softmax: Node) -> _Chain | None:
    if not isinstance(softmax.op, Softmax) or graph.out(softmax).dtype is not DType.INT16:
        return None
    readers = graph.consumers(softmax.output)
    if len(readers) != 1 or readers[0].op != Mul() or softmax.output in graph.outputs:
        return None
    product = readers[0]
    others = [i for i in product.inputs if i != softmax.output]
    if len(others) != 1:
        return None
    values, scores = _widened(graph, others[0]), _widened(graph, softmax.inputs[0])
    if values is None or scores is None or graph.out(product).dtype is not DType.INT16:
        return None
    sizes = {graph.out(n).shape for n in (values, scores, product)}
    return (values, scores, softmax, product) if len(sizes) == 1 else None


def _widened(graph: Graph, name: str) -> Node | None:
    """The node that makes int16 of int8 and rounds nothing."""
    node = graph.producer(name)
    if node is None or not isinstance(node.op, Requantise):
        return None
    source, out = graph.ins(node)[0], graph.out(node)
    exact = out.dtype is DType.INT16 and out.q.z == 0 and out.q.s == source.q.s
    return node if source.dtype is DType.INT8 and exact else None


def _fuse(graph: Graph, chain: _Chain) -> None:
    values, scores, softmax, product = chain
    named = dict.fromkeys(t for n in chain for t in (*n.inputs, n.output))
    tensors = tuple(graph.tensors[t] for t in named)
    inputs = (values.inputs[0], scores.inputs[0])
    fused = Node(Gate(chain, tensors), inputs, product.output, product.name)
    spare = [
        n
        for n, reader in ((values, product), (scores, softmax))
        if graph.consumers(n.output) == [reader] and n.output not in graph.outputs
    ]
    graph.replace_nodes([*spare, softmax, product], [fused])
