# SPDX-License-Identifier: Apache-2.0
"""Grids that the model's file states: honoured, not chosen anew."""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Rule
from tinyml.ir.tensor import DType, Quantisation
from tinyml.ops import Requantise
from tinyml.ops.stated_grid import StatedGrid
from tinyml.quantize.calibrate import Calibration
from tinyml.quantize.quantizer import check_finite, quantise


def settle_grids(graph: Graph) -> None:
    """Makes every stated grid the `quant` of its float tensor, in place.

    The operator that makes a tensor writes it on the stated grid. Where it cannot - its grid is
    fixed, it moves integers of another grid, or the tensor has another grid already - the tensor
    is requantised, as the file says.
    """
    while True:
        node = next((n for n in graph.nodes if isinstance(n.op, StatedGrid)), None)
        if node is None:
            break
        assert isinstance(node.op, StatedGrid)
        quant = node.op.quant
        root = _unmoved(graph, node.inputs[0])
        if _takes(graph, root, quant):
            graph.tensors[root] = replace(graph.tensors[root], quant=quant)
            _drop(graph, node)
        else:
            out = graph.out(node)
            graph.tensors[out.name] = replace(out, quant=quant)
            graph.replace_nodes([node], [replace(node, op=Requantise())])
    graph.sweep()


def _unmoved(graph: Graph, tensor: str) -> str:
    """The tensor whose grid a tensor has, whatever moved its integers."""
    node = graph.producer(tensor)
    while node is not None and node.op.rule is Rule.SAME_AS_INPUT:
        tensor = node.inputs[0]
        node = graph.producer(tensor)
    return tensor


def _takes(graph: Graph, tensor: str, quant: Quantisation) -> bool:
    held, node = graph.tensors[tensor], graph.producer(tensor)
    if held.quant is not None or node is None:
        return held.quant == quant and not held.is_constant
    if node.op.rule is Rule.FIXED:
        return node.op.fixed_quantisation(DType.INT8) == quant
    return not isinstance(node.op, StatedGrid)


def _drop(graph: Graph, node: Node) -> None:
    """Removes a node, keeping the name of an output of the graph."""
    source, producer = node.inputs[0], graph.producer(node.inputs[0])
    if node.output not in graph.outputs:
        graph.rename_reads(node.output, source)
        graph.replace_nodes([node], [])
        return
    if producer is None or source in graph.outputs:
        out = graph.out(node)
        graph.tensors[out.name] = replace(out, quant=graph.tensors[source].quant)
        graph.replace_nodes([node], [replace(node, op=Requantise())])
        return
    quant = graph.tensors[source].quant
    graph.tensors[node.output] = replace(graph.out(node), quant=quant)
    place = next(i for i, n in enumerate(graph.nodes) if n is producer)
    graph.replace_nodes([node], [])
    graph.nodes[place] = replace(producer, output=node.output)
    graph.rename_reads(source, node.output)


def unstated(graph: Graph) -> list[str]:
    """The layers and inputs of a settled graph whose grids the file leaves open."""
    inputs = [graph.tensors[i] for i in graph.inputs]
    found = [t.name for t in inputs if t.dtype is DType.FLOAT32 and t.quant is None]
    return found + [
        n.name for n in graph.nodes if n.op.rule is Rule.CALIBRATED and graph.out(n).quant is None
    ]


def quantise_stated(graph: Graph) -> Graph:
    """The integer graph of a settled float graph that states every grid.

    Raises:
        QuantisationError: a layer cannot be computed on its grids.
    """
    check_finite(graph)
    return quantise(graph, Calibration({}, {}, {}))
