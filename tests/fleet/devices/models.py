# SPDX-License-Identifier: Apache-2.0
"""A small export folder, and artefacts for it: several weights of one structure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleet.wire.messages import Component, Manifest
from tests.tinyml.single_op import activation, model, random_feeds, weights_and_bias
from tinyml.export import write_c_folder
from tinyml.ir import Graph
from tinyml.ir.execute import outputs
from tinyml.ops import FullyConnected
from tinyml.plan import plan_memory
from tinyml.writers.c import write_c

INPUTS, OUTPUTS, SAMPLES = 256, 40, 8


@dataclass(frozen=True)
class Release:
    """An artefact and its manifest."""

    artefact: bytes
    manifest: Manifest


def _graph(seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    x = activation("x", (1, INPUTS), 1 / 64, 3)
    constants = weights_and_bias(rng, (OUTPUTS, INPUTS), 0, 1 / 64)
    return model(FullyConnected(), [x, *constants], 0.5, 0)


def write_export(folder: Path) -> Path:
    """Seed 0 as an export folder, as far as the agent's builder reads one."""
    graph = _graph(0)
    made = write_c(graph, plan_memory(graph))
    folder.mkdir(parents=True)
    write_c_folder(made, graph.name, folder / "c")
    facts = {"name": graph.name, "abi": f"{made.abi:016x}"}
    report = {"model": facts, "inputs": [{"name": "x"}], "files": {}, "memory": {}, "target": {}}
    (folder / "report.json").write_text(json.dumps(report))
    feeds = random_feeds(graph, np.random.default_rng(1), SAMPLES)
    np.savez(folder / "samples.npz", x=np.concatenate([f["x"] for f in feeds]))
    return folder


def make_release(seed: int, sequence: int, hardware: str, *, is_bad: bool = False) -> Release:
    """Other weights of the same structure.

    Args:
        is_bad: the manifest states outputs that the model does not give.
    """
    graph = _graph(seed)
    plan = plan_memory(graph)
    made = write_c(graph, plan)
    feeds = random_feeds(graph, np.random.default_rng(seed), 2)
    results = b"".join(o.tobytes() for f in feeds for o in outputs(graph, f))
    artefact = made.weights + b"".join(f["x"].tobytes() for f in feeds)
    manifest = Manifest(
        version=1,
        sequence=sequence,
        vendor="generic",
        classes=(hardware,),
        component=Component.MODEL,
        digest=hashlib.sha256(artefact).digest(),
        size=len(artefact),
        abi=made.abi,
        opset=0,
        arena_bytes=plan.arena_bytes,
        weights_bytes=len(made.weights),
        golden_inputs=len(feeds),
        golden_outputs=hashlib.sha256(b"bad" if is_bad else results).digest(),
    )
    return Release(artefact, manifest)
