# SPDX-License-Identifier: Apache-2.0
"""Chooses every scale and makes the int8 Graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Rule, affine
from tinyml.ir.tensor import DType, Quantisation, Tensor
from tinyml.ops import Requantise
from tinyml.quantize.calibrate import Calibration


def check_finite(graph: Graph) -> None:
    """Raises QuantisationError naming the first layer with a NaN or infinite constant."""
    for node in graph.nodes:
        for tensor in graph.ins(node):
            if tensor.data is not None and not np.all(np.isfinite(tensor.data)):
                raise QuantisationError(
                    f"layer '{node.name}' has NaN or infinite values in its constant "
                    f"'{tensor.name}'",
                    "The training diverged or the file is damaged; load a good checkpoint.",
                )


def quantise(graph: Graph, calibration: Calibration) -> Graph:
    """The int8 graph of a float graph: int8 inputs, outputs and everything between.

    Activations are int8 per tensor, asymmetric; weights int8 per channel, symmetric; biases
    int32. Operators that only move integers keep their input's grid; operators with a known
    range get TFLite's fixed grid; inputs that must share a grid are requantised.
    """
    chosen = _choose(graph, calibration)
    made = Graph(graph.name, {}, [], list(graph.inputs), list(graph.outputs))
    made.source_layout = dict(graph.source_layout)
    for name in graph.inputs:
        tensor = graph.tensors[name]
        # Ids keep their integers.
        made.tensors[name] = _int8(tensor, chosen[name]) if name in chosen else tensor
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        quants = [None if t.is_constant else chosen.get(t.name) for t in ins]
        known = [t if t.is_constant else made.tensors[t.name] for t in ins]
        constants = node.op.quantise_constants(known, quants)
        inputs: list[str] = []
        for index, tensor in enumerate(ins):
            if index in constants:
                # A constant shared by two layers may need two scales.
                inputs.append(made.add(constants[index]))
            elif node.op.aligns_inputs and chosen[tensor.name] != chosen[out.name]:
                inputs.append(_requantised(made, tensor, chosen[out.name], node))
            else:
                inputs.append(tensor.name)
        made.tensors[out.name] = _int8(out, chosen[out.name])
        made.nodes.append(replace(node, inputs=tuple(inputs)))
    made.check()
    return made


def _int8(tensor: Tensor, quant: Quantisation) -> Tensor:
    return replace(tensor, dtype=DType.INT8, quant=quant)


def _requantised(made: Graph, tensor: Tensor, quant: Quantisation, node: Node) -> str:
    name = made.add(_int8(replace(tensor, name=f"{tensor.name}_requantised"), quant))
    made.nodes.append(Node(Requantise(), (tensor.name,), name, f"{node.name} input"))
    return name


def _choose(graph: Graph, calibration: Calibration) -> dict[str, Quantisation]:
    reals = [n for n in graph.inputs if graph.tensors[n].dtype is DType.FLOAT32]
    chosen = {name: affine(*calibration.ranges[name]) for name in reals}
    for node in graph.nodes:
        if node.op.rule is Rule.FIXED:
            chosen[node.output] = node.op.fixed_quantisation()
        elif node.op.rule is Rule.SAME_AS_INPUT:
            chosen[node.output] = _moved(graph, node, chosen)
        else:
            chosen[node.output] = affine(*calibration.ranges[node.output])
        if node.op.aligns_inputs:
            for name in node.inputs:
                producer = graph.producer(name)
                if (
                    producer is not None
                    and producer.op.rule is Rule.CALIBRATED
                    and not producer.op.aligns_inputs
                    and graph.consumers(name) == [node]
                ):
                    # Its producer can write the shared grid directly.
                    chosen[name] = chosen[node.output]
    return chosen


def _moved(graph: Graph, node: Node, chosen: Mapping[str, Quantisation]) -> Quantisation:
    """The grid of an operator that moves the integers of its first input."""
    source = graph.ins(node)[0]
    if source.data is None:
        return chosen[source.name]
    return node.op.quantise_constants(graph.ins(node), [None] * len(node.inputs))[0].q
