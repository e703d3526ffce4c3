# SPDX-License-Identifier: Apache-2.0
"""Quantisation and the choice of a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyml.ir import DType, Quantisation, Tensor
from tinyml.ir.operator import affine

reals = st.one_of(
    st.floats(-1e4, 1e4),
    st.builds(lambda s, e: s * 10.0**e, st.sampled_from([-1, 1]), st.floats(-11, 30)),
)


@settings(max_examples=500)
@given(first=reals, second=reals)
def test_affine_holds_zero_exactly_and_covers_the_range(first, second):
    low, high = sorted((first, second))
    grid = affine(low, high)
    assert -128 <= grid.z <= 127
    assert grid.dequantise(np.array([grid.z], np.int8))[0] == 0.0
    assert grid.quantise(np.array([0.0]))[0] == grid.z
    below, above = ((end - grid.z) * grid.s for end in (-128, 127))
    # The zero point is rounded to an integer, the scale to single precision.
    slack = (0.5 + 255 * 2.0**-23) * grid.s
    assert below <= min(low, 0.0) + slack
    assert above >= max(high, 0.0) - slack
    # And the grid is no coarser than it must be.
    assert above - below <= max(max(high, 0.0) - min(low, 0.0), 1e-12) * (1 + 1e-5) or (
        grid == Quantisation.per_tensor(1 / 128, 0)
    )


@pytest.mark.parametrize("value", [0.0, 1e-13, -1e-13])
def test_a_dead_range_gets_a_plain_grid(value):
    assert affine(value, value) == Quantisation.per_tensor(1 / 128, 0)


@pytest.mark.parametrize(
    ("low", "high", "zero"),
    [(0.0, 6.0, -128), (1.0, 6.0, -128), (-6.0, 0.0, 127), (-6.0, -1.0, 127), (-1.28, 1.27, 0)],
)
def test_the_zero_point_of_known_ranges(low, high, zero):
    assert affine(low, high).z == zero


@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_quantise_and_back_is_within_half_a_step(values):
    grid = affine(-10, 10)
    real = np.array(values, np.float32)
    restored = grid.dequantise(grid.quantise(real))
    # The range itself is off by the rounded zero point.
    inside = np.clip(real, (-128 - grid.z) * grid.s, (127 - grid.z) * grid.s)
    assert np.all(np.abs(restored - inside) <= 0.5001 * grid.s)


@given(scale=st.floats(2.0**-20, 2.0**20), zero=st.integers(-128, 127))
def test_every_integer_survives_the_reals(scale, zero):
    grid = Quantisation.per_tensor(scale, zero)
    integers = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(grid.quantise(grid.dequantise(integers)), integers)


def test_quantise_rounds_ties_to_even_and_saturates():
    grid = Quantisation.per_tensor(1.0, 0)
    real = np.array([0.5, 1.5, -0.5, -1.5, 1e9, -1e9])
    np.testing.assert_array_equal(grid.quantise(real), [0, 2, 0, -2, 127, -128])
    wide = grid.quantise(np.array([1e9, 1e12]), DType.INT32)
    assert wide.dtype == np.int32
    np.testing.assert_array_equal(wide, [10**9, 2**31 - 1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_per_channel_maps_each_slice_by_its_own_scale(axis):
    rng = np.random.default_rng(axis)
    shape = (2, 3, 4)
    scales = rng.uniform(0.01, 1.0, shape[axis])
    grid = Quantisation.per_channel(scales, axis)
    real = rng.uniform(-1, 1, shape).astype(np.float32)
    integers = grid.quantise(real)
    for index in range(shape[axis]):
        alone = Quantisation.per_tensor(scales[index], 0)
        piece = np.take(integers, index, axis)
        np.testing.assert_array_equal(piece, alone.quantise(np.take(real, index, axis)))
        restored = np.take(grid.dequantise(integers), index, axis)
        np.testing.assert_array_equal(restored, alone.dequantise(piece))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.0,), (0,)), "positive and finite"),
        (((-1.0,), (0,)), "positive and finite"),
        (((float("nan"),), (0,)), "positive and finite"),
        (((float("inf"),), (0,)), "positive and finite"),
        (((1.0, 0.0), (0, 0), 1), "positive and finite"),
        (((1.0, 1.0), (0, 0)), "per-tensor"),
        (((1.0,), (0, 0)), "length"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Quantisation(*arguments)


def test_a_scale_is_held_in_single_precision():
    assert Quantisation.per_tensor(0.1, 0).s == float(np.float32(0.1))
    assert Quantisation.per_channel(np.array([0.1]), 0).scale == (float(np.float32(0.1)),)


def test_a_per_channel_map_has_no_single_scale():
    grid = Quantisation.per_channel(np.array([0.1, 0.2]), 0)
    with pytest.raises(ValueError, match="no single scale"):
        _ = grid.s
    with pytest.raises(ValueError, match="no single zero point"):
        _ = grid.z


def test_a_tensor_names_itself_where_it_lacks_something():
    tensor = Tensor("mine", (2, 3), DType.INT32)
    with pytest.raises(ValueError, match="'mine' is not quantised"):
        _ = tensor.q
    with pytest.raises(ValueError, match="'mine' is not a constant"):
        _ = tensor.values
    assert (tensor.elements, tensor.bytes) == (6, 24)
    data = np.zeros((5,), np.int8)
    made = tensor.with_data(data, Quantisation.per_tensor(1.0, 0))
    assert (made.name, made.shape, made.dtype, made.is_constant) == ("mine", (5,), DType.INT8, True)
