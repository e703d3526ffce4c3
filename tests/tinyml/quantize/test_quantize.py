# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinyml.passes.test_passes import Builder
from tinyml.errors import CalibrationError, QuantisationError
from tinyml.ir.operator import affine
from tinyml.ops import Concatenation, Logistic, Relu, Reshape, Softmax
from tinyml.quantize import calibrate, observer_named, quantise
from tinyml.quantize.observers import (
    BINS,
    Entropy,
    Histogram,
    MeanSquaredError,
    MinMax,
    Percentile,
)
from tinyml.quantize.quantizer import check_finite


def histogram(values: np.ndarray) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0])


def gaussian_with_outlier() -> np.ndarray:
    return np.append(np.random.default_rng(0).standard_normal(100_000), 40.0)


def squared_error(values: np.ndarray, bounds: tuple[float, float]) -> float:
    grid = affine(*bounds)
    return float(np.mean((grid.dequantise(grid.quantise(values)) - values) ** 2))


def test_minmax_keeps_everything():
    seen = histogram(gaussian_with_outlier())
    assert MinMax().range(seen) == (seen.low, seen.high)
    assert seen.outside(seen.low, seen.high) == 0.0


def test_percentile_drops_the_tails_it_is_told_to():
    seen = histogram(gaussian_with_outlier())
    low, high = Percentile(99.0).range(seen)
    assert -2.9 < low < -2.4
    assert 2.4 < high < 2.9
    assert 0.005 < seen.outside(low, high) < 0.015


def test_mse_loses_less_than_minmax_on_outliers():
    values = gaussian_with_outlier()
    seen = histogram(values)
    chosen = MeanSquaredError().range(seen)
    assert squared_error(values, chosen) <= squared_error(values, (seen.low, seen.high))


def test_entropy_leaves_a_far_outlier_out_and_a_full_range_alone():
    values = gaussian_with_outlier()
    low, high = Entropy().range(histogram(values))
    assert high < 25.0
    assert histogram(values).outside(low, high) < 1e-4
    even = histogram(np.random.default_rng(0).uniform(-1, 1, 400_000))
    assert Entropy().range(even) == (even.low, even.high)


@given(
    values=st.lists(st.floats(-100, 100), min_size=2, max_size=50),
    exponent=st.integers(-8, 8),
)
def test_entropys_choice_scales_with_the_values(values, exponent):
    array = np.array(values)
    if array.max() - array.min() < 1e-3:
        return
    seen, factor = histogram(array), 2.0**exponent
    scaled = Histogram(seen.low * factor, seen.high * factor, seen.counts)
    low, high = Entropy().range(seen)
    assert Entropy().range(scaled) == pytest.approx((low * factor, high * factor))


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_no_observer_leaves_what_was_seen(values):
    array = np.array(values)
    if array.min() == array.max():
        return
    seen = histogram(array)
    for observer in (MinMax(), Percentile(), MeanSquaredError(), Entropy()):
        low, high = observer.range(seen)
        assert seen.low <= low < high <= seen.high


@pytest.mark.parametrize(
    "text", ["ema", "percentile:20", "percentile:x", "minmax:3", "entropy:2", ""]
)
def test_unknown_observers_are_refused(text):
    with pytest.raises(CalibrationError, match="no observer"):
        observer_named(text)


def feeds(graph, count=20):
    rng = np.random.default_rng(0)
    shape = graph.tensors["x"].shape
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def test_order_of_the_samples_does_not_matter():
    b = Builder((1, 4, 4, 3))
    graph = b.done(b.conv("x", 5))
    samples = feeds(graph)
    one = calibrate(graph, samples, MinMax())
    other = calibrate(graph, samples[::-1], MinMax())
    assert one.ranges == other.ranges


