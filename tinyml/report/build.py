# SPDX-License-Identifier: Apache-2.0
"""Gathers every fact of an export as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import DType, Tensor
from tinyml.measure import Counted
from tinyml.quantize import QuantiseOptions
from tinyml.report.sparse import sparse_layers
from tinyml.runtimes.build import MemoryUse
from tinyml.samples import Samples
from tinyml.source import Source
from tinyml.targets import Target
from tinyml.verify import Check

if TYPE_CHECKING:
    from tinyml.export import Compiled

HISTOGRAM_BINS = 64
MOST_HISTOGRAMS = 64


def build_report(
    *,
    source: Source,
    target: Target,
    compiled: Compiled,
    options: QuantiseOptions,
    calibration: Samples | None,
    verified_on: str,
    snr: Mapping[str, float],
    checks: Sequence[Check],
    memory: MemoryUse,
    counted: Counted,
    accuracy: dict[str, Any] | None,
    forecast: dict[str, Any] | None,
    without_patches: dict[str, Any] | None,
    files: dict[str, Any],
) -> dict[str, Any]:
    """The report as JSON-ready data. Bytes are whole numbers, ratios fractions, SNR in dB."""
    graph, plan, quantised = compiled.graph, compiled.plan, compiled.quantised
    return {
        "tinyml": _version(),
        "model": {
            "name": graph.name,
            "source": source.spec,
            "provenance": source.provenance,
            "parameters": parameters(compiled.float_graph or graph),
            "macs": sum(graph.macs(n) for n in graph.nodes),
            "abi": f"{compiled.c_model.abi:016x}",
            "code": {
                "keep_channels": compiled.code.keep_channels,
                "patches": compiled.code.patches,
                "optimise": compiled.code.optimise,
            },
            "learned": compiled.code.learned is not None,
        },
        "target": asdict(target),
        "quantisation": {
            "observer": options.observer if calibration else "the model's own scales",
            "snr_asked_db": options.snr_db,
            "overrides": [o.to_json() for o in options.overrides],
            "equalised": quantised.equalised if quantised else [],
            "bias_corrected": quantised.corrected if quantised else {},
            "int16": sorted(n for n, t in graph.tensors.items() if _is_int16(t)),
            "calibration": calibration.source if calibration else None,
            "samples": calibration.count if calibration else 0,
        },
        "inputs": [_port(graph, n) for n in graph.inputs],
        "outputs": [_port(graph, n) for n in graph.outputs],
        "layers": [_layer(compiled, n, snr, counted) for n in graph.nodes],
        "output_snr_db": _finite(snr[graph.outputs[0]]) if snr else None,
        "memory": {
            "flash": memory.flash,
            "code": memory.code,
            "weights": memory.weights,
            "ram": memory.arena + memory.static + (counted.stack_bytes or 0),
            "arena": memory.arena,
            "static": memory.static,
            "regions": {
                r.name: used
                for r, used in zip(
                    target.regions, (plan.arena_bytes, *plan.extra_bytes), strict=False
                )
            },
            "arena_lower_bound": plan.lower_bound,
            "arena_proven": plan.proven,
            "arena_unfused": plan.unfused_bytes,
            "stack": counted.stack_bytes,
            "copied_weights": sum(n for g in plan.groups for n in g.copies.values()),
            "peak_layer": compiled.c_graph.nodes[plan.peak_node].name,
            "harness_flash": memory.runtime_flash,
        },
        "instructions": counted.inference,
        "without_patches": without_patches,
        "sparse": sparse_layers(compiled.c_graph, compiled.isa),
        "accuracy": accuracy,
        "forecast": forecast,
        "scaling": graph.scaling.to_json() if graph.scaling else None,
        "sensitivity": quantised.sensitivity if quantised else None,
        "verified_on": verified_on,
        "checks": [c.to_json() for c in checks],
        "groups": [[g.first, g.last] for g in plan.groups if g.steps],
        "arena": [
            {
                "tensors": list(b.tensors),
                "offset": plan.offsets[b.tensors[0]],
                "bytes": b.size,
                "first": b.first,
                "last": b.last,
            }
            for b in plan.buffers
        ],
        "histograms": _histograms(compiled, snr),
        "files": files,
    }


def parameters(graph: Graph) -> int:
    """Elements of all constants that nodes read."""
    names = {i for n in graph.nodes for i in n.inputs if graph.tensors[i].is_constant}
    return sum(graph.tensors[n].elements for n in names)


def _version() -> str:
    try:
        return version("tinyml-toolchain")
    except PackageNotFoundError:
        return "source tree"


def _finite(value: float) -> float | None:
    """JSON has no infinity: an error-free layer has no SNR."""
    return round(value, 2) if math.isfinite(value) else None


def _port(graph: Graph, name: str) -> dict[str, Any]:
    tensor = graph.tensors[name]
    layout = graph.source_layout.get(name)
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.value,
        "scale": tensor.quant.s if tensor.quant else None,
        "zero_point": tensor.quant.z if tensor.quant else None,
        "permuted_from_source": None if layout is None else list(layout),
    }


def _layer(
    compiled: Compiled, node: Node, snr: Mapping[str, float], counted: Counted
) -> dict[str, Any]:
    graph = compiled.graph
    calibration = compiled.quantised.calibration if compiled.quantised else None
    out = graph.out(node)
    return {
        "name": node.name,
        "op": node.op.kind,
        "shape": list(out.shape),
        "macs": graph.macs(node),
        "weights": sum(t.bytes for t in graph.ins(node) if t.is_constant),
        "scale": out.quant.s if out.quant else None,
        "zero_point": out.quant.z if out.quant else None,
        "snr_db": _finite(snr[out.name]) if out.name in snr else None,
        "clipped": calibration.clipped.get(out.name, 0.0) if calibration else 0.0,
        "dtype": out.dtype.value,
        "instructions": counted.nodes.get(out.name),
    }


def _is_int16(tensor: Tensor) -> bool:
    return tensor.dtype is DType.INT16 and not tensor.is_constant


def _histograms(compiled: Compiled, snr: Mapping[str, float]) -> list[dict[str, Any]]:
    """The distribution of each int8 activation and the range that int8 covers; of a large network
    those that lose most."""
    made: list[dict[str, Any]] = []
    if compiled.quantised is None:
        return made
    tensors = compiled.graph.tensors
    histograms = compiled.quantised.calibration.histograms
    narrow = [n for n in histograms if n in tensors and tensors[n].dtype is DType.INT8]
    worst = set(sorted(narrow, key=lambda n: snr.get(n, math.inf))[:MOST_HISTOGRAMS])
    for name, histogram in histograms.items():
        if name not in worst:
            continue
        quant = tensors[name].q
        counts = histogram.counts.reshape(HISTOGRAM_BINS, -1).sum(axis=1)
        covered = quant.dequantise(np.array([-128, 127], np.int8))
        made.append(
            {
                "tensor": name,
                "low": histogram.low,
                "high": histogram.high,
                "counts": [int(c) for c in counts],
                "int8_low": float(covered[0]),
                "int8_high": float(covered[1]),
            }
        )
    return made
