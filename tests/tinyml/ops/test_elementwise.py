# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators and softmax against LiteRT's and TFLite-Micro's kernels. Functions of one
value are compared on all 256 of them. limits.py says why the scales end where they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.limits import (
    ADD_OUTPUT_RATIO_ABORTS,
    LITERT_LOGISTIC_COARSE_LSB,
    LITERT_LOGISTIC_LSB,
    LOGISTIC_COARSE_SCALE,
    reachable,
)
from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    model,
    powers,
    random_feeds,
    scales,
    seeds,
    zero_points,
)
from tinyml.ir import DType, Quantisation, Tensor
from tinyml.ops import (
    Activation,
    Add,
    HardSwish,
    LeakyRelu,
    Logistic,
    Mul,
    Relu,
    Relu6,
    Requantise,
    Softmax,
    Sub,
    Tanh,
)
from tinyml.ops.unary import ALL_INT8

activations = st.sampled_from(Activation)
EVERY_VALUE = ALL_INT8.reshape(1, 16, 16, 1)


@st.composite
def broadcast_shapes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes of one rank whose sizes agree or are 1 on either side."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    kind = draw(st.sampled_from(["equal", "channel", "any"]))
    if kind == "equal":
        return shape, shape
    if kind == "channel":
        return shape, [1] * (len(shape) - 1) + shape[-1:]
    masks = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    first, second = draw(masks), draw(masks)
    return (
        [1 if one else size for one, size in zip(first, shape, strict=True)],
        [1 if one else size for one, size in zip(second, shape, strict=True)],
    )


@pytest.mark.parametrize("op", [Add, Sub, Mul])
@settings(max_examples=300)
@given(
    shapes=broadcast_shapes(),
    fused=activations,
    scale=scales,
    between=powers(-24, 24),
    ratio=powers(-18.9, 12),
    ordinary=st.booleans(),
    zeros=st.tuples(zero_points, zero_points, zero_points),
    seed=seeds,
)
def test_add_sub_mul(op, shapes, fused, scale, between, ratio, ordinary, zeros, seed):
    """Input scales up to 2**24 apart, and outputs up to nearly the ratio at which ADD aborts."""
    if ordinary:
        between, ratio = between ** (1 / 8), 2 * ratio ** (1 / 10)
    a = activation("a", shapes[0], scale, zeros[0])
    b = activation("b", shapes[1], scale * between, zeros[1])
    natural = 70 * a.q.s * b.q.s if op is Mul else max(a.q.s, b.q.s)
    target = reachable(natural * ratio, fused)
    assert op is Mul or target > ADD_OUTPUT_RATIO_ABORTS * natural
    graph = model(op(fused), [a, b], target, zeros[2])
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@pytest.mark.parametrize("op", [Add, Sub, Mul])
@pytest.mark.parametrize("first", [False, True])
def test_a_constant_operand(op, first):
    rng = np.random.default_rng(0)
    data = rng.integers(-128, 128, (1, 1, 1, 5)).astype(np.int8)
    constant = Tensor("c", data.shape, DType.INT8, Quantisation.per_tensor(0.03, -7), data)
    x = activation("x", (1, 4, 4, 5), 0.05, 12)
    ins = [constant, x] if first else [x, constant]
    graph = model(op(), ins, 0.08, 3)
    assert graph.inputs == ["x"]
    assert_equal_everywhere(graph, random_feeds(graph, rng, 4))


@settings(max_examples=300)
@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    depth=st.integers(1, 60),
    scale=powers(-25.9, 20),
    zero=zero_points,
    seed=seeds,
)
def test_softmax(lead, depth, scale, zero, seed):
    quant = Softmax().fixed_quantisation()
    x = activation("x", (*lead, depth), scale, zero)
    graph = model(Softmax(), [x], quant.s, quant.z)
    feeds = random_feeds(graph, np.random.default_rng(seed), 2)
    # One value far above the rest, and a slope: sums near 1 and sums of many terms.
    peak = np.full(x.shape, -128, np.int8)
    peak[..., depth // 2] = 127
    slope = np.broadcast_to(np.linspace(-128, 127, depth).astype(np.int8), x.shape).copy()
    assert_equal_everywhere(graph, [*feeds, {"x": peak}, {"x": slope}])


@settings(max_examples=200)
@given(scale=powers(-26, 2.999), zero=zero_points)
def test_tanh(scale, zero):
    quant = Tanh().fixed_quantisation()
    graph = model(Tanh(), [activation("x", EVERY_VALUE.shape, scale, zero)], quant.s, quant.z)
    # LiteRT's is a table of the C library's function.
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}], 1)


@settings(max_examples=200)
@given(scale=powers(-26, 2.999), zero=zero_points)
def test_logistic(scale, zero):
    quant = Logistic().fixed_quantisation()
    graph = model(Logistic(), [activation("x", EVERY_VALUE.shape, scale, zero)], quant.s, quant.z)
    fine = scale < LOGISTIC_COARSE_SCALE
    litert = LITERT_LOGISTIC_LSB if fine else LITERT_LOGISTIC_COARSE_LSB
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}], litert)


@pytest.mark.parametrize("op", [Relu(), Requantise()])
@settings(max_examples=200)
@given(scale=scales, zero=zero_points, ratio=powers(-20, 20), zero_out=zero_points)
def test_relu_and_requantise(op, scale, zero, ratio, zero_out):
    x = activation("x", EVERY_VALUE.shape, scale, zero)
    graph = model(op, [x], scale * ratio, zero_out)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}])


@settings(max_examples=200)
@given(
    alpha=st.floats(0, 2, width=32),
    scale=scales,
    zero=zero_points,
    ratio=powers(-20, 20),
    zero_out=zero_points,
)
def test_leaky_relu(alpha, scale, zero, ratio, zero_out):
    x = activation("x", EVERY_VALUE.shape, scale, zero)
    graph = model(LeakyRelu(alpha), [x], scale * ratio, zero_out)
    # LiteRT forms the multipliers in single precision.
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}], 1)


@settings(max_examples=200)
@given(scale=scales, zero=zero_points)
def test_relu6(scale, zero):
    graph = model(Relu6(), [activation("x", EVERY_VALUE.shape, scale, zero)], scale, zero)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}])


@settings(max_examples=300)
@given(scale=scales, zero=zero_points, ratio=powers(-6.98, 20), zero_out=zero_points)
def test_hard_swish(scale, zero, ratio, zero_out):
    x = activation("x", EVERY_VALUE.shape, scale, zero)
    graph = model(HardSwish(), [x], scale * ratio, zero_out)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}])


@pytest.mark.parametrize(
    "shapes", [[(2, 3), (3,)], [(2, 3), (2, 4)], [(1, 1, 1, 1, 2), (1, 1, 1, 1, 2)]]
)
@pytest.mark.parametrize("op", [Add(), Sub(), Mul()])
def test_shapes_that_do_not_broadcast_are_refused(op, shapes):
    with pytest.raises(ValueError):
        op.infer(shapes)
