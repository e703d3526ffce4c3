# SPDX-License-Identifier: Apache-2.0
"""Pooling and the spatial mean against LiteRT's and TFLite-Micro's kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.windows import windows
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
from tinyml.ops import AveragePool2D, MaxPool2D, Mean, Window

sizes = st.tuples(st.integers(1, 10), st.integers(1, 10))
channels = st.integers(1, 8)


@pytest.mark.parametrize(
    ("op", "paddings"),
    [
        (MaxPool2D, ("SAME", "VALID", "explicit")),
        (AveragePool2D, ("SAME", "VALID")),
    ],
)
@settings(max_examples=300)
@given(data=st.data(), size=sizes, depth=channels, scale=scales, zero=zero_points, seed=seeds)
def test_pooling(op, paddings, data, size, depth, scale, zero, seed):
    window = data.draw(windows(size, paddings=paddings))
    graph = model(op(window), [activation("x", (1, *size, depth), scale, zero)], scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))


@settings(max_examples=300)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    depth=st.integers(1, 5),
    scale=scales,
    # The mean's range lies inside its input's; nearly cancelling inputs make it much smaller.
    ratio=powers(-20, 4),
    zero=zero_points,
    zero_out=zero_points,
    seed=seeds,
)
def test_mean(size, depth, scale, ratio, zero, zero_out, seed):
    graph = model(
        Mean(), [activation("x", (1, *size, depth), scale, zero)], scale * ratio, zero_out
    )
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 2))


def test_average_pool_rounds_halves_away_from_zero():
    x = activation("x", (1, 1, 8, 1), 0.1, 0)
    graph = model(AveragePool2D(Window((1, 2), (1, 2))), [x], 0.1, 0)
    values = np.array([1, 2, -1, -2, 0, 1, 0, -1], np.int8).reshape(x.shape)
    node = graph.nodes[0]
    result = node.op.run_int([values], [x], graph.tensors["out"])
    assert result.ravel().tolist() == [2, -2, 1, -1]
    assert_equal_everywhere(graph, [{"x": values}])


def test_average_pool_refuses_padding_that_tflite_cannot_leave_out():
    op = AveragePool2D(Window((3, 3), (1, 1), (1, 1), (2, 0, 1, 1)))
    with pytest.raises(ValueError, match="neither TFLite's SAME nor VALID"):
        op.infer([(1, 8, 8, 2)])


def test_max_pool_refuses_dilation():
    with pytest.raises(ValueError, match="dilation"):
        MaxPool2D(Window((2, 2), dilation=(2, 2))).infer([(1, 8, 8, 2)])


def test_mean_refuses_what_is_not_an_image():
    with pytest.raises(ValueError, match="mean"):
        Mean().infer([(1, 8)])


@pytest.mark.parametrize("op", [MaxPool2D, AveragePool2D])
def test_a_window_larger_than_its_input_is_refused(op):
    with pytest.raises(ValueError, match="larger than"):
        op(Window((4, 2))).infer([(1, 3, 3, 1)])
