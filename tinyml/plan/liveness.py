# SPDX-License-Identifier: Apache-2.0
"""When each activation is live, and which activations are one buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinyml.ir.graph import Graph
from tinyml.ops import Add, Mul, Reshape, Softmax, Sub, Table

# Kernels that may write over a dense input (see firmware/include/tinyml/kernels.h).
IN_PLACE = (Add, Sub, Mul, Softmax, Table)
# The widest vector load of any supported core.
ALIGNMENT = 16


def aligned(size: int) -> int:
    """The size rounded up to the alignment of buffers."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def scratch_name(node: int) -> str:
    """The name of a node's scratch memory among the tensors of a plan."""
    return f"scratch of node {node}"


def copy_name(node: int) -> str:
    """The name of the copy of a node's constants among the tensors of a plan."""
    return f"copied constants of node {node}"


@dataclass(frozen=True)
class Copies:
    """What may be copied from slow flash.

    Args:
        budget: bytes of RAM for copies that are there at once.
        sizes: bytes of the constants of each node that reads them more than once.
    """

    budget: int
    sizes: Mapping[int, int]


@dataclass(frozen=True)
class Buffer:
    """Bytes that one or more tensors share, or the few rows of one that is never whole.

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


@dataclass(frozen=True)
class Lifetimes:
    """Lifetimes of whole activations.

    Args:
        owner: the oldest activation of the buffer that each one lives in.
        size, first, last: by owner; see `Buffer`.
    """

    owner: Mapping[str, str]
    size: Mapping[str, int]
    first: Mapping[str, int]
    last: Mapping[str, int]


def lifetimes(graph: Graph) -> Lifetimes:
    """The lifetimes of a graph's activations, in order of first use.

    Requires: nodes in execution order.
    Ensures: a reshape shares its input's buffer.
    """
    owner = {name: name for name in graph.inputs}
    size = {name: graph.tensors[name].bytes for name in graph.inputs}
    first = dict.fromkeys(graph.inputs, -1)
    last = dict.fromkeys(graph.inputs, -1)
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            if not graph.tensors[name].is_constant:
                last[owner[name]] = index
        if isinstance(node.op, Reshape) and node.inputs[0] in owner:
            owner[node.output] = owner[node.inputs[0]]
            last[owner[node.output]] = index
        else:
            owner[node.output] = node.output
            size[node.output] = graph.out(node).bytes
            first[node.output] = last[node.output] = index
    for name in graph.outputs:
        last[owner[name]] = len(graph.nodes)
    return Lifetimes(owner, size, first, last)
