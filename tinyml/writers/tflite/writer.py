# SPDX-License-Identifier: Apache-2.0
"""Writes an int8 Graph as one TFLite flatbuffer."""

from __future__ import annotations

import numpy as np

from tinyml.errors import TinymlError
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
    handles = _read_variables(graph, builder)
    for node in graph.nodes:
        node.op.to_tflite(builder, graph.ins(node), graph.out(node))
    for name, value in graph.updates.items():
        inputs = [handles[name], builder.tensor(graph.tensors[value])]
        builder.operator("ASSIGN_VARIABLE", inputs, [], "AssignVariableOptions")
    outputs = [*graph.outputs, *(n for n in expose if n not in graph.outputs)]
    return builder.finish(graph.inputs, outputs)


def _read_variables(graph: Graph, builder: TfliteBuilder) -> dict[str, int]:
    """Handles of the variables that updates assign, each read once before anything else.

    Raises:
        TinymlError: one starts with another value than real zero, as TFLite-Micro starts it.
    """
    handles = {}
    for name in graph.updates:
        tensor = graph.tensors[name]
        if np.any(graph.variables[name] != (tensor.quant.z if tensor.quant else 0)):
            raise TinymlError(
                f"the variable '{name}' does not start at real zero",
                "Use the model's own .tflite file.",
            )
        handles[name] = builder.resource(f"{name}/state")
        options = "ReadVariableOptions"
        builder.operator("READ_VARIABLE", [handles[name]], [builder.tensor(tensor)], options)
    return handles
