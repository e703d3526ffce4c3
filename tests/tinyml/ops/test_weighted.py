# SPDX-License-Identifier: Apache-2.0
"""Convolutions and fully connected layers against LiteRT's and TFLite-Micro's kernels.

The quantiser's output scale is the observed range over 255, so `spread` puts it within a factor
of 64 of the scale at which a typical sum just fills int8. `test_any_multiplier` goes further.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.limits import reachable
from tests.tinyml.ops.windows import windows
from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    model,
    powers,
    random_feeds,
    scales,
    seeds,
    weights_and_bias,
    zero_points,
)
from tinyml.ir import Operator, Tensor
from tinyml.ops import Activation, Conv2D, DepthwiseConv2D, FullyConnected, Window

# LiteRT rounds a per-channel fully connected sum once; TFLite-Micro and CMSIS-NN round twice.
LITERT_FULLY_CONNECTED_LSB = 1

activations = st.sampled_from(Activation)
spreads = powers(-6, 6)
bias_limits = st.sampled_from([0, 300, 20000, 2**24])


def output_scale(constants: list[Tensor], input_scale: float, taps: int, spread: float) -> float:
    """The scale at which a sum of ``taps`` uniform products fills int8, times ``spread``."""
    product = 74.0 * 73.0  # standard deviations of uniform int8
    weight = float(np.median(constants[0].q.scale))
    return input_scale * weight * product * math.sqrt(taps) / 64.0 * spread


@settings(max_examples=400)
@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    inputs=st.integers(1, 8),
    outputs=st.integers(1, 8),
    fused=activations,
    scale=scales,
    spread=spreads,
    bias=bias_limits,
    zero=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_conv2d(data, size, inputs, outputs, fused, scale, spread, bias, zero, zero_out, seed):
    window = data.draw(windows(size, dilated=True))
    rng = np.random.default_rng(seed)
    x = activation("x", (1, *size, inputs), scale, zero)
    shape = (outputs, *window.kernel, inputs)
    constants = weights_and_bias(rng, shape, 0, x.q.s, bias_limit=bias)
    target = output_scale(constants, x.q.s, math.prod(shape[1:]), spread)
    graph = model(Conv2D(window, fused), [x, *constants], reachable(target, fused), zero_out)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2))


@settings(max_examples=400)
@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 5),
    multiplier=st.integers(1, 3),
    fused=activations,
    scale=scales,
    spread=spreads,
    bias=bias_limits,
    zero=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_depthwise_conv2d(
    data, size, channels, multiplier, fused, scale, spread, bias, zero, zero_out, seed
):
    window = data.draw(windows(size, dilated=True))
    rng = np.random.default_rng(seed)
    x = activation("x", (1, *size, channels), scale, zero)
    shape = (1, *window.kernel, channels * multiplier)
    constants = weights_and_bias(rng, shape, 3, x.q.s, bias_limit=bias)
    target = output_scale(constants, x.q.s, math.prod(window.kernel), spread)
    graph = model(
        DepthwiseConv2D(window, fused), [x, *constants], reachable(target, fused), zero_out
    )
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2))


@settings(max_examples=400)
@given(
    lead=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 12),
    fused=activations,
    scale=scales,
    spread=spreads,
    bias=bias_limits,
    zero=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_fully_connected(lead, inputs, outputs, fused, scale, spread, bias, zero, zero_out, seed):
    rng = np.random.default_rng(seed)
    x = activation("x", (*lead, inputs), scale, zero)
    constants = weights_and_bias(rng, (outputs, inputs), 0, x.q.s, bias_limit=bias)
    target = output_scale(constants, x.q.s, inputs, spread)
    graph = model(FullyConnected(fused), [x, *constants], reachable(target, fused), zero_out)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2), LITERT_FULLY_CONNECTED_LSB)


def test_litert_fully_connected_needs_its_exception():
    # The exception above would be dead weight if LiteRT began to round twice.
    rng = np.random.default_rng(0)
    x = activation("x", (64, 16), 0.05, 3)
    constants = weights_and_bias(rng, (12, 16), 0, x.q.s)
    graph = model(FullyConnected(), [x, *constants], 0.1, 0)
    with pytest.raises(AssertionError, match="LiteRT differs by 1"):
        assert_equal_everywhere(graph, random_feeds(graph, rng, 8))


@pytest.mark.parametrize(
    ("op", "shape", "axis", "litert"),
    [
        (Conv2D(Window((3, 3))), (4, 3, 3, 3), 0, 0),
        (DepthwiseConv2D(Window((3, 3))), (1, 3, 3, 6), 3, 0),
        # LiteRT saturates where a left shift leaves 32 bits; the definition wraps.
        (FullyConnected(), (6, 3), 0, None),
    ],
)
@settings(max_examples=150)
@given(
    exponent=st.floats(-40, 25),
    bias=st.sampled_from([0, 2**24, 2**30]),
    scale=scales,
    zero=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_any_multiplier(op, shape, axis, litert, exponent, bias, scale, zero, zero_out, seed):
    """Multipliers from below 2**-32, which become zero, to 2**30, from where the definition
    saturates and TFLite-Micro shifts out of its register: an output whose whole range is less
    than a millionth of one step of its accumulator. Channel scales differ by up to 20."""
    rng = np.random.default_rng(seed)
    x = activation("x", (1, 4, 5, 3), scale, zero)
    constants = weights_and_bias(rng, shape, axis, x.q.s, bias_limit=bias)
    target = x.q.s * constants[0].q.scale[0] * 2.0**-exponent
    graph = model(op, [x, *constants], target, zero_out)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 1), litert)


@pytest.mark.parametrize("op", [Conv2D, DepthwiseConv2D, FullyConnected])
@pytest.mark.parametrize("weight", [-127, 127])
@pytest.mark.parametrize("zero", [-128, 127])
def test_largest_sums(op: type[Operator], weight: int, zero: int):
    """Every product at its extreme, the case that a 16-bit intermediate would lose."""
    rng = np.random.default_rng(0)
    window = Window((5, 5))
    made, shape, axis, x_shape, litert = {
        Conv2D: (Conv2D(window), (2, 5, 5, 64), 0, (1, 5, 5, 64), 0),
        DepthwiseConv2D: (DepthwiseConv2D(window), (1, 5, 5, 8), 3, (1, 5, 5, 8), 0),
        FullyConnected: (FullyConnected(), (3, 2000), 0, (1, 2000), LITERT_FULLY_CONNECTED_LSB),
    }[op]
    x = activation("x", x_shape, 0.05, zero)
    weights, bias = weights_and_bias(rng, shape, axis, x.q.s)
    full = weights.with_data(np.full(shape, weight, np.int8), weights.q)
    taps = math.prod(shape) // shape[axis]
    target = x.q.s * max(weights.q.scale) * 127 * 255 * taps / 200
    graph = model(made, [x, full, bias], target, 0)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2), litert)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Conv2D(Window((3, 3))), [(1, 8, 8, 3), (4, 3, 3, 2), (4,)]),
        (Conv2D(Window((3, 3))), [(1, 8, 8, 3), (4, 5, 3, 3), (4,)]),
        (Conv2D(Window((3, 3))), [(1, 8, 8, 3), (4, 3, 3, 3), (3,)]),
        (Conv2D(Window((9, 3))), [(1, 8, 8, 3), (4, 9, 3, 3), (4,)]),
        (DepthwiseConv2D(Window((3, 3))), [(1, 8, 8, 3), (1, 3, 3, 4), (4,)]),
        (DepthwiseConv2D(Window((3, 3))), [(1, 8, 8, 3), (1, 3, 2, 3), (3,)]),
        (DepthwiseConv2D(Window((3, 3))), [(1, 8, 8, 3), (1, 3, 3, 3), (4,)]),
        (FullyConnected(), [(2, 5), (3, 4), (3,)]),
        (FullyConnected(), [(2, 5), (3, 5), (2,)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(op, shapes):
    with pytest.raises(ValueError):
        op.infer(shapes)
