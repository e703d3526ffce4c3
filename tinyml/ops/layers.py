# SPDX-License-Identifier: Apache-2.0
"""The layers of a graph whose kernels are chosen."""

from __future__ import annotations

from collections.abc import Iterator

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType
from tinyml.kernels import Layer
from tinyml.ops.sequence_conv import SequenceConv
from tinyml.ops.weighted import Weighted


def weighted_layers(graph: Graph) -> Iterator[tuple[Node, Layer]]:
    """The int8 convolutions and fully connected layers of an int8 graph as kernels see them."""
    for node in graph.nodes:
        ins = graph.ins(node)
        if isinstance(node.op, Weighted | SequenceConv) and ins[0].dtype is DType.INT8:
            yield node, node.op.c_layer(ins, graph.out(node))
