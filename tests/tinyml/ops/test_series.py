# SPDX-License-Identifier: Apache-2.0
"""Instance scaling in integers: near the reals, defined on every input, the same in C."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.hand_model import need
from tinyml.errors import QuantisationError
from tinyml.export import write_c_folder
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.scaling import Scaling
from tinyml.ops import Reshape
from tinyml.ops.series import (
    COUNT_LIMIT,
    MISSING,
    Restore,
    integer_root,
    to_counts,
)
from tinyml.passes import attach_scaling
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.series import restored, standardised
from tinyml.targets import load_target
from tinyml.writers.c import write_c

TIME, CHANNELS = 24, 2


def forecaster(dtype: DType = DType.INT16, epsilon: float = 1e-5, unit: float = 1e-3) -> Graph:
    """A graph that forecasts the context itself."""
    bound = math.sqrt(TIME)
    scale = bound / (32767 if dtype is DType.INT16 else 127)
    quant = Quantisation.per_tensor(scale, 0 if dtype is DType.INT16 else -3)
    shape = (1, TIME, CHANNELS)
    graph = Graph("forecaster", {}, [], ["past"], ["out"])
    graph.tensors = {n: Tensor(n, shape, dtype, quant) for n in ("past", "out")}
    graph.nodes = [Node(Reshape(shape), ("past",), "out", "same")]
    graph.scaling = Scaling("past", epsilon, (), (0,), unit)
    graph.check()
    return attach_scaling(graph)


def run(graph: Graph, counts: np.ndarray) -> dict[str, np.ndarray]:
    values = {"past": counts}
    for node in graph.nodes:
        arrays = [values[i] for i in node.inputs]
        values[node.output] = node.op.run_int(arrays, graph.ins(node), graph.out(node))
    return values


def series(seed: int, size: float, offset: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((1, TIME, CHANNELS)) * size + offset).astype(np.float32)


@given(st.integers(0, 1 << 62))
@settings(deadline=None)
def test_integer_root(x):
    assert integer_root(x) == math.isqrt(x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 500), st.floats(-5000, 5000))
def test_near_the_reals(seed, size, offset):
    graph = forecaster()
    real = series(seed, size, offset)
    seen = run(graph, to_counts(real, 1e-3))
    mean, deviation = Scaling("past", 1e-5).statistics(real)
    statistics = seen["past_statistics"]
    np.testing.assert_allclose(statistics[0] * 1e-3, mean[0, 0], atol=1.1e-3)
    np.testing.assert_allclose(statistics[1] / 16 * 1e-3, deviation[0, 0], rtol=2e-3, atol=1e-3)
    standard = seen["past_standard"] * graph.tensors["past_standard"].q.s
    np.testing.assert_allclose(standard, (real - mean) / deviation, atol=0.02 / size + 1e-2)
    # There and back again.
    np.testing.assert_allclose(seen["out"] * 1e-3, real, atol=size * 2e-3 + 3e-3)


def test_no_series_saturates():
    """One sample far from all others is as far as a standardised series goes."""
    graph = forecaster()
    counts = np.zeros((1, TIME, CHANNELS), np.int32)
    counts[0, 5, 0] = COUNT_LIMIT
    standard = run(graph, counts)["past_standard"]
    bound = math.sqrt(TIME - 1) / graph.tensors["past_standard"].q.s
    assert abs(standard[0, 5, 0] - bound) < 2


@pytest.mark.parametrize("value", [0, 5, -7, COUNT_LIMIT, 2**31 - 1, -(2**31) + 1])
def test_a_constant_series_forecasts_itself(value):
    seen = run(forecaster(), np.full((1, TIME, CHANNELS), value, np.int32))
    assert not seen["past_standard"].any()
    np.testing.assert_array_equal(seen["out"], np.clip(value, -COUNT_LIMIT, COUNT_LIMIT))


def test_missing_samples_leave_the_statistics_alone():
    counts = to_counts(series(1, 20, 100), 1e-3)
    holed = np.concatenate([counts, counts], axis=1)[:, :TIME]
    holed[0, ::3] = MISSING
    seen, kept = run(forecaster(), holed), np.delete(holed[0], np.s_[::3], axis=0)
    np.testing.assert_array_equal(seen["past_statistics"][0], np.floor(kept.mean(0) + 0.5))
    assert not seen["past_standard"][0, ::3].any()
    everything = np.full_like(counts, MISSING)
    assert not run(forecaster(), everything)["out"].any()
    assert to_counts(np.array([np.nan, 1.0]), 0.5).tolist() == [MISSING, 2]


def test_a_scale_that_is_none_of_a_standard_series_is_refused():
    out = Tensor("y", (1, 4, 1), DType.INT16, Quantisation.per_tensor(100.0, 0))
    with pytest.raises(QuantisationError, match="between 2"):
        Restore().run_int(
            [np.zeros((1, 4, 1), np.int16), np.ones((2, 1), np.int32)], [out, out], out
        )


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16], ids=lambda d: d.value)
def test_c_with_sanitizers(tmp_path, dtype):
    """Random series of every size, extremes, constants and holes."""
    graph = forecaster(dtype)
    rng = np.random.default_rng(3)
    shape = (1, TIME, CHANNELS)
    feeds = [
        rng.integers(-(10**power), 10**power + 1, shape).astype(np.int32) for power in range(10)
    ]
    feeds += [np.full(shape, v, np.int32) for v in (0, 1, -1, 2**31 - 1, -(2**31))]
    feeds.append(np.where(rng.random(shape) < 0.5, MISSING, feeds[4]).astype(np.int32))
    feeds.append(np.where(rng.random(shape) < 0.5, 2**31 - 1, 1 - 2**31).astype(np.int32))
    write_c_folder(write_c(graph, plan_memory(graph)), graph.name, tmp_path / "c")
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    host = replace(load_target("host"), flags=flags)
    program = build_program(tmp_path / "c", graph.name, host, tmp_path / "b")
    seen = run_program(program, host, graph, [{"past": f} for f in feeds]).outputs
    for feed, outputs in zip(feeds, seen, strict=True):
        np.testing.assert_array_equal(outputs[0], run(graph, feed)["out"])


@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4", "riscv32"])
def test_c_on_boards(tmp_path, name):
    """Divisions of 64 bits come from the compiler's library, which must be that of the core."""
    target = load_target(name)
    need(target)
    graph = forecaster()
    rng = np.random.default_rng(4)
    shape = (1, TIME, CHANNELS)
    feeds = [rng.integers(-(10**p), 10**p, shape).astype(np.int32) for p in (1, 4, 9)]
    write_c_folder(write_c(graph, plan_memory(graph)), graph.name, tmp_path / "c")
    program = build_program(tmp_path / "c", graph.name, target, tmp_path / "b")
    seen = run_program(program, target, graph, [{"past": f} for f in feeds]).outputs
    for feed, outputs in zip(feeds, seen, strict=True):
        np.testing.assert_array_equal(outputs[0], run(graph, feed)["out"])


def test_the_two_ends_are_the_whole():
    graph = forecaster()
    counts = to_counts(series(2, 3, 50), 1e-3)
    core = Graph("core", {}, [], ["past"], ["out"])
    core.scaling = Scaling("past", 1e-5, (), (0,), 1e-3)
    given = {"past": counts}
    standard = standardised(core, graph, given)["past"]
    whole = run(graph, counts)
    np.testing.assert_array_equal(standard, whole["past_standard"])
    np.testing.assert_array_equal(restored(core, graph, given, [standard])[0], whole["out"])
