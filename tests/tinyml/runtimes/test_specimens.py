# SPDX-License-Identifier: Apache-2.0
"""Kernels of int16, of ids and of transformers: every target and every file format equals the
integer reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import random_feeds
from tests.tinyml.specimens import graph_of, specimens
from tinyml.export import write_c_folder
from tinyml.ir import Graph
from tinyml.ir.execute import outputs, run
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import OnnxRuntime, from_onnx_layout, to_onnx_layout
from tinyml.targets import Target, list_targets, load_target
from tinyml.verify import onnx_lsb
from tinyml.writers.c import write_c
from tinyml.writers.onnx import write_onnx


def assert_target_equals_reference(target: Target, folder: Path, graph: Graph) -> None:
    c_graph = run_passes(graph, C_PASSES)
    write_c_folder(write_c(c_graph, plan_memory(c_graph)), graph.name, folder / "c")
    feeds = random_feeds(graph, np.random.default_rng(0), 3)
    program = build_program(folder / "c", graph.name, target, folder / "build")
    seen = run_program(program, target, c_graph, feeds).outputs
    for feed, sample in zip(feeds, seen, strict=True):
        for node, a, b in zip(graph.nodes, sample, outputs(graph, feed), strict=True):
            np.testing.assert_array_equal(a, b, f"{node.name} on {target.name}")


@pytest.mark.parametrize("seed", range(3))
def test_host_with_sanitizers(tmp_path, seed):
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    graph = graph_of(np.random.default_rng(seed), 2, specimens)
    assert_target_equals_reference(replace(load_target("host"), flags=flags), tmp_path, graph)


@pytest.mark.parametrize("target", [t for t in list_targets() if t.qemu], ids=lambda t: t.name)
def test_emulated(tmp_path, target):
    need(target)
    graph = graph_of(np.random.default_rng(9), 1, specimens)
    assert_target_equals_reference(target, tmp_path, graph)


@pytest.mark.parametrize("optimise", [False, True])
def test_onnx(optimise):
    graph = graph_of(np.random.default_rng(5), 1, specimens)
    runtime = OnnxRuntime(write_onnx(graph), optimise=optimise)
    for feed in random_feeds(graph, np.random.default_rng(1), 2):
        seen = runtime.run([to_onnx_layout(feed[n]) for n in graph.inputs])
        wanted = run(graph, feed)
        for node, value in zip(graph.nodes, seen, strict=True):
            out = graph.out(node)
            off = np.abs(from_onnx_layout(value).astype(int) - wanted[out.name])
            if node.op.kind == "rsqrt":
                # Below zero the real function has no value.
                source = feed[node.inputs[0]]
                off = off[source > graph.ins(node)[0].q.z]
            assert off.max(initial=0) <= onnx_lsb(node.op, out), f"{node.name} {off.max()}"
