# SPDX-License-Identifier: Apache-2.0
"""Gates by a softmax fused: the same integers in C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, wide
from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node
from tinyml.ir.execute import outputs
from tinyml.ops import Gate, Mul, Requantise, Softmax
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c


def gate(
    rows: int,
    depth: int,
    *,
    scores_scale: float = 0.06,
    out_scale: float = 2e-5,
    share_first: bool = False,
    exact: bool = True,
) -> Graph:
    """Values times the softmax of scores, widened as the quantiser widens them."""
    graph = Graph("gate", {}, [], ["v", "s"], ["out"])
    shape = (1, rows, depth)
    made = [
        activation("v", shape, 0.02, -7),
        activation("s", shape, scores_scale, 13),
        wide("v16", shape, 0.02 if exact else 0.001),
        wide("s16", shape, scores_scale),
        wide("shares", shape, 1 / 32768),
        wide("out", shape, out_scale),
    ]
    graph.tensors = {t.name: t for t in made}
    graph.nodes = [
        Node(Requantise(), ("v",), "v16", "v16"),
        Node(Requantise(), ("s",), "s16", "s16"),
        Node(Softmax(), ("s16",), "shares", "shares"),
        Node(Mul(), ("shares", "v16") if share_first else ("v16", "shares"), "out", "product"),
    ]
    graph.check()
    return graph


def feeds(graph: Graph) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = graph.tensors["v"].shape
    made = [
        {n: rng.integers(-128, 128, shape).astype(np.int8) for n in graph.inputs} for _ in range(3)
    ]
    for v, s in ((-128, -128), (127, 127), (-128, 127)):
        made.append({"v": np.full(shape, v, np.int8), "s": np.full(shape, s, np.int8)})
    one = np.full(shape, -128, np.int8)
    one[..., -1] = 127
    made.append({"v": one, "s": one})
    return made


def assert_c_equals(graph: Graph, target: Target, folder: Path) -> Graph:
    c_graph = run_passes(graph, C_PASSES)
    plan = plan_memory(c_graph, target.isa)
    write_c_folder(write_c(c_graph, plan, target.isa), graph.name, folder / "c")
    given = feeds(graph)
    program = build_program(folder / "c", graph.name, target, folder / "build")
    seen = run_program(program, target, c_graph, given).outputs
    for values, found in zip(given, seen, strict=True):
        for a, b in zip(found, outputs(graph, values), strict=True):
            np.testing.assert_array_equal(a, b)
    return c_graph


SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 5, "depth": 8},
        {"rows": 1, "depth": 1, "share_first": True},
        # A steep softmax, an output that saturates; a flat one, and a multiplier above 1.
        {"rows": 2, "depth": 193, "scores_scale": 3.0, "out_scale": 1e-7},
        {"rows": 1, "depth": 2048, "scores_scale": 1e-4, "out_scale": 3e-8},
    ],
)
def test_fused_on_the_host(tmp_path: Path, options):
    host = replace(load_target("host"), flags=SANITIZED)
    c_graph = assert_c_equals(gate(**options), host, tmp_path)
    assert [type(n.op) for n in c_graph.nodes] == [Gate]


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55", "riscv32"])
def test_fused_on_boards(tmp_path: Path, name: str):
    target = load_target(name)
    need(target)
    assert_c_equals(gate(3, 21), target, tmp_path)


def test_what_may_not_be_fused_runs_unfused(tmp_path: Path):
    """Values rounded on their way to int16; shares that others read."""
    read = gate(3, 8)
    read.outputs.append("shares")
    for number, graph in enumerate([gate(3, 8, exact=False), read]):
        c_graph = assert_c_equals(graph, load_target("host"), tmp_path / str(number))
        assert not any(isinstance(n.op, Gate) for n in c_graph.nodes)


def test_copies_that_others_read_are_kept():
    graph = gate(3, 8)
    graph.outputs += ["v16", "s16"]
    made = run_passes(graph, C_PASSES)
    assert sorted(n.op.kind for n in made.nodes) == ["gate", "requantise", "requantise"]
