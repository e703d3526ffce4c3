# SPDX-License-Identifier: Apache-2.0
"""Runs passes and checks their claims."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tinyml.ir.execute import outputs
from tinyml.ir.graph import Graph
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

    After each pass the structure is checked, the pass's promise is checked, and both graphs are
    run on one random input: int8 outputs must be equal, float ones equal up to rounding.

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
        _assert_same(before, current, step.name)
    return current


def _assert_same(before: Graph, after: Graph, name: str) -> None:
    rng = np.random.default_rng(0)
    old: dict[str, Array] = {}
    for key in before.inputs:
        tensor = before.tensors[key]
        if tensor.dtype is DType.INT8:
            old[key] = rng.integers(-128, 128, tensor.shape).astype(np.int8)
        else:
            old[key] = rng.standard_normal(tensor.shape).astype(np.float32)
    new = {k: _relaid(a, before, after, k) for k, a in old.items()}
    for key, a, b in zip(before.outputs, outputs(before, old), outputs(after, new), strict=True):
        expected = _relaid(a, before, after, key)
        if a.dtype == np.int8:
            assert np.array_equal(expected, b), f"{name} changed '{key}'"
        else:
            scale = float(np.max(np.abs(expected))) or 1.0
            error = float(np.max(np.abs(expected - b))) / scale
            assert error < _FLOAT_TOLERANCE, f"{name} changed '{key}' by {error:.2e}"


def _relaid(array: Array, before: Graph, after: Graph, key: str) -> Array:
    """The array in the axis order that ``after`` gives an input or output."""
    old, new = before.source_layout.get(key), after.source_layout.get(key)
    if old == new:
        return array
    source = array if old is None else array.transpose(np.argsort(old))
    return source if new is None else source.transpose(new)
