# SPDX-License-Identifier: Apache-2.0
"""Operators that move integers, on every rank they take, against LiteRT and TFLite-Micro."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    model,
    random_feeds,
    scales,
    seeds,
    zero_points,
)
from tinyml.ir import Operator, Tensor
from tinyml.ops import Concatenation, Pad, Reshape, Transpose

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def check(op: Operator, ins: list[Tensor], scale: float, zero: int, seed: int) -> None:
    graph = model(op, ins, scale, zero)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 1))


@settings(max_examples=150)
@given(shape=shapes, data=st.data(), scale=scales, zero=zero_points, seed=seeds)
def test_transpose(shape, data, scale, zero, seed):
    order = data.draw(st.permutations(range(len(shape))))
    check(Transpose(tuple(order)), [activation("x", shape, scale, zero)], scale, zero, seed)


@settings(max_examples=150)
@given(shape=shapes, data=st.data(), scale=scales, zero=zero_points, seed=seeds)
def test_pad(shape, data, scale, zero, seed):
    amounts = st.lists(st.integers(0, 1), min_size=len(shape), max_size=len(shape)).map(tuple)
    op = Pad(data.draw(amounts), data.draw(amounts))
    check(op, [activation("x", shape, scale, zero)], scale, zero, seed)


@settings(max_examples=100)
@given(shape=shapes, data=st.data(), scale=scales, zero=zero_points, seed=seeds)
def test_reshape(shape, data, scale, zero, seed):
    divisors = [d for d in range(1, math.prod(shape) + 1) if math.prod(shape) % d == 0]
    first = data.draw(st.sampled_from(divisors))
    target = (first, 1, math.prod(shape) // first)
    check(Reshape(target), [activation("x", shape, scale, zero)], scale, zero, seed)


@settings(max_examples=150)
@given(shape=shapes, data=st.data(), scale=scales, zero=zero_points, seed=seeds)
def test_concatenation(shape, data, scale, zero, seed):
    axis = data.draw(st.integers(0, len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    ins = [
        activation(f"x{i}", (*shape[:axis], length, *shape[axis + 1 :]), scale, zero)
        for i, length in enumerate(lengths)
    ]
    check(Concatenation(axis), ins, scale, zero, seed)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Reshape((2, 5)), [(3, 3)]),
        (Transpose((0, 2)), [(1, 2, 3)]),
        (Transpose((0, 1, 1)), [(1, 2, 3)]),
        (Transpose((0, 1, 2, 3, 4)), [(1, 1, 1, 1, 1)]),
        (Pad((1,), (1,)), [(2, 2)]),
        (Pad((0,) * 5, (0,) * 5), [(1, 1, 1, 1, 1)]),
        (Concatenation(1), [(2, 3), (3, 3)]),
        (Concatenation(1), [(2, 3), (2, 3, 1)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(op, shapes):
    with pytest.raises(ValueError):
        op.infer(shapes)