@pytest.mark.parametrize("observer", ["minmax", "percentile:99", "mse", "entropy"])
@pytest.mark.parametrize(
    "low, high",
    [
        (1.0, 1.0000001),
        (1000.0, 1000.001),
        (-1e-7, 3e-7),
        (0.0, 1e-30),
        (0.0, 1e-45),
        (0.0, 0.0),
        (-2.5, -2.5),
    ],
)
def test_a_tensor_of_almost_one_value_has_a_grid_that_holds_it(observer, low, high):
    b = Builder((1, 4))
    graph = b.done(b.apply(Relu(), "x"))
    samples = [{"x": np.array([[low, high, low, low]], np.float32)} for _ in range(2)]
    made = calibrate(graph, samples, observer_named(observer))
    seen = made.histograms["x"]
    assert seen.counts.sum() == 8 and np.isfinite(made.ranges["x"]).all()
    held = quantise(graph, made).tensors["x"].q
    values = samples[0]["x"]
    # Half a step, and what the affine grid takes for zero.
    assert np.abs(held.dequantise(held.quantise(values)) - values).max() <= 0.5 * held.s + 1e-12
    assert held.s <= max(abs(low), abs(high), 1.0) / 100


def test_rules_of_each_operator_are_kept():
    b = Builder((1, 4, 4, 3))
    logistic = b.apply(Logistic(), b.conv("x", 5))
    flat = b.apply(Reshape((1, 80)), logistic)
    graph = b.done(b.apply(Softmax(), flat))
    made = quantise(graph, calibrate(graph, feeds(graph), MinMax()))
    assert made.tensors[logistic].q.s == 1 / 256
    assert made.tensors[logistic].q.z == -128
    assert made.tensors[flat].q == made.tensors[logistic].q
    assert made.tensors[graph.outputs[0]].q.z == -128
    weights = made.tensors[made.nodes[0].inputs[1]]
    assert weights.q.axis == 0
    assert np.abs(weights.values).max() == 127
    assert weights.values.min() >= -127


def test_concatenation_gives_its_inputs_one_grid():
    b = Builder((1, 4, 4, 3))
    small, large = b.conv("x", 2), b.apply(Relu(), b.conv("x", 2))
    both = b.apply(Concatenation(3), small, large)
    graph = b.done(b.apply(Concatenation(3), both, "x"))
    made = quantise(graph, calibrate(graph, feeds(graph), MinMax()))
    for node in made.nodes:
        if isinstance(node.op, Concatenation):
            assert {made.tensors[i].q for i in node.inputs} == {made.out(node).q}
    kinds = [n.op.kind for n in made.nodes]
    # Layers write the shared grid themselves; only the first concatenation, whose grid its own
    # inputs share, must be brought to the second one's.
    assert kinds.count("requantise") == 1


def test_infinite_activations_are_named():
    b = Builder((1, 4))
    graph = b.done(b.apply(Relu(), "x"))
    with pytest.raises(CalibrationError, match="sample 1"):
        calibrate(graph, [feeds(graph, 1)[0], {"x": np.full((1, 4), np.inf, np.float32)}], MinMax())


def test_nan_weights_are_named():
    b = Builder((1, 4, 4, 3))
    graph = b.done(b.conv("x", 5))
    name = graph.nodes[0].inputs[1]
    graph.tensors[name].values[0] = np.nan
    with pytest.raises(QuantisationError, match=graph.nodes[0].name):
        check_finite(graph)


def test_a_dead_channel_and_a_huge_bias_survive():
    b = Builder((1, 4, 4, 3))
    graph = b.done(b.conv("x", 3))
    weights, bias = (graph.tensors[i] for i in graph.nodes[0].inputs[1:])
    weights.values[0] = 0
    weights.values[1] *= 1e-9
    bias.values[:] = [1.0, 50.0, 0.0]
    made = quantise(graph, calibrate(graph, feeds(graph), MinMax()))
    out = made.nodes[0].op.run_int(
        [made.tensors["x"].q.quantise(feeds(graph)[0]["x"]),
         *(made.tensors[i].values for i in made.nodes[0].inputs[1:])],
        made.ins(made.nodes[0]), made.out(made.nodes[0]))  # fmt: skip
    real = made.out(made.nodes[0]).q.dequantise(out)
    assert np.allclose(real[..., 0], 1.0, atol=0.3)
    assert np.allclose(real[..., 1], 50.0, atol=0.3)
