# SPDX-License-Identifier: Apache-2.0
"""Runs a graph through the operators' references."""

from __future__ import annotations

from collections.abc import Mapping

from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType

State = dict[str, Array]


def initial_state(graph: Graph) -> State:
    """What the graph's variables hold before the first run."""
    return {name: value.copy() for name, value in graph.variables.items()}


def run(graph: Graph, feeds: Mapping[str, Array], state: State | None = None) -> dict[str, Array]:
    """Runs one sample.

    Args:
        graph: float nodes run their float reference, int8 nodes their integer reference.
        feeds: an array of the declared shape and dtype for each graph input.
        state: the variables, which this run changes; by default those before the first run.

    Returns:
        Every activation by tensor name, inputs included.
    """
    state = initial_state(graph) if state is None else state
    values: dict[str, Array] = {**feeds, **state}
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        arrays = [t.data if t.data is not None else values[t.name] for t in ins]
        if out.dtype is DType.FLOAT32:
            values[out.name] = node.op.run_float(arrays)
        else:
            values[out.name] = node.op.run_int(arrays, ins, out)
    for name, value in graph.updates.items():
        state[name] = values[value].reshape(graph.tensors[name].shape).copy()
    return values


def outputs(graph: Graph, feeds: Mapping[str, Array], state: State | None = None) -> list[Array]:
    """The graph's outputs for one sample, in order; ``state`` as in `run`."""
    values = run(graph, feeds, state)
    return [values[name] for name in graph.outputs]
