# SPDX-License-Identifier: Apache-2.0
"""When each activation is live, and which activations are one buffer."""

from __future__ import annotations

from dataclasses import dataclass

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Add, Mul, Reshape, Softmax, Sub, Table

# Kernels that may write over a dense input (see firmware/include/tinyml/kernels.h).
IN_PLACE = (Add, Sub, Mul, Softmax, Table)


@dataclass(frozen=True)
class Buffer:
    """Bytes that one or more tensors share.

    Args:
        tensors: the activations living in it, oldest first.
        size: bytes.
        first, last: indices of the first and last node during which it is live, inclusive;
            first is -1 for graph inputs, last is the node count for graph outputs.
    """

    tensors: tuple[str, ...]
    size: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are live at some node."""
        return self.first <= other.last and other.first <= self.last


def scratch_name(node: int) -> str:
    """The name of a node's scratch memory among the tensors of a plan."""
    return f"scratch of node {node}"


def live_buffers(graph: Graph, isa: str) -> list[Buffer]:
    """The buffers of a graph's activations, in order of first use.

    Requires: nodes in execution order.
    Ensures: a reshape shares its input's buffer; an elementwise operator runs in place when its
    input dies there and the input is no graph input (the caller may want to keep what it set);
    a kernel's scratch memory is a buffer live at its node only.
    """
    end = len(graph.nodes)
    first = dict.fromkeys(graph.inputs, -1)
    last = dict.fromkeys(graph.inputs, -1)
    for index, node in enumerate(graph.nodes):
        first[node.output] = last[node.output] = index
        for name in node.inputs:
            if not graph.tensors[name].is_constant:
                last[name] = index
    last.update(dict.fromkeys(graph.outputs, end))

    owner: dict[str, str] = {name: name for name in first}
    dies: dict[str, int] = dict(last)
    for index, node in enumerate(graph.nodes):
        source = _shared_input(graph, node, index, owner, dies)
        if source is not None:
            root = owner[source]
            owner[node.output] = root
            dies[root] = max(dies[root], last[node.output])

    members: dict[str, list[str]] = {}
    for name in first:
        members.setdefault(owner[name], []).append(name)
    activations = [
        Buffer(
            tuple(names),
            max(graph.tensors[n].bytes for n in names),
            min(first[n] for n in names),
            max(last[n] for n in names),
        )
        for names in members.values()
    ]
    scratch = [
        Buffer((scratch_name(index),), bytes_needed, index, index)
        for index, node in enumerate(graph.nodes)
        if (bytes_needed := node.op.c_scratch(graph.ins(node), graph.out(node), isa))
    ]
    return activations + scratch


def _shared_input(
    graph: Graph, node: Node, index: int, owner: dict[str, str], dies: dict[str, int]
) -> str | None:
    """The input whose buffer the node's output takes over, if any."""
    if isinstance(node.op, Reshape):
        return node.inputs[0]
    if not isinstance(node.op, IN_PLACE) or len(set(node.inputs)) != len(node.inputs):
        return None
    out = graph.out(node)
    for name in node.inputs:
        tensor = graph.tensors[name]
        root = owner.get(name)
        if (
            root is not None
            and root not in graph.inputs
            and tensor.shape == out.shape
            and dies[root] == index
        ):
            return name
    return None
