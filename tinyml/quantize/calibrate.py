# SPDX-License-Identifier: Apache-2.0
"""Runs the float graph on samples and records what every activation does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyml.errors import CalibrationError
from tinyml.ir.execute import run
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType
from tinyml.quantize.observers import BINS, Histogram, Observer

Sample = Mapping[str, Array]


@dataclass(frozen=True)
class Calibration:
    """The chosen ranges.

    Args:
        ranges: (low, high) of each activation.
        histograms: what the ranges were chosen from.
        clipped: the fraction of values outside the range, by activation.
    """

    ranges: dict[str, tuple[float, float]]
    histograms: dict[str, Histogram]
    clipped: dict[str, float]


def calibrate(
    graph: Graph,
    samples: Sequence[Sample],
    observer: Observer,
    advance: Callable[[], None] = lambda: None,
    observers: Mapping[str, Observer] | None = None,
) -> Calibration:
    """Observes every activation over all samples, in two passes: extremes, then histograms.

    Args:
        graph: a float graph.
        samples: arrays by input name, in the graph's layout.
        observer: how ranges are chosen.
        advance: called after each sample of each pass, for progress.
        observers: other observers by tensor.

    Raises:
        CalibrationError: a layer produces NaN or infinity, named.
    """
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    reached: dict[str, list[float]] = {}
    for index, sample in enumerate(samples):
        values = run(graph, sample)
        for name, value in _reals(graph, values):
            smallest, largest = float(value.min()), float(value.max())
            if not (np.isfinite(smallest) and np.isfinite(largest)):
                raise CalibrationError(
                    f"'{_layer(graph, name)}' is not finite on calibration sample {index}",
                    "Check the sample and the model's weights.",
                )
            low[name] = min(low.get(name, np.inf), smallest)
            high[name] = max(high.get(name, -np.inf), largest)
        for name, bound in _must_reach(graph, values):
            reached.setdefault(name, []).append(bound)
        advance()
    counts = {name: np.zeros(BINS, np.int64) for name in low}
    for sample in samples:
        for name, value in _reals(graph, run(graph, sample)):
            counts[name] += _count(value, low[name], high[name])
        advance()
    histograms = {n: Histogram(low[n], high[n], counts[n]) for n in low}
    own = observers or {}
    ranges = {n: own.get(n, observer).range(h) for n, h in histograms.items()}
    for name, needed in reached.items():
        ranges[name] = min(ranges[name][0], *needed), max(ranges[name][1], *needed)
    clipped = {n: h.outside(*ranges[n]) for n, h in histograms.items()}
    return Calibration(ranges, histograms, clipped)


def _reals(graph: Graph, values: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Every activation that has a range: ids have none."""
    for name, value in values.items():
        if graph.tensors[name].dtype is DType.FLOAT32:
            yield name, value


def _must_reach(graph: Graph, values: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    """What operators need of their inputs' ranges whatever was seen."""
    for node in graph.nodes:
        bound = node.op.must_reach([values[i] for i in node.inputs if i in values])
        if bound is not None:
            yield node.inputs[0], bound


def _count(value: Array, low: float, high: float) -> Array:
    if high <= low:
        counts = np.zeros(BINS, np.int64)
        counts[0] = value.size
        return counts
    # Values of single precision may lie closer together than it could tell bins between them apart.
    return np.histogram(value.astype(np.float64), BINS, (low, high))[0]


def _layer(graph: Graph, tensor: str) -> str:
    node = graph.producer(tensor)
    return node.name if node else tensor
