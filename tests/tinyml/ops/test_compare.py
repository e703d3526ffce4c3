# SPDX-License-Identifier: Apache-2.0
"""Comparisons, logic, selection, positions, and rows as a whole against LiteRT and
TFLite-Micro."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.test_elementwise import broadcast_shapes
from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    flags,
    ids,
    model,
    powers,
    random_feeds,
    seeds,
    wide,
    zero_points,
)
from tinyml.errors import QuantisationError
from tinyml.ir import DType
from tinyml.ops import (
    ArgMax,
    ArgMin,
    Compare,
    L2Normalize,
    Logical,
    LogicalNot,
    LogSoftmax,
    Relation,
    Select,
)

# From 1 on the other runtimes end the process.
fractions = powers(-26, -(2.0**-20))
relations = st.sampled_from(Relation)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@settings(max_examples=300)
@given(
    relation=relations,
    sizes=broadcast_shapes(),
    scales=st.tuples(fractions, fractions),
    same=st.booleans(),
    zeros=st.tuples(zero_points, zero_points),
    seed=seeds,
)
def test_compare(relation, sizes, scales, same, zeros, seed):
    """Equal scales give equal reals often, other ones hardly ever."""
    a = activation("a", sizes[0], scales[0], zeros[0])
    b = activation("b", sizes[1], scales[0] if same else scales[1], zeros[1])
    graph = model(Compare(relation), [a, b], 1.0, 0, DType.BOOL)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))


@given(relation=relations, sizes=broadcast_shapes(), seed=seeds)
def test_compare_whole_numbers(relation, sizes, seed):
    graph = model(Compare(relation), [ids("a", sizes[0]), ids("b", sizes[1])], 1.0, 0, DType.BOOL)
    feeds = random_feeds(graph, np.random.default_rng(seed), 2)
    feeds.append({n: np.full(graph.tensors[n].shape, -(2**31), np.int32) for n in "ab"})
    assert_equal_everywhere(graph, feeds)


def test_compare_refuses_what_ends_other_runtimes():
    a = activation("a", (3,), 1.0, 0)
    graph = model(Compare(), [a, activation("b", (3,), 0.5, 0)], 1.0, 0, DType.BOOL)
    with pytest.raises(QuantisationError, match="scale 1"):
        graph.nodes[0].op.run_int([np.zeros(3, np.int8)] * 2, graph.ins(graph.nodes[0]), a)


@given(either=st.booleans(), sizes=broadcast_shapes(), seed=seeds)
def test_logic(either, sizes, seed):
    sides = [flags("a", sizes[0]), flags("b", sizes[1])]
    graph = model(Logical(either), sides, 1.0, 0, DType.BOOL)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))
    graph = model(LogicalNot(), sides[:1], 1.0, 0, DType.BOOL)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 1))


@settings(max_examples=200)
@given(data=st.data(), long=st.booleans(), zero=zero_points, scale=powers(-26, 20), seed=seeds)
def test_select(data, long, zero, scale, seed):
    shape = data.draw(shapes)
    ones = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))

    def spread() -> list[int]:
        """The shape with some sizes of 1."""
        return [1 if one else d for one, d in zip(data.draw(ones), shape, strict=True)]

    def side(name, sizes):
        return wide(name, sizes, scale) if long else activation(name, sizes, scale, zero)

    parts = [flags("f", spread()), side("a", spread()), side("b", spread())]
    kind = DType.INT16 if long else DType.INT8
    graph = model(Select(), parts, scale, 0 if long else zero, kind)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))


@given(most=st.booleans(), shape=shapes, scale=powers(-26, 20), zero=zero_points, seed=seeds)
def test_arg(most, shape, scale, zero, seed):
    op = ArgMax() if most else ArgMin()
    graph = model(op, [activation("x", (*shape, 7), scale, zero)], 1.0, 0, DType.INT32)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), 3))


@settings(max_examples=300)
@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    depth=st.integers(1, 60),
    scale=powers(-24.9, 20),
    zero=zero_points,
    seed=seeds,
)
def test_log_softmax(lead, depth, scale, zero, seed):
    quant = LogSoftmax().fixed_quantisation()
    x = activation("x", (*lead, depth), scale, zero)
    graph = model(LogSoftmax(), [x], quant.s, quant.z)
    feeds = random_feeds(graph, np.random.default_rng(seed), 2)
    peak = np.full(x.shape, -128, np.int8)
    peak[..., depth // 2] = 127
    slope = np.broadcast_to(np.linspace(-128, 127, depth).astype(np.int8), x.shape).copy()
    assert_equal_everywhere(graph, [*feeds, {"x": peak}, {"x": slope}])


def test_log_softmax_of_long_rows():
    """Their sums end where the sum's 12 integer bits do."""
    x = activation("x", (1, 4000), 2.0**-12, 0)
    graph = model(LogSoftmax(), [x], 1 / 16, 127)
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(0), 3))


@settings(max_examples=300)
@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    depth=st.integers(1, 80),
    scale=powers(-26, 20),
    zero=zero_points,
    seed=seeds,
)
def test_l2_normalize(lead, depth, scale, zero, seed):
    quant = L2Normalize().fixed_quantisation()
    x = activation("x", (*lead, depth), scale, zero)
    graph = model(L2Normalize(), [x], quant.s, quant.z)
    feeds = random_feeds(graph, np.random.default_rng(seed), 2)
    small = np.full(x.shape, zero, np.int8)
    small[..., 0] = zero + 1 if zero < 127 else zero - 1
    assert_equal_everywhere(graph, [*feeds, {"x": small}])
