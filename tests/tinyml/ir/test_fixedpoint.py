# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinyml.ir.fixedpoint import (
    exp_on_negative,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    quantise_multiplier,
    requantise,
    rounding_divide_by_pot,
)

int32 = st.integers(-(2**31), 2**31 - 1)


@given(real=st.floats(1e-8, 1e6))
def test_quantise_multiplier_keeps_31_bits(real):
    multiplier, shift = quantise_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert math.isclose(multiplier * 2.0 ** (shift - 31), real, rel_tol=2**-30)


def test_quantise_multiplier_of_nothing_is_nothing():
    assert quantise_multiplier(0.0) == (0, 0)
    assert quantise_multiplier(2.0**-40) == (0, 0)


@given(x=int32, exponent=st.integers(0, 31))
def test_rounding_divide_by_pot_rounds_half_away_from_zero(x, exponent):
    exact = Fraction(x, 2**exponent)
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    expected = nearest if x >= 0 else -nearest
    assert int(rounding_divide_by_pot(x, exponent)) == expected


@given(x=st.integers(-(2**24), 2**24), real=st.floats(1e-6, 2.0))
def test_requantise_is_within_one_of_the_real_product(x, real):
    multiplier, shift = quantise_multiplier(real)
    exact = Fraction(x) * multiplier * Fraction(2) ** (shift - 31)
    assert abs(int(requantise(x, multiplier, shift)) - exact) <= 1


@given(a=st.floats(-31.9, 0.0))
def test_exp_on_negative(a):
    raw = np.array([round(a * 2**26)], np.int64)
    result = exp_on_negative(raw, 5)[0] / 2**31
    assert abs(result - math.exp(raw[0] / 2**26)) < 2e-7


@given(a=st.floats(0.0, 0.999999))
def test_reciprocals(a):
    raw = np.array([round(a * 2**31)], np.int64)
    assert abs(one_over_one_plus_x(raw)[0] / 2**31 - 1 / (1 + a)) < 1e-8
    assert abs(one_minus_x_over_one_plus_x(raw)[0] / 2**31 - (1 - a) / (1 + a)) < 1e-8
