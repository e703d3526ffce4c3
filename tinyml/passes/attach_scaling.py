# SPDX-License-Identifier: Apache-2.0
"""Puts instance scaling back, in integers, around the graph that C is written from.

The float graph gave its scaling away (`lift_scaling`), because no runtime but ours can compute it
in integers. In C it is three operators more: the model reads the raw series and writes the
forecast in the unit of the series.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import DType, Quantisation, Tensor
from tinyml.ops.series import Restore, Standardise, Statistics


def attach_scaling(graph: Graph) -> Graph:
    """The integer graph with raw int32 inputs and outputs; as it is where it has no scaling.

    Inputs keep their names, and outputs their names and order: what was `past` in standard units
    becomes `past_standard`.
    """
    scaling = graph.scaling
    if scaling is None:
        return graph
    made = graph.copy()
    made.scaling = None
    raw = Quantisation.per_tensor(scaling.unit, 0)
    renames = {n: f"{n}_standard" for n in (scaling.past, *dict(scaling.futures))}
    renames |= {n: f"{n}_standard" for n in graph.outputs}
    made.tensors = {
        renames.get(n, n): replace(t, name=renames.get(n, n)) for n, t in graph.tensors.items()
    }
    made.nodes = [
        replace(n.rewired(renames), output=renames.get(n.output, n.output)) for n in graph.nodes
    ]
    before: list[Node] = []

    def apply(to: list[Node], op: Operator, inputs: tuple[str, ...], out: Tensor) -> None:
        made.tensors[out.name] = out
        to.append(Node(op, inputs, out.name, f"{op.kind} {out.name}"))

    for name in graph.inputs:
        if name in renames:
            made.tensors[name] = replace(graph.tensors[name], dtype=DType.INT32, quant=raw)
    channels = graph.tensors[scaling.past].shape[2]
    statistics = Tensor(f"{scaling.past}_statistics", (2, channels), DType.INT32)
    epsilon = round(scaling.epsilon / raw.s**2)
    apply(before, Statistics(min(epsilon, (1 << 52) - 1)), (scaling.past,), statistics)
    for name, first in ((scaling.past, 0), *scaling.futures):
        standard = made.tensors[renames[name]]
        apply(before, Standardise(first), (name, statistics.name), standard)
    after: list[Node] = []
    for name, first in zip(graph.outputs, scaling.outputs, strict=True):
        held = graph.tensors[name]
        out = Tensor(name, held.shape, DType.INT32, raw)
        apply(after, Restore(first), (renames[name], statistics.name), out)
    made.nodes = [*before, *made.nodes, *after]
    made.check()
    return made
