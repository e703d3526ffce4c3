# SPDX-License-Identifier: Apache-2.0
"""What an export is worth: signal-to-noise ratio, accuracy, instructions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyml.errors import TargetError, TinymlError
from tinyml.ir.execute import run
from tinyml.ir.graph import Graph
from tinyml.ir.scaling import Scaling
from tinyml.ir.tensor import Array
from tinyml.opened import open_export
from tinyml.progress import Progress, silent
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.runtimes.interpreters import OnnxRuntime
from tinyml.samples import Samples, integer_feeds, quantised_feeds
from tinyml.series import c_integers
from tinyml.targets import Target, load_target


@dataclass(frozen=True)
class Counted:
    """Exact instruction counts of one inference.

    Args:
        inference: instructions of the whole model, None where the target is not emulated.
        nodes: by the output tensor of each C node; each includes a few instructions of the call
            that records it.
        stack_bytes: deepest stack use, None where the port does not know it.
    """

    inference: int | None
    nodes: dict[str, int]
    stack_bytes: int | None


def layer_snr(
    float_graph: Graph, graph: Graph, feeds: Sequence[Feed], progress: Progress = silent
) -> dict[str, float]:
    """Signal-to-noise ratio in dB of each int8 activation against its float value.

    10 log10(sum of squares of the float value / sum of squares of the difference), over all
    samples; infinite where they are equal.
    """
    advance = progress("Signal-to-noise ratio", len(feeds))
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for feed in feeds:
        exact = run(float_graph, feed)
        coarse = run(graph, quantised_feeds(graph, [feed])[0])
        for name, real in exact.items():
            if graph.tensors[name].quant is None:  # ids
                continue
            restored = graph.tensors[name].q.dequantise(coarse[name])
            signal[name] = signal.get(name, 0.0) + float(np.sum(np.square(real, dtype=float)))
            error = np.square(real.astype(float) - restored)
            noise[name] = noise.get(name, 0.0) + float(np.sum(error))
        advance()
    return {
        name: float(10 * np.log10(power / noise[name])) if noise[name] > 0 and power > 0 else np.inf
        for name, power in signal.items()
    }


def float_accuracy(onnx: bytes, test: Samples, progress: Progress = silent) -> float:
    """Top-1 accuracy of the float model, run by onnxruntime."""
    assert test.labels is not None
    advance = progress("Float accuracy", test.count)
    runtime = OnnxRuntime(onnx)
    hits = 0
    for index in range(test.count):
        outputs = runtime.run_samples([a[index : index + 1] for a in test.inputs.values()])
        hits += int(np.argmax(outputs[0]) == test.labels[index])
        advance()
    return hits / test.count


def forecast_quality(
    onnx: bytes,
    graph: Graph,
    c_graph: Graph,
    c_dir: Path,
    test: Samples,
    build_dir: Path,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Errors of the forecasts of the float model, of the generated C and of naive rules on
    test windows with known futures.

    Mean squared and mean absolute errors are over samples, steps and channels, in the units of the
    data. The ratio of the C's forecasts to the float model's is in dB, each series in its own
    standard units, so that neither offsets nor large channels flatter it.
    """
    assert test.targets is not None
    columns = test.columns(graph)
    past = columns[graph.scaling.past] if graph.scaling else next(iter(columns.values()))
    truth = test.targets
    advance = progress("Forecasts, float", test.count)
    runtime = OnnxRuntime(onnx)
    exact = []
    for index in range(test.count):
        exact.append(runtime.run([a[index : index + 1] for a in test.inputs.values()])[0])
        advance()
    real = np.concatenate(exact)
    advance = progress("Forecasts, C", 1)
    host = load_target("host")
    program = build_program(c_dir, c_graph.name, host, build_dir)
    outputs = run_program(program, host, c_graph, c_integers(graph, test)).outputs
    quant = c_graph.tensors[c_graph.outputs[0]].q
    coarse = np.concatenate([quant.dequantise(o[0]) for o in outputs]).reshape(real.shape)
    advance()
    channels = past[:, :, : truth.shape[2]].astype(np.float64)
    # The network's own epsilon keeps a constant series from counting more than all others.
    mean, deviation = (graph.scaling or Scaling("", 1e-5)).statistics(channels)
    signal = float(np.sum(np.square((real - mean) / deviation)))
    noise = float(np.sum(np.square((real - coarse) / deviation)))

    def errors(forecast: Array) -> dict[str, float]:
        difference = forecast.astype(np.float64) - truth
        return {
            "mse": float(np.mean(np.square(difference))),
            "mae": float(np.mean(np.abs(difference))),
        }

    return {
        "data": test.source,
        "samples": test.count,
        "float": errors(real),
        "c": errors(coarse),
        "repeat last value": errors(np.repeat(channels[:, -1:], truth.shape[1], axis=1)),
        "mean of context": errors(np.repeat(mean, truth.shape[1], axis=1)),
        "one context ago": errors(channels[:, : truth.shape[1]]),
        "snr_db": float(10 * np.log10(signal / noise)) if noise > 0 else None,
    }


