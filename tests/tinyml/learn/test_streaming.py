# SPDX-License-Identifier: Apache-2.0
"""One sample at a time: statistics, guards, drift, new classes, divergence, bad input."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.learn.conftest import Load
from tests.tinyml.learn.networks import mlp
from tinyml.learn import LearnOptions, Loss, Optimizer, Standardise
from tinyml.learn.native import NativeLearner, State
from tinyml.learn.reference import gradient


class Moments(ctypes.Structure):
    """tml_moments_t."""

    _fields_ = (
        ("features", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("mean", ctypes.c_void_p),
        ("m2", ctypes.c_void_p),
    )


class Statistics:
    """A tml_moments_t with its memory."""

    def __init__(self, c: ctypes.CDLL, features: int) -> None:
        self.c = c
        self.mean, self.m2 = np.zeros(features, np.float32), np.zeros(features, np.float32)
        self.raw = Moments(features, 0, self.mean.ctypes.data, self.m2.ctypes.data)

    def add(self, sample: np.ndarray, window: int = 0) -> None:
        array = np.ascontiguousarray(sample, np.float32)
        self.c.tml_moments_add(
            ctypes.byref(self.raw), ctypes.c_void_p(array.ctypes.data), ctypes.c_uint32(window)
        )

    def merge(self, other: Statistics) -> None:
        self.c.tml_moments_merge(
            ctypes.byref(self.raw),
            ctypes.c_uint32(other.raw.count),
            ctypes.c_void_p(other.mean.ctypes.data),
            ctypes.c_void_p(other.m2.ctypes.data),
        )

    @property
    def variance(self) -> np.ndarray:
        return self.m2 / max(self.raw.count - 1, 1)


@pytest.fixture(scope="module")
def c(runtime, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    from tests.tinyml.learn.conftest import SANITIZED
    from tinyml.learn import make_learner
    from tinyml.learn.native import load_native

    folder = tmp_path_factory.mktemp("c")
    return load_native(make_learner(mlp((2, 2)), LearnOptions("all")), folder, SANITIZED, runtime).c


def test_welford_equals_numpy_far_from_zero(c: ctypes.CDLL):
    # A sum of squares in float32 would lose everything here.
    data = np.random.default_rng(0).normal(10_000.0, 3.0, (4000, 3))
    seen = Statistics(c, 3)
    for row in data:
        seen.add(row)
    exact = data.astype(np.float32).astype(float)
    # The step d / n vanishes below half a unit in the last place, 0.0005 here.
    np.testing.assert_allclose(seen.mean, exact.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(seen.variance, exact.var(axis=0, ddof=1), rtol=5e-3)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_merged_statistics_are_those_of_all_samples(c: ctypes.CDLL, sizes: list[int], seed: int):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(), 2.0, (n, 2)) for n in sizes]
    merged = Statistics(c, 2)
    for part in parts:
        one = Statistics(c, 2)
        for row in part:
            one.add(row)
        merged.merge(one)
    rows = np.concatenate(parts)
    assert merged.raw.count == len(rows)
    if len(rows) > 1:
        np.testing.assert_allclose(merged.mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(merged.variance, rows.var(axis=0, ddof=1), rtol=1e-3, atol=1e-5)


def test_moving_average_follows_a_change_and_welford_does_not(c: ctypes.CDLL):
    rng = np.random.default_rng(1)
    moving, all_time = Statistics(c, 1), Statistics(c, 1)
    for x in np.concatenate([rng.normal(0, 1, 3000), rng.normal(50, 4, 500)]):
        moving.add(np.array([x]), 50)
        all_time.add(np.array([x]))
    assert abs(moving.mean[0] - 50) < 3
    assert 2 < np.sqrt(moving.variance[0]) < 7
    assert moving.raw.count == 50
    assert all_time.mean[0] < 10


def test_warm_up_then_frozen(load: Load):
    options = LearnOptions("all", standardise=Standardise.WARMUP, window=20, loss=Loss.MSE)
    learner = load(mlp((2, 4, 1)), options)
    rng = np.random.default_rng(0)
    samples = rng.normal((100, -5), (10, 0.1), (60, 2)).astype(np.float32)
    statuses = [learner.step(x, np.ones(1)).status for x in samples]
    assert statuses == ["WARMING"] * 20 + ["OK"] * 40
    assert learner.state.statistics_count == 20
    assert learner.state.standardise == 3
    mean, deviation = samples[:20].mean(axis=0), samples[:20].std(axis=0, ddof=1)
    # The network reads standardised values.
    weights = learner.weights
    program = mlp((2, 4, 1))
    from tinyml.learn import make_learner

    reference = make_learner(program, LearnOptions("all", loss=Loss.MSE)).program
    expected = gradient(reference, weights, (samples[0] - mean) / deviation, np.zeros(1)).outputs
    np.testing.assert_allclose(learner.predict(samples[0]).outputs, expected, rtol=1e-3)


def test_outliers_change_neither_statistics_nor_weights(load: Load):
    options = LearnOptions("all", standardise=Standardise.EMA, window=100, loss=Loss.MSE)
    learner = load(mlp((2, 3, 1)), options)
    learner.handle.outlier_limit = 6.0
    rng = np.random.default_rng(0)
    for _ in range(200):
        learner.step(rng.normal(0, 1, 2), np.zeros(1))
    before, count = learner.weights, bytes(learner.state)
    assert learner.step(np.array([0.0, 80.0]), np.zeros(1)).status == "GUARDED"
    np.testing.assert_array_equal(learner.weights, before)
    assert bytes(learner.state) == count
    assert learner.step(rng.normal(0, 1, 2), np.zeros(1)).status == "OK"


def test_an_autoencoder_learns_only_below_its_loss_limit(load: Load):
    learner = load(mlp((3, 2, 3)), LearnOptions("all", loss=Loss.MSE))
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = rng.normal(0, 0.3, 3)
        learner.step(x, x)
    learner.handle.loss_limit = 5.0
    before = learner.weights
    strange = np.array([9.0, -9.0, 9.0])
    stepped = learner.step(strange, strange)
    assert stepped.status == "GUARDED"
    assert stepped.loss > 5.0
    np.testing.assert_array_equal(learner.weights, before)


def test_drift_is_detected_when_labels_change_their_meaning(load: Load):
    learner = load(mlp((2, 2)), LearnOptions("all", rate=0.1))
    rng = np.random.default_rng(0)

    def stream(count: int, flipped: bool) -> None:
        for _ in range(count):
            x = rng.normal(0, 1, 2)
            learner.step(x, int((x[0] > 0) != flipped))

    stream(1500, False)
    assert learner.state.drifts == 0
    stream(100, True)
    assert learner.state.drifts >= 1


def test_a_class_is_added_and_learned(load: Load):
    learner = load(mlp((2, 8, 3)), LearnOptions("all", rate=0.1, classes=4))
    centres = np.array([[2, 0], [-2, 0], [0, 2], [0, -2]], float)
    rng = np.random.default_rng(0)

    def learn(classes: int, steps: int) -> None:
        for _ in range(steps):
            label = int(rng.integers(classes))
            learner.step(centres[label] + rng.normal(0, 0.3, 2), label)

    learn(3, 400)
    assert learner.step(centres[3], 3).status == "BAD_TARGET"
    assert len(learner.predict(centres[0]).outputs) == 3
    assert learner.c.tml_learn_add_class(learner.me) == 0
    assert learner.c.tml_learn_add_class(learner.me) == -5
    assert len(learner.predict(centres[0]).outputs) == 4
    learn(4, 600)
    hits = [int(np.argmax(learner.predict(centre).outputs)) for centre in centres]
    assert hits == [0, 1, 2, 3]


@pytest.mark.parametrize("loss", Loss)
def test_bad_input_is_refused_and_changes_nothing(load: Load, loss: Loss):
    learner = load(mlp((3, 4, 2)), LearnOptions("all", loss=loss, optimizer=Optimizer.MOMENTUM))
    good: int | np.ndarray = 1 if loss is Loss.CROSS_ENTROPY else np.array([0.0, 1.0])
    learner.step(np.ones(3), good)
    before = learner.weights, bytes(learner.state)
    for value in (np.nan, np.inf, -np.inf):
        assert learner.step(np.array([0, value, 0]), good).status == "BAD_INPUT"
        assert learner.predict(np.array([0, value, 0])).status == "BAD_INPUT"
    bad: list[int | np.ndarray]
    if loss is Loss.CROSS_ENTROPY:
        bad = [2, -1, 2**31 - 1, -(2**31)]
    else:
        bad = [np.array([0.0, np.nan]), np.array([np.inf, 0.0])]
        bad += [np.array([0.0, 1.01]), np.array([-0.01, 0.0])] if loss is Loss.BCE else []
    for target in bad:
        assert learner.step(np.ones(3), target).status == "BAD_TARGET"
    np.testing.assert_array_equal(learner.weights, before[0])
    assert bytes(learner.state) == before[1]
    assert learner.set_weights(np.full(learner.facts.weight_count, np.nan)) == "BAD_INPUT"
    assert learner.set_weights(np.zeros(2), learner.facts.weight_count - 1) == "BAD_ARGUMENT"
    np.testing.assert_array_equal(learner.weights, before[0])


@pytest.mark.parametrize("loss", Loss)
def test_a_diverging_rate_is_detected_and_rolled_back(load: Load, loss: Loss):
    learner = load(mlp((4, 16, 16, 3)), LearnOptions("all", loss=loss, rate=500.0))
    exported = learner.weights
    rng = np.random.default_rng(0)
    statuses = []
    for _ in range(400):
        x = rng.normal(0, 3, 4)
        label = int(x[0] > 0) + int(x[1] > 0)
        stepped = learner.step(x, label if loss is Loss.CROSS_ENTROPY else np.eye(3)[label])
        statuses.append(stepped.status)
        if stepped.status == "DIVERGED":
            break
    assert statuses[-1] == "DIVERGED"
    np.testing.assert_array_equal(learner.weights, exported)
    assert np.all(np.isfinite(learner.predict(np.ones(4)).outputs))
    # It learns again at a sane rate.
    learner.handle.rate = 0.02
    for _ in range(200):
        x = rng.normal(0, 1, 4)
        label = int(x[0] > 0) + int(x[1] > 0)
        target = label if loss is Loss.CROSS_ENTROPY else np.eye(3)[label]
        assert learner.step(x, target).status == "OK"


def test_momentum_is_that_of_torch(load: Load):
    import torch

    graph = mlp((3, 5, 2))
    learner = load(
        graph, LearnOptions("all", loss=Loss.MSE, optimizer=Optimizer.MOMENTUM, rate=0.05)
    )
    from tinyml.learn import make_learner

    program = make_learner(graph, LearnOptions("all", loss=Loss.MSE)).program
    parameter = torch.nn.Parameter(torch.tensor(program.vector(), dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(30):
        x, y = rng.normal(0, 1, (1, 3)), rng.normal(0, 1, 2)
        learner.step(x, y)
        x32, y32 = x.astype(np.float32), y.astype(np.float32)
        found = gradient(program, parameter.detach().numpy(), x32, y32)
        parameter.grad = torch.tensor(found.gradient)
        optimizer.step()
    np.testing.assert_allclose(learner.weights, parameter.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_the_state_in_python_is_the_one_in_c(load: Load):
    learner: NativeLearner = load(mlp((1, 2)), LearnOptions("all"))
    assert ctypes.sizeof(State) == 60
    assert learner.state.outputs == 2
    assert learner.state.drift_threshold == 10.0
