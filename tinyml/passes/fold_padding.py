# SPDX-License-Identifier: Apache-2.0
"""Merges zero padding into the convolution that reads it.

Requires: nothing; works on float and int8 graphs. A pad adds the zero point, which contributes
nothing to a sum of (input - zero point) * weight, so the merge is exact.
Ensures: no pad of height and width feeds only convolutions.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Conv2D, DepthwiseConv2D, Pad
from tinyml.passes.manager import Pass


class FoldPadding(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if self._folds(graph, node):
                assert isinstance(node.op, Pad)
                for reader in graph.consumers(node.output):
                    graph.replace_nodes([reader], [_widened(reader, node.op, node.inputs[0])])

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if self._folds(graph, n)), None)
        return f"'{left.name}' is left" if left else None

    @staticmethod
    def _folds(graph: Graph, node: Node) -> bool:
        readers = graph.consumers(node.output)
        return (
            isinstance(node.op, Pad)
            and node.op.value is None
            and len(node.op.before) == 4
            and node.op.before[0] == node.op.after[0] == 0
            and node.op.before[3] == node.op.after[3] == 0
            and node.output not in graph.kept
            and bool(readers)
            and all(isinstance(r.op, Conv2D | DepthwiseConv2D) for r in readers)
            # The kernels count padding in 8 bits.
            and all(max(_padding(r, node.op)) < 256 for r in readers)
        )


def _padding(reader: Node, pad: Pad) -> tuple[int, int, int, int]:
    assert isinstance(reader.op, Conv2D | DepthwiseConv2D)
    top, bottom, left, right = reader.op.window.padding
    return (
        top + pad.before[1],
        bottom + pad.after[1],
        left + pad.before[2],
        right + pad.after[2],
    )


def _widened(reader: Node, pad: Pad, source: str) -> Node:
    assert isinstance(reader.op, Conv2D | DepthwiseConv2D)
    window = replace(reader.op.window, padding=_padding(reader, pad))
    return replace(
        reader, op=replace(reader.op, window=window), inputs=(source, *reader.inputs[1:])
    )