def int8_accuracy(
    graph: Graph, c_dir: Path, test: Samples, build_dir: Path, progress: Progress = silent
) -> float:
    """Top-1 accuracy of the generated C, run on this machine; its integers are those of every
    target."""
    assert test.labels is not None
    advance = progress("int8 accuracy", 1)
    host = load_target("host")
    program = build_program(c_dir, graph.name, host, build_dir)
    feeds = integer_feeds(graph, test)
    outputs = run_program(program, host, graph, feeds).outputs
    advance()
    best = np.array([int(np.argmax(o[0])) for o in outputs])
    return float(np.mean(best == test.labels))


def count_instructions(
    graph: Graph, c_dir: Path, target: Target, feed: Feed, build_dir: Path
) -> Counted:
    """Counts the instructions of one inference on the emulated target, in all and by node. A board
    that is not emulated tells nothing."""
    counting = target.qemu is not None
    if not counting and not target.is_host:
        return Counted(None, {}, None)
    program = build_program(c_dir, graph.name, target, build_dir / "plain")
    plain = run_program(program, target, graph, [feed], count=counting)
    if not counting:
        return Counted(None, {}, plain.stack_bytes)
    program = build_program(c_dir, graph.name, target, build_dir / "traced", trace=True)
    traced = run_program(program, target, graph, [feed], trace=True, count=True)
    nodes = [n.output for n in graph.nodes]
    by_node = dict(zip(nodes, traced.node_instructions, strict=True))
    return Counted(plain.instructions[0], by_node, plain.stack_bytes)


@dataclass(frozen=True)
class LayerCount:
    """Instructions of one node of the generated C."""

    name: str
    op: str
    instructions: int


@dataclass(frozen=True)
class ExportRun:
    """What `tinyml run` shows.

    Args:
        model: its name.
        place: the host, or the target and its emulated machine.
        outputs: the first output of each sample as real values.
        instructions: of each inference; empty on the host.
        layers: of the first sample; empty unless asked for.
        stack_bytes: deepest stack use, None where the port does not know it.
    """

    model: str
    place: str
    outputs: list[list[float]]
    instructions: list[int]
    layers: list[LayerCount]
    stack_bytes: int | None


def run_export(folder: Path, *, on_target: bool, samples: int, layers: bool) -> ExportRun:
    """Builds an export's C and runs stored samples.

    Args:
        folder: an export.
        on_target: on the emulated target instead of this machine.
        samples: how many stored samples.
        layers: whether to count the first sample by layer; needs ``on_target``.

    Raises:
        TinymlError: the target is not emulated, or anything `open_export` raises.
    """
    opened = open_export(folder)
    target = opened.target if on_target else load_target("host")
    if target.qemu is None and on_target:
        raise TargetError(f"{target.name} is not emulated", "Use --on host.")
    if layers and not on_target:
        raise TinymlError("instructions are counted on the emulated target", "Add --on qemu.")
    graph, feeds = opened.c_graph, opened.c_feeds[:samples]
    with tempfile.TemporaryDirectory(prefix="tinyml-build-") as build:
        program = build_program(folder / "c", graph.name, target, Path(build) / "plain")
        result = run_program(program, target, graph, feeds, count=on_target)
        counted: list[LayerCount] = []
        if layers:
            nodes = count_instructions(graph, folder / "c", target, feeds[0], Path(build)).nodes
            counted = [LayerCount(n.name, n.op.kind, nodes[n.output]) for n in graph.nodes]
    # Positions and truth values are numbers as they are.
    quant = graph.tensors[graph.outputs[0]].quant
    first = [o[0] if quant is None else quant.dequantise(o[0]) for o in result.outputs]
    reals = [[float(v) for v in values.ravel()] for values in first]
    machine = f"{target.name} ({target.qemu.machine}, QEMU)" if target.qemu else target.name
    return ExportRun(graph.name, machine, reals, result.instructions, counted, result.stack_bytes)
