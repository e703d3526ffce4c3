# SPDX-License-Identifier: Apache-2.0
"""Runs passes and checks their claims."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tinyml.ir.execute import State, initial_state, outputs
from tinyml.ir.graph import Graph
from tinyml.ir.random_feed import random_feed
from tinyml.ir.tensor import Array, DType

# Reordering float32 sums moves results by rounding only.
_FLOAT_TOLERANCE = 1e-4


class Pass(ABC):
    """One rewrite of a graph."""

    @property
    def name(self) -> str:
        """The pass's name in errors."""
        return type(self).__name__

    @abstractmethod
    def run(self, graph: Graph) -> None:
        """Rewrites the graph in place."""

    @abstractmethod
    def ensures(self, graph: Graph) -> str | None:
        """What is wrong with the result, None when the pass's promise holds."""


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """A rewritten copy of the graph.

    After each pass that changed something the structure is checked, the pass's promise is checked,
    and both graphs are run: integer ones on a random input and on the extremes, where outputs
    must be equal; float ones on a random input, where they must be equal up to rounding.

    Raises:
        AssertionError: a pass broke its promise; a defect of the compiler, not of the model.
    """
    current = graph.copy()
    for step in passes:
        before = current
        current = before.copy()
        step.run(current)
        current.sweep()
        current.check()
        complaint = step.ensures(current)
        assert complaint is None, f"{step.name}: {complaint}"
        if not _identical(before, current):
            states = initial_state(before), initial_state(current)
            for feed in _feeds(before):
                _assert_same(before, current, feed, step.name, states)
    return current


def _identical(before: Graph, after: Graph) -> bool:
    """Whether a pass left the graph as it was; tensors are immutable, so the same objects."""
    kept = all(before.tensors.get(k) is t for k, t in after.tensors.items())
    return kept and before.nodes == after.nodes and before.source_layout == after.source_layout


def _feeds(graph: Graph) -> list[dict[str, Array]]:
    drawn = random_feed(graph, np.random.default_rng(0))
    tensors = [graph.tensors[n] for n in graph.inputs]
    if any(t.dtype is DType.FLOAT32 for t in tensors):
        return [drawn]
    # Ids have no extremes of their own.
    ends = [
        {t.name: np.full_like(drawn[t.name], t.dtype.limits[end]) for t in tensors if t.quant}
        for end in (0, 1)
    ]
    return [drawn, *({**drawn, **extreme} for extreme in ends)]


def _assert_same(
    before: Graph,
    after: Graph,
    old: dict[str, Array],
    name: str,
    states: tuple[State, State],
) -> None:
    new = {k: _relaid(a, before, after, k) for k, a in old.items()}
    found = outputs(after, new, states[1])
    if after.scaling is not None and before.scaling is None:
        found = outputs(after, after.scaling.standardise(new), states[1])
        past = new[after.scaling.past]
        found = [after.scaling.restore(i, a, past) for i, a in enumerate(found)]
    for key, a, b in zip(before.outputs, outputs(before, old, states[0]), found, strict=True):
        expected = _relaid(a, before, after, key)
        if a.dtype != np.float32:
            assert np.array_equal(expected, b), f"{name} changed '{key}'"
        else:
            # Sums beyond single precision overflow in one order and not in another.
            known = np.isfinite(expected) & np.isfinite(b)
            scale = float(np.max(np.abs(expected), where=known, initial=0)) or 1.0
            error = float(np.max(np.abs(expected - b), where=known, initial=0)) / scale
            assert error < _FLOAT_TOLERANCE, f"{name} changed '{key}' by {error:.2e}"


def _relaid(array: Array, before: Graph, after: Graph, key: str) -> Array:
    """The array in the axis order that ``after`` gives an input or output."""
    old, new = before.source_layout.get(key), after.source_layout.get(key)
    if old == new:
        return array
    source = array if old is None else array.transpose(np.argsort(old))
    return source if new is None else source.transpose(new)
