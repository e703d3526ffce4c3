# SPDX-License-Identifier: Apache-2.0
"""Gradients of generated C and of the numpy reference equal PyTorch's, on every supported layer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.learn.conftest import SANITIZED
from tests.tinyml.learn.networks import (
    KINDS,
    random_graph,
    sample_for,
    target_for,
    torch_gradient,
)
from tinyml.ir.execute import outputs
from tinyml.learn import LearnOptions, Loss, make_learner
from tinyml.learn.firmware import Session, build_learner
from tinyml.learn.native import load_native
from tinyml.learn.reference import gradient
from tinyml.targets import load_target

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

# Of the largest entry. Sums of up to some hundred float32 products leave a few 1e-7.
BOUND = 1e-5


def relative(a: np.ndarray, b: np.ndarray) -> float:
    scale = float(np.abs(b).max(initial=0.0))
    return float(np.abs(a - b).max(initial=0.0)) / (scale or 1.0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), loss=st.sampled_from(Loss))
def test_gradient_equals_autograd(runtime: Path, kind: str, seed: int, loss: Loss):
    graph = random_graph(seed, kind)
    rng = np.random.default_rng(seed)
    sample = sample_for(graph, rng)
    learner = make_learner(graph, LearnOptions("all", loss=loss))
    target = target_for(loss, learner.program.outputs, rng)
    value, expected = torch_gradient(graph, loss, sample, target)

    reference = gradient(learner.program, learner.program.vector(), sample, target)
    assert reference.loss == pytest.approx(value, rel=1e-9)
    assert relative(reference.gradient, expected) < 1e-9

    with tempfile.TemporaryDirectory() as folder:
        native = load_native(learner, Path(folder), SANITIZED, runtime)
        seen, found = native.gradient(sample, target)
    assert seen == pytest.approx(value, rel=BOUND, abs=1e-6)
    assert relative(found, expected) < BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_equal_the_float_graph(runtime: Path, kind: str, tmp_path: Path):
    graph = random_graph(7, kind)
    sample = sample_for(graph, np.random.default_rng(0))
    learner = make_learner(graph, LearnOptions("all", loss=Loss.MSE))
    native = load_native(learner, tmp_path, SANITIZED, runtime)
    seen = native.predict(sample)
    assert seen.status == "OK"
    np.testing.assert_allclose(
        seen.outputs, outputs(graph, {"x": sample})[0].ravel(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["dense", "depthwise", "residual"])
def test_boards_compute_the_same_bits(runtime: Path, kind: str, tmp_path: Path):
    target = load_target("cortex-m4")
    if shutil.which(target.compiler) is None or shutil.which("qemu-system-arm") is None:
        pytest.skip("no cross compiler or emulator")
    graph = random_graph(11, kind)
    rng = np.random.default_rng(1)
    learner = make_learner(graph, LearnOptions("all", rate=0.05))
    native = load_native(learner, tmp_path / "host", SANITIZED, runtime)
    session = Session(learner.facts)
    samples = [
        (sample_for(graph, rng), target_for(Loss.CROSS_ENTROPY, native.state.outputs, rng))
        for _ in range(5)
    ]
    first = session.gradient(*samples[0])
    steps = [session.step(x, y) for x, y in samples]
    last = session.weights()
    built = build_learner(learner.facts, tmp_path / "host" / "c", target, tmp_path / "board")
    played = session.run(built, target)

    _, expected = torch_gradient(graph, Loss.CROSS_ENTROPY, *samples[0])
    status, _, found = played.replies[first]  # type: ignore[misc]
    assert status == "OK"
    assert relative(found, expected) < BOUND
    np.testing.assert_array_equal(found, native.gradient(*samples[0])[1])
    for number, (x, y) in zip(steps, samples, strict=True):
        here, there = native.step(x, y), played.stepped(number)
        assert here.status == there.status == "OK"
        assert here.loss == there.loss
        np.testing.assert_array_equal(here.outputs, there.outputs)
    np.testing.assert_array_equal(played.replies[last], native.weights)
