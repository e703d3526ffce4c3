# SPDX-License-Identifier: Apache-2.0
"""Makes a normalisation's chain of operators one operator.

Requires: an integer graph.
Ensures: no chain of int16 MEAN, SUB, MUL, MEAN, ADD, RSQRT, MUL over the last axis is left whose
tensors nothing else reads; a MUL and an ADD of constants behind it, and a last QUANTIZE to int8,
belong to it. Without MEAN and SUB it is the normalisation by the root of the mean square. Exact by
construction: the fused operator is defined by the chain it replaces.
"""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType
from tinyml.ops import Activation, Add, Mean, Mul, Requantise, Rsqrt, Sub
from tinyml.ops.norm import PARTS, Norm
from tinyml.passes.fusion import Fusion

_Chain = dict[str, Node]


class FuseNorms(Fusion[_Chain]):
    """See the module."""

    what = "chain"

    def chain(self, graph: Graph, node: Node) -> _Chain | None:
        return _chain(graph, node)

    def fuse(self, graph: Graph, chain: _Chain) -> None:
        _fuse(graph, chain)


def _chain(graph: Graph, root: Node) -> _Chain | None:
    """The parts of the chain around an RSQRT, None where it is none."""
    if not isinstance(root.op, Rsqrt) or graph.out(root).dtype is not DType.INT16:
        return None
    chain: _Chain = {"rsqrt": root}
    before = graph.producer(root.inputs[0])
    if before is not None and isinstance(before.op, Add) and _constant(graph, before, 1):
        chain["floor"] = before
        before = graph.producer(_computed(graph, before))
    if before is None or not _mean_of_rows(graph, before):
        return None
    chain["variance"] = before
    square = graph.producer(before.inputs[0])
    if square is None or not isinstance(square.op, Mul) or len(set(square.inputs)) != 1:
        return None
    chain["square"] = square
    source = square.inputs[0]
    normal = _only_reader(graph, root.output)
    if (
        normal is None
        or not isinstance(normal.op, Mul)
        or set(normal.inputs)
        != {
            source,
            root.output,
        }
    ):
        return None
    chain["normal"] = normal
    _centring(graph, chain, source)
    _tail(graph, chain, normal)
    inner = [n.output for name, n in chain.items() if n is not _last(chain)]
    nodes = {id(n) for n in chain.values()}
    private = all(
        id(reader) in nodes for tensor in inner for reader in graph.consumers(tensor)
    ) and not set(inner) & set(graph.outputs)
    plain = all(
        (graph.out(n).dtype is DType.INT16 or n is chain.get("narrow"))
        and getattr(n.op, "activation", Activation.NONE) is Activation.NONE
        for n in chain.values()
    )
    return chain if private and plain else None


def _centring(graph: Graph, chain: _Chain, source: str) -> None:
    centred = graph.producer(source)
    if centred is None or not isinstance(centred.op, Sub):
        return
    mean = graph.producer(centred.inputs[1])
    if mean is not None and _mean_of_rows(graph, mean) and mean.inputs[0] == centred.inputs[0]:
        chain["centred"], chain["mean"] = centred, mean


def _tail(graph: Graph, chain: _Chain, last: Node) -> None:
    width = graph.out(last).shape[-1]
    for name, kind in PARTS[-3:]:
        reader = _only_reader(graph, last.output)
        if reader is None or not isinstance(reader.op, kind):
            continue
        narrow = isinstance(reader.op, Requantise)
        fits = graph.out(reader).dtype is DType.INT8 if narrow else _constant(graph, reader, width)
        if fits:
            chain[name] = last = reader


def _last(chain: _Chain) -> Node:
    return next(chain[name] for name, _ in reversed(PARTS) if name in chain)


def _only_reader(graph: Graph, tensor: str) -> Node | None:
    readers = graph.consumers(tensor)
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def _mean_of_rows(graph: Graph, node: Node) -> bool:
    rank = len(graph.ins(node)[0].shape)
    return isinstance(node.op, Mean) and node.op.axes == (rank - 1,)


def _constant(graph: Graph, node: Node, elements: int) -> bool:
    """Whether one input is a constant along the last axis and the other computed."""
    held = [t for t in graph.ins(node) if t.is_constant]
    return len(held) == 1 and held[0].elements == elements == held[0].shape[-1]


def _computed(graph: Graph, node: Node) -> str:
    return next(t.name for t in graph.ins(node) if not t.is_constant)


def _fuse(graph: Graph, chain: _Chain) -> None:
    parts = tuple((name, chain[name]) for name, _ in PARTS if name in chain)
    nodes = [n for _, n in parts]
    named = dict.fromkeys(t for n in nodes for t in (*n.inputs, n.output))
    tensors = tuple(graph.tensors[t] for t in named)
    source = chain["mean" if "mean" in chain else "square"].inputs[0]
    constants = tuple(t.name for t in tensors if t.is_constant)
    last = nodes[-1]
    fused = Node(Norm(parts, tensors), (source, *constants), last.output, chain["normal"].name)
    graph.replace_nodes(nodes, [fused])
