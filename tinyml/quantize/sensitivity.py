# SPDX-License-Identifier: Apache-2.0
"""What each layer's rounding costs at the output, and what int16 would buy.

One layer at a time is rounded, weights and output, in an otherwise float network. The noise this
leaves at the network's output is the layer's cost. Rounding errors of different layers are nearly
independent, so their noise powers add, and the sum predicts what a choice of types will reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Rule, affine
from tinyml.ir.tensor import Array, DType
from tinyml.quantize.calibrate import Calibration, Sample


@dataclass(frozen=True)
class LayerCost:
    """One layer of the table. Noise is a power relative to the output's: 1e-4 is 40 dB.

    Args:
        tensor: the layer's output, or a graph input.
        name, op: of the layer.
        noise8, noise16: left by rounding the output to int8, to int16.
        weights: left by rounding its weights to int8.
        can_widen: whether int16 is possible.
        wide: whether the layer is int16 in this export.
    """

    tensor: str
    name: str
    op: str
    noise8: float
    noise16: float
    weights: float
    can_widen: bool
    wide: bool

    @property
    def noise(self) -> float:
        """What the layer costs as exported."""
        return self.weights + (self.noise16 if self.wide else self.noise8)

    @property
    def saving(self) -> float:
        """The noise that int16 would take away."""
        return max(self.noise8 - self.noise16, 0.0) if self.can_widen and not self.wide else 0.0


def decibels(noise: float) -> float:
    """The signal-to-noise ratio of a relative noise power."""
    return float(-10 * np.log10(noise)) if noise > 0 else float("inf")


def predicted_snr(costs: Sequence[LayerCost]) -> float:
    """The output's ratio in dB if the noise of all layers adds."""
    return decibels(sum(c.noise for c in costs))


def measure_costs(
    graph: Graph,
    calibration: Calibration,
    samples: Sequence[Sample],
    wide: frozenset[str] = frozenset(),
    advance: Callable[[], None] = lambda: None,
) -> list[LayerCost]:
    """The cost of every layer and input, in order of execution.

    Args:
        graph: float, after the float passes.
        calibration: its ranges.
        samples: inputs by name; a few are enough.
        wide: what is int16 in the export.
        advance: called after each node of each sample, for progress.
    """
    probe = _Probe(graph, calibration)
    total: dict[str, dict[str, float]] = {}
    for sample in samples:
        # A variance that int8 rounds to 0 has no root; that cost is infinite, and shown as none.
        with np.errstate(over="ignore", invalid="ignore"):
            found = probe.run(sample, advance)
        for tensor, parts in found.items():
            held = total.setdefault(tensor, dict.fromkeys(parts, 0.0))
            for part, value in parts.items():
                held[part] += value
    signal = sum(probe.signals) or 1.0
    made = []
    for tensor, parts in total.items():
        node = graph.producer(tensor)
        made.append(
            LayerCost(
                tensor,
                node.name if node else tensor,
                node.op.kind if node else "input",
                parts["int8"] / signal,
                parts["int16"] / signal,
                parts["weights"] / signal,
                node is None or node.op.has_int16,
                tensor in wide,
            )
        )
    return made


class _Probe:
    """Runs a sample with one layer rounded at a time; what lies before the layer is not run
    again."""

    def __init__(self, graph: Graph, calibration: Calibration) -> None:
        self._graph = graph
        self._ranges = calibration.ranges
        self._rounded_weights = {n.output: _rounded_constants(graph, n) for n in graph.nodes}
        self.signals: list[float] = []

    def run(self, sample: Sample, advance: Callable[[], None]) -> dict[str, dict[str, float]]:
        """Noise power at the outputs by tensor and by what was rounded."""
        graph = self._graph
        exact: dict[str, Array] = dict(sample)
        for node in graph.nodes:
            exact[node.output] = node.op.run_float(self._inputs(node, exact, {}))
        self.signals.append(sum(float(np.sum(np.square(exact[o]))) for o in graph.outputs))
        made: dict[str, dict[str, float]] = {}
        for name in graph.inputs:
            if graph.tensors[name].dtype is DType.FLOAT32:
                made[name] = {"weights": 0.0, **self._both(name, exact, -1)}
        for index, node in enumerate(graph.nodes):
            advance()
            if node.op.rule is Rule.SAME_AS_INPUT:
                continue
            made[node.output] = {"weights": 0.0, **self._both(node.output, exact, index, node)}
            rounded = self._rounded_weights[node.output]
            if rounded:
                value = node.op.run_float(self._inputs(node, exact, rounded))
                made[node.output]["weights"] = self._noise({node.output: value}, exact, index)
        return made

    def _both(
        self, tensor: str, exact: Mapping[str, Array], index: int, node: Node | None = None
    ) -> dict[str, float]:
        found = {}
        for dtype in (DType.INT8, DType.INT16):
            if node is not None and node.op.rule is Rule.FIXED:
                grid = node.op.fixed_quantisation(dtype)
            else:
                grid = affine(*self._ranges[tensor], dtype)
            value = grid.dequantise(grid.quantise(exact[tensor], dtype))
            found[dtype.value] = self._noise({tensor: value}, exact, index)
        return found

    def _inputs(
        self, node: Node, values: Mapping[str, Array], rounded: Mapping[int, Array]
    ) -> list[Array]:
        made = []
        for index, tensor in enumerate(self._graph.ins(node)):
            if tensor.data is not None:
                made.append(rounded.get(index, tensor.data))
            else:
                made.append(values[tensor.name])
        return made

    def _noise(self, changed: dict[str, Array], exact: Mapping[str, Array], index: int) -> float:
        """Noise power at the outputs when some tensors, made up to node ``index``, differ."""
        for node in self._graph.nodes[index + 1 :]:
            if any(i in changed for i in node.inputs):
                inputs = self._inputs(node, {**exact, **_read(node, changed)}, {})
                changed[node.output] = node.op.run_float(inputs)
        return sum(
            float(np.sum(np.square(changed[o].astype(np.float64) - exact[o])))
            for o in self._graph.outputs
            if o in changed
        )


def _read(node: Node, changed: Mapping[str, Array]) -> dict[str, Array]:
    return {i: changed[i] for i in node.inputs if i in changed}


def _rounded_constants(graph: Graph, node: Node) -> dict[int, Array]:
    """The weights of a layer after rounding to int8, as reals."""
    ins = graph.ins(node)
    if len(ins) != 3 or ins[1].data is None or ins[1].data.ndim < 2 or ins[2].data is None:
        return {}
    # The input's grid plays no part in the weights'.
    constants = node.op.quantise_constants(ins, [affine(-1.0, 1.0), None, None])
    return {1: constants[1].q.dequantise(constants[1].values)}


def table(costs: Sequence[LayerCost]) -> list[dict[str, Any]]:
    """The sensitivity table as plain data: SNR in dB if only this layer were rounded, its share
    of all noise, and the output's SNR if this one were raised to int16."""
    everything = sum(c.noise for c in costs)
    rows = []
    for cost in costs:
        raised = decibels(everything - cost.saving) if cost.saving else None
        rows.append(
            {
                **{k: v for k, v in asdict(cost).items() if k in ("tensor", "name", "op")},
                "dtype": "int16" if cost.wide else "int8",
                "snr_int8_db": _finite(decibels(cost.noise8)),
                "snr_int16_db": _finite(decibels(cost.noise16)) if cost.can_widen else None,
                "snr_weights_db": _finite(decibels(cost.weights)),
                "share": cost.noise / everything if everything else 0.0,
                "raised_output_db": None if raised is None else _finite(raised),
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None
