# SPDX-License-Identifier: Apache-2.0
"""Lifts instance scaling off the graph: a forecaster that subtracts the mean of its context and
divides by its deviation, and undoes both at its output.

Requires: a float graph.
Ensures: `Graph.scaling` says what was lifted, and neither mean nor deviation of an input over
time is left. Nothing changes where the pattern is not whole.

The pattern, over a graph input x (1, time, channels):
    m = mean(x, time)   d = x - m   v = mean(d * d, time)   s = sqrt(v + epsilon)   z = d / s
 1. z becomes the input.
 2. A further input f read as (f - m') / s', with m' and s' the slice of some channels of m and s
    or all of them, becomes standard too.
 3. An output y * s' + m' becomes y.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyml.ir.graph import Graph, Node
from tinyml.ir.scaling import Scaling
from tinyml.ops import Add, Div, Function, Mean, Mul, Slice, Sub
from tinyml.passes.manager import Pass

_TIME, _CHANNELS = 1, 2


@dataclass(frozen=True)
class _Found:
    """Tensor names of the pattern's parts."""

    past: str
    mean: str
    deviation: str
    standard: str
    epsilon: float


class LiftScaling(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        found = next((f for n in graph.inputs if (f := _find(graph, n))), None)
        if found is None:
            return
        trial = graph.copy()
        futures = tuple(_futures(trial, found))
        outputs = _outputs(trial, found)
        trial.rename_reads(found.standard, found.past)
        # The nodes of the pattern still read the input: they go unless something else reads them.
        trial.nodes = [n for n in trial.nodes if n.output != found.standard]
        trial.sweep()
        if len(outputs) != len(trial.outputs) or _leftover(trial, found):
            return
        trial.scaling = Scaling(found.past, found.epsilon, futures, tuple(outputs))
        graph.tensors, graph.nodes = trial.tensors, trial.nodes
        graph.outputs, graph.scaling = trial.outputs, trial.scaling

    def ensures(self, graph: Graph) -> str | None:
        return None


def _find(graph: Graph, past: str) -> _Found | None:
    if len(graph.tensors[past].shape) != 3:
        return None
    for node in graph.nodes:
        if not isinstance(node.op, Div):
            continue
        centred, root = (graph.producer(i) for i in node.inputs)
        if centred is None or root is None or root.op != Function("sqrt"):
            continue
        mean = _mean_over_time(graph, centred.inputs[-1])
        total = graph.producer(root.inputs[0])
        if (
            not isinstance(centred.op, Sub)
            or centred.inputs[0] != past
            or mean != past
            or total is None
            or not isinstance(total.op, Add)
        ):
            continue
        epsilon = _constant(graph, total)
        variance = next((i for i in total.inputs if not graph.tensors[i].is_constant), "")
        square = graph.producer(_mean_over_time(graph, variance) or "")
        if (
            epsilon is not None
            and square is not None
            and isinstance(square.op, Mul)
            and set(square.inputs) == {centred.output}
        ):
            return _Found(past, centred.inputs[1], root.output, node.output, epsilon)
    return None


def _mean_over_time(graph: Graph, tensor: str) -> str | None:
    """What a tensor is the mean over time of."""
    node = graph.producer(tensor)
    if node is None or not isinstance(node.op, Mean) or node.op.axes != (_TIME,):
        return None
    return node.inputs[0]


def _constant(graph: Graph, node: Node) -> float | None:
    """The single value of a node's constant input."""
    held = [graph.tensors[i] for i in node.inputs if graph.tensors[i].is_constant]
    if len(held) != 1 or held[0].elements != 1:
        return None
    return float(held[0].values.ravel()[0])


def _first_channel(graph: Graph, tensor: str, whole: str) -> int | None:
    """The first channel of ``whole`` that a tensor is a slice of."""
    if tensor == whole:
        return 0
    node = graph.producer(tensor)
    if node is None or not isinstance(node.op, Slice) or node.inputs[0] != whole:
        return None
    if any(node.op.begin[:_CHANNELS]) or any(s != 1 for s in node.op.strides):
        return None
    return node.op.begin[_CHANNELS]


def _futures(graph: Graph, found: _Found) -> list[tuple[str, int]]:
    made = []
    for name in graph.inputs:
        if name == found.past:
            continue
        for node in graph.consumers(name):
            for division in graph.consumers(node.output):
                if not isinstance(node.op, Sub) or not isinstance(division.op, Div):
                    continue
                first = _first_channel(graph, node.inputs[1], found.mean)
                same = _first_channel(graph, division.inputs[1], found.deviation)
                if node.inputs[0] == name and first is not None and first == same:
                    graph.rename_reads(division.output, name)
                    graph.nodes = [n for n in graph.nodes if n.output != division.output]
                    made.append((name, first))
    return made


def _outputs(graph: Graph, found: _Found) -> list[int]:
    """The first channel of each restored output, after making it the standard one."""
    made: list[int] = []
    for index, name in enumerate(graph.outputs):
        restored = _restored(graph, name, found)
        if restored is not None:
            graph.outputs[index], first = restored
            made.append(first)
    return made


def _restored(graph: Graph, output: str, found: _Found) -> tuple[str, int] | None:
    """The y of y * s' + m', and the first channel of s' and m'."""
    total = graph.producer(output)
    if total is None or not isinstance(total.op, Add):
        return None
    for product_name, mean in (total.inputs, total.inputs[::-1]):
        product = graph.producer(product_name)
        first = _first_channel(graph, mean, found.mean)
        if product is None or first is None or not isinstance(product.op, Mul):
            continue
        for inner, deviation in (product.inputs, product.inputs[::-1]):
            if _first_channel(graph, deviation, found.deviation) == first:
                return inner, first
    return None


def _leftover(graph: Graph, found: _Found) -> bool:
    return bool({found.mean, found.deviation} & set(graph.tensors))
