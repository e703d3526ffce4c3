# SPDX-License-Identifier: Apache-2.0
"""Which activations are int16: what the network's structure asks for, and what measurement adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Rule
from tinyml.ops import Add, FullyConnected, Mul, Softmax, Sub
from tinyml.quantize.sensitivity import LayerCost, decibels

# Predictions leave out what saturates and how errors correlate; aim a little higher.
_MARGIN_DB = 1.0


def structural(graph: Graph) -> frozenset[str]:
    """The activations that are int16 whatever is measured.

    Statistics of normalisations (`Node.wide`); the residual stream they are statistics of, which
    outgrows 8 bits as it sums; the fully connected layers that write or read the stream without a
    normalisation between; the gates that write it; and the ends of a forecaster, whose series are
    not bounded.
    """
    stream = _stream(graph)
    wide = _statistics(graph) | stream | _gates(graph, stream) | _ends(graph)
    return follow_moves(graph, frozenset(wide))


def _statistics(graph: Graph) -> set[str]:
    return {n.output for n in graph.nodes if n.wide}


def _stream(graph: Graph) -> set[str]:
    producers = {n.output: n for n in graph.nodes}
    statistics = _statistics(graph)
    read = {i for n in graph.nodes if n.wide for i in n.inputs} - statistics
    found: set[str] = set()
    waiting = [_unmoved(producers, name) for name in read]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.output in found:
            continue
        if isinstance(node.op, Add | Sub):
            found.add(node.output)
            waiting += [
                source
                for source in (_unmoved(producers, i) for i in node.inputs)
                if source in producers and isinstance(producers[source].op, Add | Sub)
            ]
        elif isinstance(node.op, FullyConnected):
            found.add(node.output)
    for node in graph.nodes:
        sources = {_unmoved(producers, i) for i in node.inputs}
        sums = {s for s in sources & found if isinstance(producers[s].op, Add | Sub)}
        if (isinstance(node.op, Add | Sub) and sources & found) or (
            isinstance(node.op, FullyConnected) and sums
        ):
            found.add(node.output)
    return found


def _gates(graph: Graph, stream: set[str]) -> set[str]:
    """The gates that write the stream, and their softmaxes: shares of many features are near the
    step 1/256 of int8."""
    producers = {n.output: n for n in graph.nodes}
    found: set[str] = set()
    for node in graph.nodes:
        if node.output not in stream or not isinstance(node.op, Add | Sub):
            continue
        for name in node.inputs:
            gate = producers.get(_unmoved(producers, name))
            if gate is None or not isinstance(gate.op, Mul):
                continue
            shares = [p for p in map(producers.get, gate.inputs) if p and isinstance(p.op, Softmax)]
            if shares:
                found.update(n.output for n in (gate, *shares))
    return found


def _ends(graph: Graph) -> set[str]:
    """A forecaster's inputs, the layers that read them, and the layers that write its outputs."""
    if graph.scaling is None:
        return set()
    producers = {n.output: n for n in graph.nodes}
    found = {graph.scaling.past, *dict(graph.scaling.futures)}
    for node in graph.nodes:
        if node.op.has_int16 and any(_unmoved(producers, i) in graph.inputs for i in node.inputs):
            found.add(node.output)
    for name in graph.outputs:
        node = producers[_unmoved(producers, name)]
        if node.op.has_int16:
            found.add(node.output)
    return found


def _moves(node: Node) -> bool:
    return node.op.rule is Rule.SAME_AS_INPUT and node.op.has_int16


def _unmoved(producers: dict[str, Node], tensor: str) -> str:
    """The tensor that a tensor is, but for reshapes, transposes and slices."""
    node = producers.get(tensor)
    while node is not None and _moves(node):
        tensor = node.inputs[0]
        node = producers.get(tensor)
    return tensor


def follow_moves(
    graph: Graph, wide: frozenset[str], fixed: frozenset[str] = frozenset()
) -> frozenset[str]:
    """With the operators that only move integers: int16 where what they move is, and some reader
    wants it so.

    Args:
        fixed: moves whose type was asked for.
    """
    made = set(wide)
    wanted = set(wide) | set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.output in wanted:
            moved = _moves(node) and node.output not in fixed
            wanted.update(node.inputs if moved or node.output in wide else ())
    for node in graph.nodes:
        if _moves(node) and node.output not in fixed:
            made.discard(node.output)
            if node.inputs[0] in made and node.output in wanted:
                made.add(node.output)
    return frozenset(made)


def raise_until(
    graph: Graph,
    costs: Sequence[LayerCost],
    wide: frozenset[str],
    fixed: frozenset[str],
    target_db: float,
    measure: Callable[[frozenset[str]], float],
) -> tuple[frozenset[str], float]:
    """Raises layers to int16, the noisiest first, until the output is as good as asked for.

    Args:
        costs: of `measure_costs`, for ``wide``.
        fixed: tensors whose type was asked for.
        target_db: the output's signal-to-noise ratio to reach.
        measure: the ratio of the integer network for a choice.

    Returns:
        The choice and its measured ratio. Where all layers together do not reach the target, the
        best choice that was measured.
    """
    order = sorted((c for c in costs if c.saving and c.tensor not in fixed), key=lambda c: c.saving)
    noise = sum(c.noise for c in costs)
    chosen, reached = wide, measure(wide)
    best = (chosen, reached)
    goal = target_db + _MARGIN_DB
    while order and reached < target_db:
        while order and decibels(noise) < goal:
            cost = order.pop()
            noise -= cost.saving
            chosen = chosen | {cost.tensor}
        chosen = follow_moves(graph, chosen, fixed)
        reached = measure(chosen)
        best = max(best, (chosen, reached), key=lambda pair: pair[1])
        goal = max(goal, decibels(noise)) + max(target_db - reached, _MARGIN_DB)
    return best
