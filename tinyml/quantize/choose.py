# SPDX-License-Identifier: Apache-2.0
"""The story of quantisation: ranges, types, integers, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.execute import outputs
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, DType
from tinyml.progress import Progress, silent
from tinyml.quantize.bias_correction import correct_biases
from tinyml.quantize.calibrate import Calibration, Sample, calibrate
from tinyml.quantize.equalise import Group, equalise
from tinyml.quantize.observers import observer_named
from tinyml.quantize.overrides import Applied, Override, apply_overrides
from tinyml.quantize.precision import follow_moves, raise_until, structural
from tinyml.quantize.quantizer import quantise
from tinyml.quantize.sensitivity import measure_costs, table

# A few samples rank layers; all of them would take as many times longer.
SENSITIVITY_SAMPLES = 4
MEASURED_SAMPLES = 16
# Means over all positions of a layer settle quickly; all activations of these are held at once.
CORRECTION_SAMPLES = 16


@dataclass(frozen=True)
class QuantiseOptions:
    """What the user can choose.

    Args:
        observer: how ranges are chosen where no override says otherwise.
        overrides: by layer, of `load_overrides`.
        snr_db: the output's signal-to-noise ratio on calibration samples to reach by raising
            layers to int16; None to take the structural choice as it is.
        sensitivity: whether to measure what each layer costs; implied by ``snr_db``.
        equalise: whether channels are evened out between layers, see `quantize.equalise`.
        bias_correction: whether mean errors are folded into biases, see
            `quantize.bias_correction`.
    """

    observer: str = "minmax"
    overrides: tuple[Override, ...] = ()
    snr_db: float | None = None
    sensitivity: bool = False
    equalise: bool = False
    bias_correction: bool = False


@dataclass(frozen=True)
class Quantised:
    """The result.

    Args:
        graph: integers.
        float_graph: what was rounded; equal to what was given, equalised where asked for.
        calibration: the ranges it was made from.
        wide: the float graph's tensors that are int16.
        reached_db: what was measured where ``snr_db`` was asked for.
        sensitivity: the table of `quantize.sensitivity`, None where it was not asked for.
        equalised: the layers of each group whose channels were evened out.
        corrected: the largest shift of the bias by layer, as a real number.
    """

    graph: Graph
    float_graph: Graph
    calibration: Calibration
    wide: frozenset[str]
    reached_db: float | None
    sensitivity: list[dict[str, Any]] | None
    equalised: list[list[str]]
    corrected: dict[str, float]


def choose(
    graph: Graph,
    samples: Sequence[Sample],
    options: QuantiseOptions,
    progress: Progress = silent,
) -> Quantised:
    """From a float graph and calibration samples to integers.

    Raises:
        CalibrationError, QuantisationError: the samples, the overrides or the network do not
            allow it; a target that int16 everywhere does not reach names what was reached.
    """
    applied = apply_overrides(graph, options.overrides)
    graph, scaled = _equalised(graph, samples, options, applied, progress)
    advance = progress("Calibrate", 2 * len(samples))
    observer = observer_named(options.observer)
    calibration = calibrate(graph, samples, observer, advance, applied.observers)
    calibration = replace(calibration, ranges=_ranges(graph, calibration, applied))
    fixed = frozenset(applied.types)
    wide = _typed(graph, structural(graph), applied)
    costs = None
    if options.sensitivity or options.snr_db is not None:
        few = list(samples)[:SENSITIVITY_SAMPLES]
        advance = progress("Sensitivity of each layer", len(few) * len(graph.nodes))
        costs = measure_costs(graph, calibration, few, wide, advance)
    reached = None
    if options.snr_db is not None and costs is not None:
        measured = list(samples)[:MEASURED_SAMPLES]
        exact = [outputs(graph, s) for s in measured]
        measure = _measurer(graph, calibration, measured, exact)
        wide, reached = raise_until(graph, costs, wide, fixed, options.snr_db, measure)
        if reached < options.snr_db:
            raise QuantisationError(
                f"the output reaches {reached:.1f} dB, {options.snr_db:g} dB were asked for",
                "Ask for less, or try --observer mse; what is left is mostly the rounding of "
                "weights and of operators that have no int16 form.",
            )
        costs = [replace(c, wide=c.tensor in wide) for c in costs]
    made, shifts = _corrected(
        graph, quantise(graph, calibration, wide), samples, options, applied, progress
    )
    return Quantised(
        made,
        graph,
        calibration,
        wide,
        reached,
        None if costs is None else table(costs),
        scaled,
        shifts,
    )


def _equalised(
    graph: Graph,
    samples: Sequence[Sample],
    options: QuantiseOptions,
    applied: Applied,
    progress: Progress,
) -> tuple[Graph, list[list[str]]]:
    """The graph with evened channels, and the layers of each group that was scaled. A group is
    scaled as a whole: one layer that must not be leaves all of it alone."""

    def allowed(group: Group) -> bool:
        layers = (*group.makers, *group.readers)
        said = [applied.equalise.get(n.output, options.equalise) for n in layers]
        return all(said)

    if not (options.equalise or any(applied.equalise.values())):
        return graph, []
    few = list(samples)[:CORRECTION_SAMPLES]
    made, scaled = equalise(graph, few, allowed, progress("Equalise", len(few)))
    return made, [[n.name for n in (*g.makers, *g.readers)] for g in scaled]


def _corrected(
    graph: Graph,
    made: Graph,
    samples: Sequence[Sample],
    options: QuantiseOptions,
    applied: Applied,
    progress: Progress,
) -> tuple[Graph, dict[str, float]]:
    """The integer graph with corrected biases, and the shifts."""

    def allowed(node: Node) -> bool:
        return applied.bias_correction.get(node.output, options.bias_correction)

    if not (options.bias_correction or any(applied.bias_correction.values())):
        return made, {}
    few = list(samples)[:CORRECTION_SAMPLES]
    return correct_biases(graph, made, few, allowed, progress("Correct biases", len(made.nodes)))


def _ranges(
    graph: Graph, calibration: Calibration, applied: Applied
) -> dict[str, tuple[float, float]]:
    made = dict(calibration.ranges)
    if graph.scaling is not None:
        # No sample of a standardised series is further from its mean than this.
        bound = math.sqrt(graph.tensors[graph.scaling.past].shape[1])
        made[graph.scaling.past] = (-bound, bound)
    return made | applied.ranges


def _typed(graph: Graph, wide: frozenset[str], applied: Applied) -> frozenset[str]:
    added = {t for t, d in applied.types.items() if d is DType.INT16}
    taken = {t for t, d in applied.types.items() if d is DType.INT8}
    return follow_moves(graph, (wide | added) - taken, frozenset(applied.types))


def _measurer(
    graph: Graph,
    calibration: Calibration,
    samples: Sequence[Sample],
    exact: Sequence[Sequence[Array]],
) -> Callable[[frozenset[str]], float]:
    """The output's ratio in dB of the integer network for a choice of types."""

    def measure(wide: frozenset[str]) -> float:
        made = quantise(graph, calibration, wide)
        signal = noise = 0.0
        for sample, wanted in zip(samples, exact, strict=True):
            feed = {n: _integers(made, n, sample[n]) for n in made.inputs}
            for name, real, integers in zip(made.outputs, wanted, outputs(made, feed), strict=True):
                restored = made.tensors[name].q.dequantise(integers)
                signal += float(np.sum(np.square(real, dtype=np.float64)))
                noise += float(np.sum(np.square(real.astype(np.float64) - restored)))
        return float(10 * np.log10(signal / noise)) if noise > 0 and signal > 0 else math.inf

    return measure


def _integers(graph: Graph, name: str, value: Array) -> Array:
    tensor = graph.tensors[name]
    return value if tensor.quant is None else tensor.quant.quantise(value, tensor.dtype)
