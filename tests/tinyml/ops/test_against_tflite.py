# SPDX-License-Identifier: Apache-2.0
"""The integer references against the kernels other people wrote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    model,
    random_feeds,
    scales,
    seeds,
    weights_and_bias,
    zero_points,
)
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relu,
    Relu6,
    Requantise,
    Reshape,
    Softmax,
    Sub,
    Tanh,
    Transpose,
    Window,
)
from tinyml.verify import LITERT_LSB

activations = st.sampled_from(Activation)
sizes = st.integers(1, 9)
# A fixed seed of the data for each example keeps a failure reproducible.
ratio = st.floats(0.2, 5.0)


@st.composite
def windows(draw: st.DrawFn, *, dilated: bool, height: int, width: int) -> Window:
    kernel = draw(st.integers(1, min(height, 4))), draw(st.integers(1, min(width, 4)))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = (1, 1)
    if dilated and stride == (1, 1):
        dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel for _ in range(2))
    top, bottom, left, right = padding
    window = Window(kernel, stride, dilation, (top, bottom, left, right))
    span = window.extent
    if span[0] > height + top + bottom or span[1] > width + left + right:
        window = Window(kernel, stride)
    return window


@given(
    data=st.data(),
    height=sizes,
    width=sizes,
    inputs=st.integers(1, 8),
    outputs=st.integers(1, 8),
    fused=activations,
    scale=scales,
    zero=zero_points,
    seed=seeds,
)
def test_conv2d(data, height, width, inputs, outputs, fused, scale, zero, seed):
    window = data.draw(windows(dilated=True, height=height, width=width))
    rng = np.random.default_rng(seed)
    x = activation("x", (1, height, width, inputs), scale, zero)
    constants = weights_and_bias(rng, (outputs, *window.kernel, inputs), 0, x.q.s)
    graph = model(
        Conv2D(window, fused),
        [x, *constants],
        scale * 2,
        -128 if fused is not Activation.NONE else zero // 2,
    )
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2))


@given(
    data=st.data(),
    height=sizes,
    width=sizes,
    channels=st.integers(1, 8),
    multiplier=st.integers(1, 3),
    fused=activations,
    scale=scales,
    zero=zero_points,
    seed=seeds,
)
def test_depthwise_conv2d(data, height, width, channels, multiplier, fused, scale, zero, seed):
    window = data.draw(windows(dilated=True, height=height, width=width))
    rng = np.random.default_rng(seed)
    x = activation("x", (1, height, width, channels), scale, zero)
    shape = (1, *window.kernel, channels * multiplier)
    constants = weights_and_bias(rng, shape, 3, x.q.s)
    graph = model(DepthwiseConv2D(window, fused), [x, *constants], scale, zero // 3)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2))


@given(
    rows=st.integers(1, 4),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 12),
    deep=st.booleans(),
    fused=activations,
    scale=scales,
    zero=zero_points,
    seed=seeds,
)
def test_fully_connected(rows, inputs, outputs, deep, fused, scale, zero, seed):
    rng = np.random.default_rng(seed)
    shape = (1, rows, inputs) if deep else (rows, inputs)
    x = activation("x", shape, scale, zero)
    constants = weights_and_bias(rng, (outputs, inputs), 0, x.q.s)
    graph = model(FullyConnected(fused), [x, *constants], scale * 3, zero // 2)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 3), LITERT_LSB[FullyConnected])


@given(
    data=st.data(),
    height=sizes,
    width=sizes,
    channels=st.integers(1, 9),
    scale=scales,
    zero=zero_points,
    seed=seeds,
)
def test_max_pool2d(data, height, width, channels, scale, zero, seed):
    window = data.draw(windows(dilated=False, height=height, width=width))
    x = activation("x", (1, height, width, channels), scale, zero)
    graph = model(MaxPool2D(window), [x], scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@given(
    height=sizes,
    width=sizes,
    channels=st.integers(1, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    same=st.booleans(),
    scale=scales,
    zero=zero_points,
    seed=seeds,
)
def test_average_pool2d(height, width, channels, kernel, stride, same, scale, zero, seed):
    kernels = (min(kernel, height), min(kernel, width))
    padding = [0, 0, 0, 0]
    if same:
        for axis, size in enumerate((height, width)):
            out = -(-size // stride)
            total = max((out - 1) * stride + kernels[axis] - size, 0)
            padding[2 * axis : 2 * axis + 2] = [total // 2, total - total // 2]
    window = Window(kernels, (stride, stride), (1, 1), tuple(padding))
    x = activation("x", (1, height, width, channels), scale, zero)
    graph = model(AveragePool2D(window), [x], scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.integers(1, 9),
    scale=scales,
    zero=zero_points,
    factor=ratio,
    out_zero=zero_points,
    seed=seeds,
)
def test_mean(height, width, channels, scale, zero, factor, out_zero, seed):
    x = activation("x", (1, height, width, channels), scale, zero)
    graph = model(Mean(), [x], scale * factor, out_zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@pytest.mark.parametrize("op", [Add, Sub, Mul])
@given(
    shape=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    spread=st.booleans(),
    fused=activations,
    scale_a=scales,
    factor=st.floats(0.02, 50.0),
    zero_a=zero_points,
    zero_b=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_add_sub_mul(op, shape, spread, fused, scale_a, factor, zero_a, zero_b, zero_out, seed):
    a = activation("a", shape, scale_a, zero_a)
    b = activation("b", (1, 1, 1, shape[3]) if spread else shape, scale_a * factor, zero_b)
    out_scale = scale_a * (1 + factor) if op is not Mul else 100 * scale_a * scale_a * factor
    graph = model(op(fused), [a, b], out_scale, zero_out)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@given(
    rows=st.integers(1, 4),
    depth=st.integers(1, 300),
    scale=st.floats(1e-3, 2.0),
    zero=zero_points,
    seed=seeds,
)
def test_softmax(rows, depth, scale, zero, seed):
    graph = model(Softmax(), [activation("x", (rows, depth), scale, zero)], 1 / 256, -128)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))


ALL_VALUES = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)


@pytest.mark.parametrize("op", [Logistic(), Tanh()])
@given(scale=st.floats(2e-3, 2.0), zero=zero_points)
def test_fixed_functions_on_every_value(op, scale, zero):
    quant = op.fixed_quantisation()
    graph = model(op, [activation("x", ALL_VALUES.shape, scale, zero)], quant.s, quant.z)
    assert_equal_everywhere(graph, [{"x": ALL_VALUES}], LITERT_LSB.get(type(op), 0))


@pytest.mark.parametrize("op", [Relu(), LeakyRelu(0.01), LeakyRelu(0.3), HardSwish(), Requantise()])
@given(
    scale=st.floats(1e-3, 0.5), zero=zero_points, factor=st.floats(0.3, 1.5), out_zero=zero_points
)
def test_scaled_functions_on_every_value(op, scale, zero, factor, out_zero):
    graph = model(op, [activation("x", ALL_VALUES.shape, scale, zero)], scale * factor, out_zero)
    assert_equal_everywhere(graph, [{"x": ALL_VALUES}])


@given(scale=st.floats(1e-3, 0.5), zero=zero_points)
def test_relu6_on_every_value(scale, zero):
    graph = model(Relu6(), [activation("x", ALL_VALUES.shape, scale, zero)], scale, zero)
    assert_equal_everywhere(graph, [{"x": ALL_VALUES}])


@given(shape=st.lists(st.integers(1, 5), min_size=4, max_size=4), data=st.data(), seed=seeds)
def test_movement(shape, data, seed):
    order = data.draw(st.permutations(range(4)))
    before = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    after = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    axis = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(seed)
    x, y = activation("x", shape, 0.1, 3), activation("y", shape, 0.1, 3)
    for op, ins in (
        (Transpose(tuple(order)), [x]),
        (Pad(tuple(before), tuple(after)), [x]),
        (Reshape((int(np.prod(shape)), 1)), [x]),
        (Concatenation(axis), [x, y]),
    ):
        graph = model(op, ins, 0.1, 3)
        assert_equal_everywhere(graph, random_feeds(graph, rng, 1))
