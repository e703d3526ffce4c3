# SPDX-License-Identifier: Apache-2.0
"""Lets each image of a batch go its way from one layer to the next.

Requires: an int8 graph.
Ensures: nothing slices out of a concatenation what one of its inputs is.

1. A slice of a concatenation that is one of its inputs is that input.
2. An elementwise operator whose output is only sliced into images is one such operator for each,
   so that rule 1 applies before it.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Concatenation, Slice, Table, Unary
from tinyml.ops.binary import Binary
from tinyml.passes.manager import Pass


class PartImages(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        changed = True
        while changed:
            graph.sweep()
            changed = any(
                _take_input(graph, node) or _part(graph, node) for node in list(graph.nodes)
            )

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if _input_of(graph, n)), None)
        return f"'{left.name}' is left" if left else None


def _input_of(graph: Graph, node: Node) -> str | None:
    """The input of a concatenation that a slice of it is."""
    joined = graph.producer(node.inputs[0]) if isinstance(node.op, Slice) else None
    if joined is None or not isinstance(joined.op, Concatenation) or node.output in graph.kept:
        return None
    axis, start = joined.op.axis, 0
    assert isinstance(node.op, Slice)
    for part in graph.ins(joined):
        begin = tuple(start if a == axis else 0 for a in range(len(part.shape)))
        if (node.op.begin, node.op.size) == (begin, part.shape) and set(node.op.strides) == {1}:
            return part.name
        start += part.shape[axis]
    return None


def _take_input(graph: Graph, node: Node) -> bool:
    source = _input_of(graph, node) if node in graph.nodes else None
    if source is None:
        return False
    graph.rename_reads(node.output, source)
    graph.replace_nodes([node], [])
    return True


def _part(graph: Graph, node: Node) -> bool:
    out = graph.out(node)
    readers = graph.consumers(node.output)
    if not isinstance(node.op, Unary | Binary | Table) or node.output in graph.kept or not readers:
        return False
    if node not in graph.nodes or not all(_is_image(r, out.shape) for r in readers):
        return False
    for reader in readers:
        assert isinstance(reader.op, Slice)
        made, inputs = [], []
        for tensor in graph.ins(node):
            # What is spread over the batch serves every image as it is, and so does a table.
            if tensor.shape[0] == 1 or (isinstance(node.op, Table) and tensor.is_constant):
                inputs.append(tensor.name)
                continue
            if tensor.is_constant:
                return False
            size = (1, *tensor.shape[1:])
            begin = (reader.op.begin[0], *(0 for _ in size[1:]))
            part = graph.add(replace(tensor, name=f"{tensor.name}_part", shape=size))
            made.append(Node(Slice(begin, size), (tensor.name,), part, node.name))
            inputs.append(part)
        graph.replace_nodes(
            [reader], [*made, Node(node.op, tuple(inputs), reader.output, node.name)]
        )
    return True


def _is_image(node: Node, batch: tuple[int, ...]) -> bool:
    """Whether a node slices one whole image out of a batch."""
    return (
        isinstance(node.op, Slice)
        and batch[0] > 1
        and node.op.size == (1, *batch[1:])
        and not any(node.op.begin[1:])
    )
