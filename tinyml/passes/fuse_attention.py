# SPDX-License-Identifier: Apache-2.0
"""Makes masked attention one operator that stores no scores.

Requires: an integer graph.
Ensures: no chain BATCH_MATMUL, masked softmax, BATCH_MATMUL is left whose keys are its values,
whose scores and weights nothing else reads, and which has few enough keys for 32-bit sums. Exact
by construction: the fused operator is defined by the chain it replaces.
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType
from tinyml.ops import Attention, BatchMatMul, MaskedSoftmax, Requantise
from tinyml.ops.attention import MOST_KEYS
from tinyml.passes.fusion import Fusion

_Chain = tuple[Node, Node, Node, Node]


class FuseAttention(Fusion[_Chain]):
    """See the module."""

    what = "attention"

    def chain(self, graph: Graph, node: Node) -> _Chain | None:
        return _chain(graph, node)

    def fuse(self, graph: Graph, chain: _Chain) -> None:
        _fuse(graph, chain)


def _chain(graph: Graph, softmax: Node) -> _Chain | None:
    if not isinstance(softmax.op, MaskedSoftmax):
        return None
    scores = graph.producer(softmax.inputs[0])
    readers = graph.consumers(softmax.output)
    if (
        scores is None
        or scores.op != BatchMatMul(transpose_b=True)
        or graph.consumers(scores.output) != [softmax]
        or len(readers) != 1
        or readers[0].op != BatchMatMul()
        or readers[0].inputs[0] != softmax.output
        or {scores.output, softmax.output} & set(graph.outputs)
    ):
        return None
    context = readers[0]
    wide = graph.producer(context.inputs[1])
    keys = graph.tensors[scores.inputs[1]]
    if wide is None or not isinstance(wide.op, Requantise) or wide.inputs[0] != keys.name:
        return None
    # The int16 keys must be the int8 ones less their zero point.
    exact = graph.out(wide).q.s == keys.q.s and graph.out(wide).q.z == 0
    small = len(keys.shape) == 3 and keys.shape[1] <= MOST_KEYS
    types = graph.out(scores).dtype is DType.INT8 and graph.out(context).dtype is DType.INT16
    return (scores, softmax, wide, context) if exact and small and types else None


def _fuse(graph: Graph, chain: _Chain) -> None:
    scores, softmax, wide, context = chain
    named = dict.fromkeys(t for n in chain for t in (*n.inputs, n.output))
    tensors = tuple(graph.tensors[t] for t in named)
    inputs = (*scores.inputs, softmax.inputs[1])
    fused = Node(Attention(chain, tensors), inputs, context.output, context.name)
    kept = [scores, softmax, context]
    if graph.consumers(wide.output) == [context]:
        kept.append(wide)
    graph.replace_nodes(kept, [fused])
