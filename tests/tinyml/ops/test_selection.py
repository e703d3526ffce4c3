# SPDX-License-Identifier: Apache-2.0
"""Operators that pick, bend or blend int8 values, against LiteRT and TFLite-Micro: extremes,
slopes, elements by position, and pixels between pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.test_elementwise import EVERY_VALUE, broadcast_shapes
from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    ids,
    model,
    powers,
    random_feeds,
    scales,
    seeds,
    zero_points,
)
from tinyml.ops import (
    Abs,
    Elu,
    Gather,
    Maximum,
    Minimum,
    Pad,
    Prelu,
    ReduceMax,
    ReduceMin,
    ResizeBilinear,
    Slice,
)
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.writers.tflite import write_tflite

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@pytest.mark.parametrize("op", [Maximum(), Minimum()])
@settings(max_examples=100)
@given(sizes=broadcast_shapes(), scale=scales, zero=zero_points, seed=seeds)
def test_extremes(op, sizes, scale, zero, seed):
    ins = [activation(n, s, scale, zero) for n, s in zip("ab", sizes, strict=True)]
    graph = model(op, ins, scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@pytest.mark.parametrize("kind", [ReduceMax, ReduceMin])
@settings(max_examples=150)
@given(shape=shapes, data=st.data(), scale=scales, zero=zero_points, seed=seeds)
def test_reduced_extremes(kind, shape, data, scale, zero, seed):
    first = data.draw(st.integers(0, len(shape) - 1))
    last = data.draw(st.integers(first, len(shape) - 1))
    op = kind(tuple(range(first, last + 1)))
    graph = model(op, [activation("x", shape, scale, zero)], scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@settings(max_examples=200)
@given(
    sizes=broadcast_shapes(),
    scale=powers(-20, 10),
    slope=powers(-12, 2),
    ratio=powers(-6, 6),
    zeros=st.tuples(zero_points, zero_points, zero_points),
    seed=seeds,
)
def test_prelu(sizes, scale, slope, ratio, zeros, seed):
    """Slopes of both signs; of one shape, along any axis, or one for all."""
    spread = tuple(max(a, b) for a, b in zip(*sizes, strict=True))
    ins = [activation("x", spread, scale, zeros[0]), activation("s", sizes[1], slope, zeros[1])]
    graph = model(Prelu(), ins, scale * ratio, zeros[2])
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@settings(max_examples=150)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    depth=st.integers(1, 5),
    way=st.sampled_from([(False, False), (True, False), (False, True)]),
    zero=zero_points,
    seed=seeds,
)
def test_resize_bilinear(size, target, depth, way, zero, seed):
    x = activation("x", (1, *size, depth), 0.05, zero)
    graph = model(ResizeBilinear(target, *way), [x], 0.05, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


@settings(max_examples=150)
@given(shape=shapes, data=st.data(), zero=zero_points, seed=seeds)
def test_slice(shape, data, zero, seed):
    begin, size, stride = [], [], []
    for length in shape:
        low = data.draw(st.integers(0, length - 1))
        step = data.draw(st.integers(1, 3))
        begin.append(low)
        stride.append(step)
        size.append(data.draw(st.integers(1, (length - 1 - low) // step + 1)))
    op = Slice(tuple(begin), tuple(size), tuple(stride))
    graph = model(op, [activation("x", shape, 0.1, zero)], 0.1, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 1))


@settings(max_examples=100)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    data=st.data(),
    count=st.integers(1, 6),
    zero=zero_points,
    seed=seeds,
)
def test_gather(shape, data, count, zero, seed):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = activation("x", shape, 0.1, zero)
    picked = ids("ids", (count,))
    rng = np.random.default_rng(seed)
    at = rng.integers(0, shape[axis], count).astype(np.int32)
    ins = [x, replace(picked, data=at)]
    graph = model(Gather(axis), ins, 0.1, zero)
    assert_equal_everywhere(graph, random_feeds(graph, rng, 2))


@settings(max_examples=100)
@given(shape=shapes, data=st.data(), zero=zero_points, value=zero_points, seed=seeds)
def test_pad_by_a_value(shape, data, zero, value, seed):
    amounts = st.lists(st.integers(0, 2), min_size=len(shape), max_size=len(shape)).map(tuple)
    op = Pad(data.draw(amounts), data.draw(amounts), value)
    graph = model(op, [activation("x", shape, 0.1, zero)], 0.1, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 1))


@settings(max_examples=150)
@given(scale=powers(-12, 6), ratio=powers(-6, 6), zero=zero_points, zero_out=zero_points)
def test_abs_of_every_value(scale, ratio, zero, zero_out):
    graph = model(Abs(), [activation("x", EVERY_VALUE.shape, scale, zero)], scale * ratio, zero_out)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}], litert=1)


@settings(max_examples=150)
@given(scale=powers(-10, 3), ratio=powers(-3, 3), zero=zero_points, zero_out=zero_points)
def test_elu_of_every_value(scale, ratio, zero, zero_out):
    """LiteRT has no reference kernel of it."""
    x = activation("x", EVERY_VALUE.shape, scale, zero)
    graph = model(Elu(), [x], scale * ratio, zero_out)
    expected = Elu().run_int([EVERY_VALUE], [x], graph.tensors["out"])
    seen = TfliteMicro(write_tflite(graph), graph).run({"x": EVERY_VALUE})[0]
    np.testing.assert_array_equal(seen, expected)
