# SPDX-License-Identifier: Apache-2.0
"""Folds batch normalisation, and any other per-channel affine map by constants, into the
weights and bias of the layer before it.

Requires: a float graph, images NHWC.
Ensures: no Add, Sub or Mul of a per-channel constant reads a convolution or fully connected
layer that has no activation and no other reader.
"""

from __future__ import annotations

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array
from tinyml.ops import Activation, Add, Conv2D, DepthwiseConv2D, FullyConnected, Mul, Sub
from tinyml.ops.activation import with_activation
from tinyml.ops.binary import Arithmetic
from tinyml.passes.manager import Pass

WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected)


class FoldAffine(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        found = self._next(graph)
        while found is not None:
            layer, affine, constant = found
            self._fold(graph, layer, affine, constant)
            found = self._next(graph)

    def ensures(self, graph: Graph) -> str | None:
        found = self._next(graph)
        return f"'{found[1].name}' is left" if found else None

    @staticmethod
    def _next(graph: Graph) -> tuple[Node, Node, Array] | None:
        """A weighted layer, the affine node after it, and its constant as (channels,)."""
        for node in graph.nodes:
            if not isinstance(node.op, Add | Sub | Mul):
                continue
            sides = [(0, 1)] if isinstance(node.op, Sub) else [(0, 1), (1, 0)]
            for data, other in sides:
                constant = graph.tensors[node.inputs[other]]
                layer = graph.producer(node.inputs[data])
                if (
                    constant.data is None
                    or layer is None
                    or not isinstance(layer.op, WEIGHTED)
                    or layer.op.activation is not Activation.NONE
                    or len(graph.consumers(layer.output)) != 1
                    or layer.output in graph.kept
                ):
                    continue
                channels = graph.out(layer).shape[-1]
                if constant.shape[-1] in (1, channels) and constant.elements in (1, channels):
                    return layer, node, np.broadcast_to(constant.data.ravel(), (channels,))
        return None

    @staticmethod
    def _fold(graph: Graph, layer: Node, affine: Node, constant: Array) -> None:
        weights, bias = (graph.tensors[i] for i in layer.inputs[1:])
        kernel, offset, grid = weights.values, bias.values, weights.quant
        if isinstance(affine.op, Mul):
            last = isinstance(layer.op, DepthwiseConv2D)
            shape = (-1,) if last else (-1,) + (1,) * (kernel.ndim - 1)
            kernel, offset, grid = kernel * constant.reshape(shape), offset * constant, None
        else:
            offset = offset - constant if isinstance(affine.op, Sub) else offset + constant
        inputs = (
            layer.inputs[0],
            graph.add(weights.with_data(np.asarray(kernel, np.float32), grid)),
            graph.add(bias.with_data(np.asarray(offset, np.float32))),
        )
        assert isinstance(affine.op, Arithmetic)
        op = with_activation(layer.op, affine.op.activation)
        merged = Node(op, inputs, affine.output, layer.name)
        graph.replace_nodes([layer, affine], [merged])
