# SPDX-License-Identifier: Apache-2.0
"""Imported files as C: forms that our own quantiser never makes reach the kernels right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tinyml.importers.tflite.test_operators import FILES
from tests.tinyml.single_op import random_feeds
from tinyml.export import export, write_c_folder
from tinyml.importers.tflite import import_tflite
from tinyml.ir import Graph
from tinyml.ir.execute import outputs
from tinyml.measure import run_export
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.source import open_source
from tinyml.targets import load_target
from tinyml.writers.c import write_c


def assert_equal_in_c(graph: Graph, folder: Path) -> None:
    host = load_target("host")
    if shutil.which(host.compiler) is None:
        pytest.skip(f"{host.compiler} is not installed")
    c_graph = run_passes(graph, C_PASSES)
    write_c_folder(write_c(c_graph, plan_memory(c_graph)), graph.name, folder / "c")
    program = build_program(folder / "c", graph.name, host, folder / "build")
    feeds = random_feeds(graph, np.random.default_rng(0), 4)
    run = run_program(program, host, c_graph, feeds)
    for feed, seen in zip(feeds, run.outputs, strict=True):
        for ours, reference in zip(seen, outputs(graph, feed), strict=True):
            np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("case", ["conv per tensor", "fully connected per tensor"])
def test_weights_quantised_per_tensor(tmp_path, case):
    assert_equal_in_c(import_tflite(FILES[case]), tmp_path)


@pytest.mark.parametrize("model", ["person_detect", "micro_speech_quantized", "hello_world_int8"])
def test_a_foreign_model(shared_data, tmp_path, model):
    """Tensor names such as serving_default_x:0 included."""
    assert_equal_in_c(import_tflite(shared_data / "models" / f"{model}.tflite"), tmp_path)


@pytest.mark.parametrize("case", ["arg min", "less"])
def test_outputs_that_have_no_scale_are_exported_and_run(tmp_path, case):
    """Positions and truth values: report, page and `tinyml run` show them as they are."""
    if shutil.which(load_target("host").compiler) is None:
        pytest.skip("no C compiler")
    path = tmp_path / "model.tflite"
    path.write_bytes(FILES[case])
    report = export(open_source(str(path), None), load_target("host"), None, None, tmp_path / "out")
    assert report["outputs"][0]["scale"] is None
    ran = run_export(tmp_path / "out", on_target=False, samples=2, layers=False)
    assert all(v == int(v) for values in ran.outputs for v in values)
