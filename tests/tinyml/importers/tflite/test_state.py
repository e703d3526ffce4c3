# SPDX-License-Identifier: Apache-2.0
"""Models that keep state between runs, over sequences of runs: TFLite-Micro, numpy and C agree."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, powers, seeds, zero_points
from tinyml.export import write_c_folder
from tinyml.importers.tflite import import_tflite
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.execute import initial_state, outputs
from tinyml.ir.random_feed import random_feed
from tinyml.ops import Add, Concatenation, Lstm, Slice, Svdf
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c
from tinyml.writers.tflite import write_tflite

RUNS = 8
SHARED = ["keyword_scrambled", "keyword_scrambled_8bit", "trained_lstm_int8"]
WAKE_WORDS = ["alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"]
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def constant(rng, name, shape, scale, dtype=DType.INT8, limit=127):
    data = rng.integers(-limit, limit + 1, shape).astype(dtype.numpy)
    return Tensor(name, tuple(shape), dtype, Quantisation.per_tensor(scale, 0), data)


def single(op, ins: list[Tensor], out: Tensor) -> Graph:
    """One node; the tensors it mutates are variables at real zero."""
    graph = Graph("stateful", {t.name: t for t in [*ins, out]}, [], [ins[0].name], [out.name])
    for index in op.mutates:
        t = ins[index]
        graph.variables[t.name] = np.full(t.shape, t.q.z, t.dtype.numpy)
    graph.nodes.append(Node(op, tuple(t.name for t in ins), out.name, op.kind))
    graph.check()
    return graph


def svdf(rng, units, rank, inputs, memory, dtype, zeros, ratio) -> Graph:
    filters = units * rank
    zero = zeros[1] if dtype is DType.INT8 else 0
    state_scale = 0.05 if dtype is DType.INT8 else 0.0005
    limit = 127 if dtype is DType.INT8 else 2000
    state = Tensor("state", (1, filters * memory), dtype,
                   Quantisation.per_tensor(state_scale, zero))  # fmt: skip
    ins = [
        activation("x", (1, inputs), 0.04, zeros[0]),
        constant(rng, "feature", (filters, inputs), 0.01),
        constant(rng, "time", (filters, memory), 0.02, dtype, limit),
        constant(rng, "bias", (units,), state_scale * 0.02, DType.INT32, 1000),
        state,
    ]
    return single(Svdf(rank), ins, activation("y", (1, units), 0.1 * ratio, zeros[2]))


def lstm(rng, steps, inputs, units, clip, zeros) -> Graph:
    ins = [activation("x", (1, steps, inputs), 0.03, zeros[0])]
    ins += [constant(rng, f"w{g}", (units, inputs), 0.01) for g in range(4)]
    ins += [constant(rng, f"r{g}", (units, units), 0.01) for g in range(4)]
    ins += [constant(rng, f"b{g}", (units,), 0.0003, DType.INT32, 4000) for g in range(4)]
    ins.append(activation("hidden", (1, units), 1 / 128, zeros[1]))
    cell = Quantisation.per_tensor(2.0**-12, 0)
    ins.append(Tensor("state", (1, units), DType.INT16, cell))
    return single(Lstm(clip), ins, activation("y", (1, steps, units), 1 / 128, zeros[1]))


def stream() -> Graph:
    """A window of 4 frames over a stream, kept in a variable that does not start at zero."""
    x, window = activation("x", (1, 2, 3), 0.05, 7), activation("window", (1, 4, 3), 0.05, 7)
    graph = Graph("stream", {t.name: t for t in (x, window)}, [], ["x"], [])
    steps = [
        (Concatenation(1), ("window", "x"), activation("all", (1, 6, 3), 0.05, 7)),
        (Slice((0, 2, 0), (1, 4, 3)), ("all",), activation("next", (1, 4, 3), 0.05, 7)),
        (Add(), ("all", "all"), activation("y", (1, 6, 3), 0.1, 0)),
    ]
    for op, ins, out in steps:
        graph.tensors[out.name] = out
        graph.nodes.append(Node(op, ins, out.name, out.name))
    graph.outputs = ["y"]
    graph.variables["window"] = np.full((1, 4, 3), 7, np.int8)
    graph.updates["window"] = "next"
    graph.check()
    return graph


def feeds_of(graph: Graph, seed: int, runs: int = RUNS) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [random_feed(graph, rng) for _ in range(runs)]


def assert_equal_to_micro(graph: Graph, data: bytes, seed: int, runs: int = RUNS) -> None:
    micro, state = TfliteMicro(data, graph), initial_state(graph)
    for feed in feeds_of(graph, seed, runs):
        for a, b in zip(outputs(graph, feed, state), micro.run(feed), strict=True):
            np.testing.assert_array_equal(a, b)


def assert_equal_in_c(graph: Graph, target: Target, folder: Path) -> None:
    c_graph = run_passes(graph, C_PASSES)
    plan = plan_memory(c_graph, target.isa)
    write_c_folder(write_c(c_graph, plan, target.isa), graph.name, folder / "c")
    program = build_program(folder / "c", graph.name, target, folder / "build")
    feeds, state = feeds_of(graph, 0), initial_state(graph)
    for feed, seen in zip(feeds, run_program(program, target, c_graph, feeds).outputs, strict=True):
        for a, b in zip(seen, outputs(graph, feed, state), strict=True):
            np.testing.assert_array_equal(a, b)


@settings(max_examples=60)
@given(
    units=st.integers(1, 5),
    rank=st.integers(1, 2),
    inputs=st.integers(1, 9),
    memory=st.integers(1, 6),
    dtype=st.sampled_from([DType.INT8, DType.INT16]),
    zeros=st.tuples(zero_points, zero_points, zero_points),
    ratio=powers(-2, 4),
    seed=seeds,
)
def test_svdf(units, rank, inputs, memory, dtype, zeros, ratio, seed):
    rng = np.random.default_rng(seed)
    graph = svdf(rng, units, rank, inputs, memory, dtype, zeros, ratio)
    assert_equal_to_micro(graph, write_tflite(graph), seed)


@settings(max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 6)),
    clip=st.sampled_from([0.0, 0.5, 10.0]),
    zeros=st.tuples(zero_points, st.integers(-5, 5)),
    seed=seeds,
)
def test_lstm(sizes, clip, zeros, seed):
    graph = lstm(np.random.default_rng(seed), *sizes, clip, zeros)
    assert_equal_to_micro(graph, write_tflite(graph), seed)


def test_resource_variables():
    graph = stream()
    data = write_tflite(graph)
    assert_equal_to_micro(graph, data, 0)
    again = import_tflite(data)
    assert len(again.variables) == len(again.updates) == 1
    assert_equal_to_micro(again, data, 1)


@pytest.mark.parametrize("target", ["host", "cortex-m0", "cortex-m4", "riscv32"])
def test_state_in_c(tmp_path, target):
    board = load_target(target)
    if board.is_host:
        board = replace(board, flags=SANITIZED)
    else:
        need(board)
    rng = np.random.default_rng(3)
    models = [
        stream(),
        svdf(rng, 3, 2, 5, 4, DType.INT16, (4, 0, -9), 1.0),
        svdf(rng, 2, 1, 7, 3, DType.INT8, (4, 17, -9), 1.0),
        lstm(rng, 3, 5, 4, 0.5, (9, -3)),
    ]
    for index, graph in enumerate(models):
        assert_equal_in_c(graph, board, tmp_path / str(index))


def test_a_variable_that_does_not_start_at_zero_is_set_by_reset(tmp_path):
    graph = stream()
    graph.variables["window"] = np.arange(12, dtype=np.int8).reshape(1, 4, 3)
    assert_equal_in_c(graph, load_target("host"), tmp_path)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_foreign_model(shared_data, tmp_path, name, target):
    data = (shared_data / "models" / f"{name}.tflite").read_bytes()
    assert_foreign(data, name, target, tmp_path)


@pytest.mark.parametrize("name", WAKE_WORDS)
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_wake_word(tmp_path, name, target):
    found = importlib.util.find_spec("pymicro_wakeword")
    if found is None or found.origin is None:
        pytest.skip("pymicro-wakeword is not installed")
    file = Path(found.origin).parent / "models" / f"{name}.tflite"
    assert_foreign(file.read_bytes(), name, target, tmp_path)


def assert_foreign(data: bytes, name: str, target: str, folder: Path) -> None:
    graph = import_tflite(data, name)
    assert graph.variables
    if target == "host":
        assert_equal_to_micro(graph, data, 1, 40)
        assert_equal_in_c(graph, replace(load_target("host"), flags=SANITIZED), folder)
    else:
        board = load_target(target)
        need(board)
        assert_equal_in_c(graph, board, folder)
