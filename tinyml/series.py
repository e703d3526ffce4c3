# SPDX-License-Identifier: Apache-2.0
"""The two ends of a forecaster in C: raw series in, raw forecast out.

Between them lies the graph that every runtime shares. What the C computes is the three in a row,
and so is what is compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tinyml.errors import CalibrationError
from tinyml.ir.graph import Graph, Node
from tinyml.ir.scaling import COUNT_BITS
from tinyml.ir.tensor import Array
from tinyml.ops.series import Restore, Standardise, Statistics, to_counts
from tinyml.samples import Samples, integer_feeds

Feed = Mapping[str, Array]


def with_unit(graph: Graph, calibration: Samples) -> Graph:
    """The graph whose raw integers have a unit such that calibration data use 23 bits.

    Raises:
        CalibrationError: every series is constant, or as `Samples.columns`.
    """
    if graph.scaling is None:
        return graph
    columns = calibration.columns(graph)
    if not any(np.ptp(a, axis=1).any() for a in columns.values()):
        raise CalibrationError(
            f"every series in {calibration.source} is constant: no range can be chosen",
            "Give real series; a constant one among them does no harm.",
        )
    peak = max(float(np.max(np.abs(a))) for a in columns.values())
    unit = float(np.float32(peak / (1 << COUNT_BITS))) if peak > 0 else 1.0
    made = graph.copy()
    made.scaling = replace(graph.scaling, unit=unit)
    return made


def c_integers(graph: Graph, samples: Samples) -> list[dict[str, Array]]:
    """What the generated C is given for each sample: raw series where the graph has a scaling."""
    if graph.scaling is None:
        return integer_feeds(graph, samples)
    unit = graph.scaling.unit
    columns = samples.columns(graph)
    return [
        {n: to_counts(a[i : i + 1], unit) for n, a in columns.items()} for i in range(samples.count)
    ]


def standardised(graph: Graph, c_graph: Graph, raw: Feed) -> dict[str, Array]:
    """The integers the shared graph is given when C is given ``raw``."""
    if graph.scaling is None:
        return dict(raw)
    values = _run(c_graph, (Statistics, Standardise), raw)
    return {n: values.get(f"{n}_standard", values.get(n, raw[n])) for n in graph.inputs}


def restored(graph: Graph, c_graph: Graph, raw: Feed, forecasts: Sequence[Array]) -> list[Array]:
    """What C returns for ``raw`` when the shared graph's outputs are ``forecasts``."""
    if graph.scaling is None:
        return list(forecasts)
    values = _run(c_graph, (Statistics,), raw)
    values |= {f"{n}_standard": a for n, a in zip(graph.outputs, forecasts, strict=True)}
    values = _run(c_graph, (Restore,), values)
    return [values.get(n, f) for n, f in zip(graph.outputs, forecasts, strict=True)]


def _run(graph: Graph, kinds: tuple[type, ...], known: Feed) -> dict[str, Array]:
    values = dict(known)
    for node in graph.nodes:
        if isinstance(node.op, kinds):
            values[node.output] = _one(graph, node, values)
    return values


def _one(graph: Graph, node: Node, values: Feed) -> Array:
    return node.op.run_int([values[i] for i in node.inputs], graph.ins(node), graph.out(node))
