# SPDX-License-Identifier: Apache-2.0
"""Splits the first layers of an image network into patches of columns.

Requires: an int8 graph, its nodes in the order in which they are to run.
Ensures: the outputs' integers are unchanged. The first layers, as far as the arena gains most, are
made patch by patch; columns at the seams are computed twice. Where no split makes the arena
smaller, nothing is split.

Line buffers (tinyml/plan) already keep rows, not tensors; patches make those rows shorter.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType, Tensor
from tinyml.ops import Concatenation, Conv2D, DepthwiseConv2D, MaxPool2D, Slice, Window
from tinyml.ops.table import Table
from tinyml.passes.manager import Pass
from tinyml.plan import plan_memory

# Deeper stages pay more at the seams than they save.
_DEEPEST = 8


class SplitPatches(Pass):
    """See the module.

    Args:
        patches: how many, at least 2.
        isa: what kernels are chosen for; they differ in scratch memory.
    """

    def __init__(self, patches: int, isa: str = "portable") -> None:
        self.patches, self.isa = patches, isa

    def run(self, graph: Graph) -> None:
        best, least = graph.nodes, plan_memory(graph, self.isa).arena_bytes
        tensors = graph.tensors
        stage = _stage(graph)
        for depth in range(1, len(stage) + 1):
            if graph.out(stage[depth - 1]).shape[2] < self.patches:
                break
            tried = _split(graph, stage[:depth], self.patches)
            arena = plan_memory(tried, self.isa).arena_bytes
            if arena < least:
                best, least, tensors = tried.nodes, arena, tried.tensors
        graph.nodes, graph.tensors = best, tensors

    def ensures(self, graph: Graph) -> str | None:
        return None


def _stage(graph: Graph) -> list[Node]:
    """The chain of layers that may be split, from the input."""
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        return []
    name, chain = graph.inputs[0], list[Node]()
    while len(chain) < _DEEPEST:
        readers = graph.consumers(name)
        if len(readers) != 1 or readers[0].inputs[0] != name:
            break
        node = readers[0]
        if not isinstance(node.op, Conv2D | DepthwiseConv2D | MaxPool2D | Table):
            break
        if graph.out(node).dtype is not DType.INT8 or node.output in graph.outputs:
            break
        chain.append(node)
        name = node.output
    return chain


def _split(graph: Graph, stage: Sequence[Node], patches: int) -> Graph:
    """A graph that makes the stage's output in patches."""
    made = graph.copy()
    out = graph.out(stage[-1])
    edges = [round(i * out.shape[2] / patches) for i in range(patches + 1)]
    nodes, parts = list[Node](), list[str]()
    for first, last in itertools.pairwise(edges):
        ranges = _columns(graph, stage, first, last)
        source = graph.ins(stage[0])[0]
        low, high = ranges[0]
        name = made.add(replace(source, name=f"{source.name}_patch", shape=_cut(source, low, high)))
        size = _cut(source, low, high)
        nodes.append(Node(Slice((0, 0, low, 0), size), (source.name,), name, name))
        for node, inside, outside in zip(stage, ranges[:-1], ranges[1:], strict=True):
            result = graph.out(node)
            patch = replace(result, name=f"{result.name}_patch", shape=_cut(result, *outside))
            output = made.add(patch)
            op = node.op
            if not isinstance(op, Table):
                assert isinstance(op, Conv2D | DepthwiseConv2D | MaxPool2D)
                op = replace(op, window=_window(op.window, graph.ins(node)[0], inside, outside))
            nodes.append(Node(op, (name, *node.inputs[1:]), output, node.name))
            name = output
        parts.append(name)
    nodes.append(Node(Concatenation(2), tuple(parts), out.name, stage[-1].name))
    made.replace_nodes(stage, nodes)
    return made


def _columns(graph: Graph, stage: Sequence[Node], first: int, last: int) -> list[tuple[int, int]]:
    """The columns of each tensor of the stage, its input first, that a patch needs."""
    ranges = [(first, last)]
    for node in reversed(stage):
        width = graph.ins(node)[0].shape[2]
        low, high = ranges[0]
        if isinstance(node.op, Conv2D | DepthwiseConv2D | MaxPool2D):
            window = node.op.window
            left, stride = window.padding[2], window.stride[1]
            low = max(0, low * stride - left)
            high = min(width, (ranges[0][1] - 1) * stride - left + window.extent[1])
        ranges.insert(0, (low, high))
    return ranges


def _window(
    window: Window, source: Tensor, inside: tuple[int, int], outside: tuple[int, int]
) -> Window:
    """The window with what of its padding a patch touches."""
    top, bottom, left, _ = window.padding
    start = outside[0] * window.stride[1] - left
    end = (outside[1] - 1) * window.stride[1] - left + window.extent[1]
    padding = (top, bottom, inside[0] - start, end - inside[1])
    return replace(window, padding=padding)


def _cut(tensor: Tensor, low: int, high: int) -> tuple[int, ...]:
    return (*tensor.shape[:2], high - low, tensor.shape[3])
