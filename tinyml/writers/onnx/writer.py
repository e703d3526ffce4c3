# SPDX-License-Identifier: Apache-2.0
"""Writes an int8 Graph as one ONNX QDQ model."""

from __future__ import annotations

from tinyml.ir.graph import Graph
from tinyml.writers.onnx.builder import OnnxBuilder


def write_onnx(graph: Graph, *, expose: tuple[str, ...] = ()) -> bytes:
    """A serialised ONNX model with int8 inputs and outputs, images as NCHW.

    Each operator computes in float between DequantizeLinear and QuantizeLinear, which engines
    replace by their int8 kernels. QDQ does not define integers: the result agrees with the int8
    graph within a bound that verification states.

    Args:
        graph: an int8 graph.
        expose: tensors to list as further outputs, for comparing layers.

    Returns:
        A checked model of opset 21.
    """
    builder = OnnxBuilder(graph.name, graph.tensors)
    for name in graph.inputs:
        builder.input(graph.tensors[name])
    for node in graph.nodes:
        node.op.to_onnx(builder, graph.ins(node), graph.out(node))
    for name in [*graph.outputs, *(n for n in expose if n not in graph.outputs)]:
        builder.output(graph.tensors[name])
    return builder.finish()
