# SPDX-License-Identifier: Apache-2.0
"""Fuses ReLU and ReLU6 into the operator before them.

Requires: a float graph.
Ensures: no ReLU or ReLU6 reads an operator that could clamp by itself and has no other reader.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Activation, Conv2D, DepthwiseConv2D, FullyConnected, Relu, Relu6
from tinyml.ops.activation import with_activation
from tinyml.ops.binary import Arithmetic
from tinyml.passes.manager import Pass

CLAMPING = (Conv2D, DepthwiseConv2D, FullyConnected, Arithmetic)


class FuseActivations(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            producer = self._producer(graph, node)
            if producer is not None:
                activation = Activation.RELU if isinstance(node.op, Relu) else Activation.RELU6
                op = with_activation(producer.op, activation)
                graph.replace_nodes(
                    [producer, node], [replace(producer, op=op, output=node.output)]
                )

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if self._producer(graph, n)), None)
        return f"'{left.name}' is left" if left else None

    @staticmethod
    def _producer(graph: Graph, node: Node) -> Node | None:
        if not isinstance(node.op, Relu | Relu6):
            return None
        producer = graph.producer(node.inputs[0])
        if (
            producer is None
            or not isinstance(producer.op, CLAMPING)
            or producer.op.activation is not Activation.NONE
            or producer.output in graph.kept
            or len(graph.consumers(producer.output)) != 1
        ):
            return None
        return producer
