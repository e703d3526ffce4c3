# SPDX-License-Identifier: Apache-2.0
"""Writes an int8 Graph as one TFLite flatbuffer."""

from __future__ import annotations

from tinyml.ir.graph import Graph
from tinyml.writers.tflite.builder import TfliteBuilder


def write_tflite(graph: Graph, *, expose: tuple[str, ...] = ()) -> bytes:
    """A .tflite file with int8 inputs and outputs and every buffer inline.

    Args:
        graph: an int8 graph.
        expose: tensors to list as further outputs, for comparing layers.

    Returns:
        The flatbuffer. Only operators TFLite-Micro registers for int8 are used.
    """
    builder = TfliteBuilder(graph.name)
    for name in graph.inputs:
        builder.tensor(graph.tensors[name])
    for node in graph.nodes:
        node.op.to_tflite(builder, graph.ins(node), graph.out(node))
    outputs = [*graph.outputs, *(n for n in expose if n not in graph.outputs)]
    return builder.finish(graph.inputs, outputs)
