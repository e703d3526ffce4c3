# SPDX-License-Identifier: Apache-2.0
"""Softmax by a table of exponentials: the integers of the reference, on the host and on a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, model
from tinyml.export import write_c_folder
from tinyml.ir.execute import outputs
from tinyml.ops import Softmax
from tinyml.ops.softmax import TABLE_DEPTH
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c

SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def assert_c_equals(target: Target, folder: Path, depth: int, scale: float) -> set[str]:
    grid = Softmax().fixed_quantisation()
    graph = model(Softmax(), [activation("x", (1, 3, depth), scale, -4)], grid.s, grid.z)
    rng = np.random.default_rng(0)
    rows = rng.integers(-128, 128, (4, 1, 3, depth)).astype(np.int8)
    rows[1] = rows[1] // 16
    rows[2], rows[3, ..., 1:] = 127, -128
    rows[3, ..., 0] = 127
    made = write_c(graph, plan_memory(graph, target.isa), target.isa)
    write_c_folder(made, graph.name, folder / "c")
    program = build_program(folder / "c", graph.name, target, folder / "b")
    seen = run_program(program, target, graph, [{"x": x} for x in rows]).outputs
    for x, found in zip(rows, seen, strict=True):
        np.testing.assert_array_equal(found[0], outputs(graph, {"x": x})[0])
    return set(made.kernels)


@pytest.mark.parametrize("scale", [1e-4, 0.05, 0.4, 9.0])
@pytest.mark.parametrize("depth", [TABLE_DEPTH, 2048])
def test_on_the_host(tmp_path: Path, depth: int, scale: float):
    host = replace(load_target("host"), flags=SANITIZED)
    assert "tml_softmax_s8_table" in assert_c_equals(host, tmp_path, depth, scale)


def test_on_a_board(tmp_path: Path):
    target = load_target("cortex-m4")
    need(target)
    assert_c_equals(target, tmp_path, 100, 0.1)


def test_short_rows_have_no_table(tmp_path: Path):
    kernels = assert_c_equals(load_target("host"), tmp_path, TABLE_DEPTH - 1, 0.1)
    assert "tml_softmax_s8" in kernels
