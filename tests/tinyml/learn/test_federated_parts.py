# SPDX-License-Identifier: Apache-2.0
"""What federated methods need of a device: changes, selections, gradients of pruned weights,
statistics."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.tinyml.learn.conftest import SANITIZED, Load
from tests.tinyml.learn.networks import mlp, random_graph, sample_for
from tests.tinyml.learn.test_streaming import Statistics
from tinyml.learn import LearnOptions, make_learner
from tinyml.learn.native import CTarget, NativeLearner, load_native
from tinyml.learn.reference import forward, gradient

_NEXT = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(CTarget)
)


class CStream(ctypes.Structure):
    """tml_learn_stream_t."""

    _fields_ = (("context", ctypes.c_void_p), ("next", _NEXT))


class Result(ctypes.Structure):
    """tml_learn_result_t."""

    _fields_ = (
        ("samples", ctypes.c_uint32),
        ("learned", ctypes.c_uint32),
        ("refused", ctypes.c_uint32),
        ("correct", ctypes.c_uint32),
        ("loss", ctypes.c_float),
        ("squared_error", ctypes.c_float),
    )


class Top(ctypes.Structure):
    """tml_learn_top_t."""

    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("reference", ctypes.c_void_p),
        ("count", ctypes.c_uint32),
        ("next", ctypes.c_uint32),
        ("threshold", ctypes.c_uint32),
        ("ties", ctypes.c_uint32),
    )


class Entry(ctypes.Structure):
    """tml_learn_entry_t."""

    _fields_ = (("index", ctypes.c_uint32), ("value", ctypes.c_float))


class Heap(ctypes.Structure):
    """tml_learn_heap_t, with memory."""

    _fields_ = (
        ("entries", ctypes.POINTER(Entry)),
        ("capacity", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
    )

    @staticmethod
    def of(capacity: int) -> Heap:
        return Heap((Entry * max(capacity, 1))(), capacity, 0)

    def found(self) -> dict[int, float]:
        return {self.entries[i].index: self.entries[i].value for i in range(self.size)}


class Stream:
    """Samples and targets as a tml_learn_stream_t."""

    def __init__(self, learner: NativeLearner, pairs: Iterable[tuple[np.ndarray, object]]) -> None:
        self.learner = learner
        self.pairs: Iterator[tuple[np.ndarray, object]] = iter(pairs)
        self.input = np.zeros(learner.facts.inputs, np.float32)
        self.kept: object = None
        self.c = CStream(None, _NEXT(self._next))

    def _next(self, context: object, values: object, target: object) -> int:
        pair = next(self.pairs, None)
        if pair is None:
            return 1
        sample = np.ascontiguousarray(np.ravel(pair[0]), np.float32)
        ctypes.memmove(values, sample.ctypes.data, sample.nbytes)  # type: ignore[arg-type]
        target[0], self.kept = self.learner.target(pair[1])  # type: ignore[index,arg-type]
        return 0


@pytest.fixture(scope="module")
def c(runtime, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("c")
    learner = make_learner(mlp((2, 2)), LearnOptions("all"))
    library = load_native(learner, folder, SANITIZED, runtime).c
    library.tml_learn_top_next.restype = ctypes.c_bool
    return library


def top(c: ctypes.CDLL, a: np.ndarray, b: np.ndarray | None, keep: int) -> dict[int, float]:
    state = Top()
    c.tml_learn_top_begin(
        ctypes.byref(state),
        ctypes.c_void_p(a.ctypes.data),
        None if b is None else ctypes.c_void_p(b.ctypes.data),
        len(a),
        keep,
    )
    index, change = ctypes.c_uint32(), ctypes.c_float()
    found = {}
    while c.tml_learn_top_next(ctypes.byref(state), ctypes.byref(index), ctypes.byref(change)):
        assert index.value not in found
        found[index.value] = change.value
    assert list(found) == sorted(found)
    return found


@settings(max_examples=150, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.floats(-8, 8, width=32).map(lambda x: round(x * 2) / 2)
        | st.floats(-8, 8, width=32),
    ),
    keep=st.integers(0, 70),
    differs=st.booleans(),
)
def test_top_changes_are_exactly_the_largest(
    c: ctypes.CDLL, values: np.ndarray, keep: int, differs: bool
):
    reference = np.roll(values, 1) if differs else None
    change = values - reference if reference is not None else values
    found = top(c, values, reference, keep)
    order = np.lexsort((np.arange(len(change)), -np.abs(change)))[:keep]
    assert set(found) == {int(i) for i in order}
    for index, value in found.items():
        assert value == change[index]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), max_size=50), capacity=st.integers(0, 20))
def test_heap_holds_the_largest(c: ctypes.CDLL, values: list[float], capacity: int):
    heap = Heap.of(capacity)
    for index, value in enumerate(values):
        c.tml_learn_heap_push(ctypes.byref(heap), ctypes.c_uint32(index), ctypes.c_float(value))
    kept = sorted(abs(v) for v in heap.found().values())
    assert kept == sorted(abs(v) for v in values)[max(len(values) - capacity, 0) :]
    assert all(values[i] == v for i, v in heap.found().items())


def test_quantised_change_is_within_half_a_step(load: Load):
    learner = load(mlp((3, 8, 2)), LearnOptions("all"))
    before = learner.weights
    rng = np.random.default_rng(0)
    learner.set_weights(before + rng.normal(0, 0.1, len(before)))
    change = learner.weights - before
    delta, scale = np.zeros(len(before), np.int8), ctypes.c_float()
    pointer = ctypes.c_void_p(before.ctypes.data)
    status = learner.c.tml_learn_get_delta_s8(
        learner.me, pointer, 0, len(before), ctypes.c_void_p(delta.ctypes.data), ctypes.byref(scale)
    )
    assert status == 0
    assert scale.value == pytest.approx(np.abs(change).max() / 127, rel=1e-6)
    assert np.abs(delta * scale.value - change).max() <= scale.value * 0.5001
    learner.set_weights(before)
    data = ctypes.c_void_p(delta.ctypes.data)
    assert learner.c.tml_learn_add_delta_s8(learner.me, 0, len(before), data, scale) == 0
    np.testing.assert_allclose(learner.weights, before + delta * scale.value, rtol=1e-6, atol=1e-7)
    now = learner.weights
    for bad in (np.nan, np.inf, 3e38):
        status = learner.c.tml_learn_add_delta_s8(
            learner.me, 0, len(before), data, ctypes.c_float(bad)
        )
        assert status == -1
    assert learner.c.tml_learn_add_delta_s8(learner.me, 1, len(before), data, scale) == -4
    np.testing.assert_array_equal(learner.weights, now)


def pairs(graph, outputs: int, count: int, seed: int) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(seed)
    return [(sample_for(graph, rng), int(rng.integers(outputs))) for _ in range(count)]


def test_run_and_evaluate_count_what_happens(load: Load):
    graph = mlp((2, 2))
    learner = load(graph, LearnOptions("all", rate=0.1))
    rng = np.random.default_rng(0)
    data: list[tuple[np.ndarray, int]] = []
    for index in range(300):
        x = rng.normal(0, 1, 2)
        data.append((x, 7 if index % 100 == 0 else int(x[0] > 0)))
    data[5] = (np.array([np.nan, 0]), 0)
    stream, result = Stream(learner, data), Result()
    scratch = ctypes.c_void_p(stream.input.ctypes.data)
    call = (ctypes.byref(stream.c), 1000, scratch, ctypes.byref(result))
    assert learner.c.tml_learn_run(learner.me, *call) == 3
    assert (result.samples, result.learned, result.refused) == (300, 296, 4)
    weights = learner.weights
    stream = Stream(learner, data)
    call = (ctypes.byref(stream.c), 200, scratch, ctypes.byref(result))
    assert learner.c.tml_learn_evaluate(learner.me, *call) == 0
    assert (result.samples, result.refused) == (200, 3)
    assert result.correct > 185
    assert 0 < result.loss < 0.5
    np.testing.assert_array_equal(learner.weights, weights)


@pytest.mark.parametrize(("kind", "seed"), [("dense", 3), ("conv", 5), ("depthwise", 5)])
def test_masked_weights_stay_zero_and_their_largest_gradients_are_found(
    load: Load, kind: str, seed: int
):
    graph = random_graph(seed, kind)
    learner = load(graph, LearnOptions("all", rate=0.05))
    program = make_learner(graph, LearnOptions("all")).program
    count = learner.facts.weight_count
    rng = np.random.default_rng(seed)
    active = rng.random(count) < 0.5
    at, biases = 0, []
    for layer in program.layers:
        rows = len(layer.weights) * layer.row_length
        biases.append((at + rows, at + rows + layer.channels))
        active[slice(*biases[-1])] = True
        at += layer.trained_weights
    mask = np.packbits(active, bitorder="little")
    learner.handle.mask = mask.ctypes.data
    learner.set_weights(np.where(active, learner.weights, 0))
    data = pairs(graph, program.outputs, 6, seed)
    for sample, target in data:
        assert learner.step(sample, target).status == "OK"
    weights = learner.weights
    assert np.all(weights[~active] == 0)
    assert np.any(weights[active] != 0)

    mean = np.mean([gradient(program, weights, x, y).gradient for x, y in data], axis=0)
    start = 0
    for index, layer in enumerate(program.layers):
        rows = len(layer.weights) * layer.row_length
        pruned = [i for i in range(start, start + rows) if not active[i]]
        start += layer.trained_weights
        largest = sorted(pruned, key=lambda i: -abs(mean[i]))[:4]
        heap = Heap.of(4)
        need = learner.c.tml_learn_capture_bytes(ctypes.c_void_p(learner.model), index, 6)
        memory = np.zeros(need // 4 + 1, np.float32)
        stream = Stream(learner, data)
        arguments = (
            index,
            ctypes.byref(stream.c),
            6,
            ctypes.c_void_p(stream.input.ctypes.data),
            ctypes.c_void_p(memory.ctypes.data),
        )
        status = learner.c.tml_learn_top_gradients(
            learner.me, *arguments, need - 1, ctypes.byref(heap)
        )
        assert status == -8
        status = learner.c.tml_learn_top_gradients(learner.me, *arguments, need, ctypes.byref(heap))
        assert status == 0
        found = heap.found()
        assert len(found) == min(4, len(pruned))
        scale = np.abs(mean).max()
        for weight, value in found.items():
            assert weight in pruned
            assert abs(value - mean[weight]) < 1e-5 * scale
        # Equal magnitudes may be exchanged; their sizes may not differ.
        kept = sorted(abs(mean[i]) for i in found)
        np.testing.assert_allclose(kept, sorted(abs(mean[i]) for i in largest), atol=1e-5 * scale)
    np.testing.assert_array_equal(learner.weights, weights)


@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise"])
def test_statistics_before_the_activation_and_renormalisation(load: Load, kind: str):
    graph = random_graph(5, kind)
    learner = load(graph, LearnOptions("all"))
    program = make_learner(graph, LearnOptions("all")).program
    layer = program.layers[0]
    step = next(s for s in program.steps if s.op is layer)
    data = pairs(graph, program.outputs, 30, 0)

    def collect() -> Statistics:
        moments = Statistics(learner.c, layer.channels)
        stream = Stream(learner, data)
        status = learner.c.tml_learn_collect(
            learner.me,
            0,
            ctypes.byref(stream.c),
            30,
            ctypes.c_void_p(stream.input.ctypes.data),
            ctypes.byref(moments.raw),
        )
        assert status == 0
        return moments

    moments = collect()
    weights = learner.weights
    rows = np.concatenate(
        [forward(program, weights, x)[step.output].reshape(-1, layer.channels) for x, _ in data]
    )
    assert moments.raw.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(moments.m2 / len(rows), rows.var(axis=0), rtol=1e-3, atol=1e-5)
    gamma = np.linspace(0.5, 2, layer.channels).astype(np.float32)
    beta = np.linspace(-1, 1, layer.channels).astype(np.float32)
    status = learner.c.tml_learn_renormalise(
        learner.me,
        0,
        ctypes.byref(moments.raw),
        ctypes.c_void_p(gamma.ctypes.data),
        ctypes.c_void_p(beta.ctypes.data),
    )
    assert status == 0
    after = collect()
    varies = rows.var(axis=0) > 1e-3
    np.testing.assert_allclose(after.mean, beta, atol=1e-3)
    deviation = np.sqrt(after.m2 / len(rows))
    np.testing.assert_allclose(deviation[varies], gamma[varies], rtol=2e-2)
