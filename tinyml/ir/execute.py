# SPDX-License-Identifier: Apache-2.0
"""Runs a graph through the operators' references."""

from __future__ import annotations

from collections.abc import Mapping

from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType


def run(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Runs one sample.

    Args:
        graph: float nodes run their float reference, int8 nodes their integer reference.
        feeds: an array of the declared shape and dtype for each graph input.

    Returns:
        Every activation by tensor name, inputs included.
    """
    values: dict[str, Array] = dict(feeds)
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        arrays = [t.data if t.data is not None else values[t.name] for t in ins]
        if out.dtype is DType.FLOAT32:
            values[out.name] = node.op.run_float(arrays)
        else:
            values[out.name] = node.op.run_int(arrays, ins, out)
    return values


def outputs(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    """The graph's outputs for one sample, in order."""
    values = run(graph, feeds)
    return [values[name] for name in graph.outputs]
