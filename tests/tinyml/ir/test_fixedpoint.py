# SPDX-License-Identifier: Apache-2.0
"""The fixed-point arithmetic against exact integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyml.ir.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    clamp_int8,
    doubling_high_multiply,
    exp_on_negative,
    input_radius,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    quantise_multiplier,
    quantise_multipliers,
    requantise,
    rounding_divide_by_pot,
    saturating_left_shift,
    wrap32,
)

EXAMPLES = settings(max_examples=500)
# The remainder of a fourth-order Taylor series 1/8 from its centre, and some units of rounding.
EXP_ERROR = (1 / 8) ** 5 / math.factorial(5) + 4 / 2**31
edges = st.sampled_from([INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX])
int32 = st.one_of(edges, st.integers(INT32_MIN, INT32_MAX))
multipliers = st.one_of(st.sampled_from([2**30, INT32_MAX]), st.integers(2**30, INT32_MAX))


def half_away_from_zero(exact: Fraction) -> int:
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    return nearest if exact >= 0 else -nearest


def half_up(exact: Fraction) -> int:
    return math.floor(exact + Fraction(1, 2))


def array(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@EXAMPLES
@given(exponent=st.floats(-31.9, 29.9))
def test_quantise_multiplier_keeps_31_bits(exponent):
    real = 2.0**exponent
    multiplier, shift = quantise_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert -31 <= shift <= 30
    exact = Fraction(multiplier) * Fraction(2) ** (shift - 31)
    # Half a unit of 31 bits.
    assert abs(exact - Fraction(real)) <= Fraction(real) / 2**31


@EXAMPLES
@given(multiplier=multipliers, shift=st.integers(-31, 30))
def test_quantise_multiplier_returns_what_a_double_holds(multiplier, shift):
    assert quantise_multiplier(math.ldexp(multiplier, shift - 31)) == (multiplier, shift)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (2**30, 1)),
        (0.5, (2**30, 0)),
        # A mantissa that rounds up to 1 carries into the shift.
        (1.0 - 2.0**-40, (2**30, 1)),
        (2.0**-32, (2**30, -31)),
        (2.0**-32 * (1 - 2.0**-20), (0, 0)),
        (2.0**-40, (0, 0)),
        (2.0**30, (INT32_MAX, 30)),
        (1e30, (INT32_MAX, 30)),
    ],
)
def test_quantise_multiplier_at_its_ends(real, expected):
    assert quantise_multiplier(real) == expected


@given(reals=st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_quantise_multipliers_is_the_scalar_one_at_every_place(reals):
    grid = np.array(reals * 2).reshape(2, -1)
    multiplier, shift = quantise_multipliers(grid)
    assert multiplier.shape == shift.shape == grid.shape
    for place in np.ndindex(*grid.shape):
        assert (multiplier[place], shift[place]) == quantise_multiplier(float(grid[place]))


@EXAMPLES
@given(x=st.integers(-(2**62), 2**62 - 1))
def test_wrap32_is_a_register(x):
    wrapped = int(wrap32(array(x))[0])
    assert INT32_MIN <= wrapped <= INT32_MAX
    assert (wrapped - x) % 2**32 == 0


@EXAMPLES
@given(a=int32, b=int32)
def test_doubling_high_multiply(a, b):
    result = int(doubling_high_multiply(a, b))
    if a == b == INT32_MIN:
        assert result == INT32_MAX
    else:
        assert result == half_up(Fraction(a * b, 2**31))


@EXAMPLES
@given(x=int32, exponent=st.integers(0, 31))
def test_rounding_divide_by_pot_rounds_half_away_from_zero(x, exponent):
    assert int(rounding_divide_by_pot(x, exponent)) == half_away_from_zero(Fraction(x, 2**exponent))


@given(exponent=st.integers(1, 30), odd=st.integers(-50, 50))
def test_rounding_divide_by_pot_on_exact_halves(exponent, odd):
    x = (2 * odd + 1) << (exponent - 1)
    expected = odd + 1 if odd >= 0 else odd
    if INT32_MIN <= x <= INT32_MAX:
        assert int(rounding_divide_by_pot(x, exponent)) == expected


@EXAMPLES
@given(x=int32, multiplier=multipliers, shift=st.integers(-31, 30))
def test_requantise_is_within_one_of_the_exact_product(x, multiplier, shift):
    left, right = max(shift, 0), max(-shift, 0)
    if left:
        # The range in which a left shift stays in its register.
        x >>= left
    exact = Fraction(x * multiplier) * Fraction(2) ** (shift - 31)
    result = int(requantise(x, multiplier, shift))
    # Half from the second rounding, and half of the first, divided by the second's shift.
    bound = Fraction(1, 2) + (Fraction(1, 2 ** (right + 1)) if right else 0)
    assert abs(result - exact) <= bound <= 1
    assert result == half_away_from_zero(
        Fraction(half_up(Fraction((x << left) * multiplier, 2**31)), 2**right)
    )


@given(x=int32, multiplier=multipliers, shift=st.integers(1, 30))
def test_requantise_wraps_where_the_register_does(x, multiplier, shift):
    wrapped = int(wrap32(array(x << shift))[0])
    assert int(requantise(x, multiplier, shift)) == int(doubling_high_multiply(wrapped, multiplier))


def test_requantise_broadcasts_multipliers_over_channels():
    x = np.arange(-6, 6).reshape(3, 4) * 1000
    multiplier, shift = quantise_multipliers([0.1, 0.5, 1.0, 3.0])
    result = requantise(x, multiplier, shift)
    for place in np.ndindex(*x.shape):
        channel = place[1]
        assert result[place] == requantise(int(x[place]), multiplier[channel], shift[channel])


@EXAMPLES
@given(x=int32, exponent=st.integers(0, 31))
def test_saturating_left_shift(x, exponent):
    expected = min(max(x << exponent, INT32_MIN), INT32_MAX)
    assert int(saturating_left_shift(array(x), exponent)[0]) == expected


@given(integer_bits=st.integers(1, 12), shift=st.integers(0, 40))
def test_input_radius_is_the_largest_that_fits(integer_bits, shift):
    radius = input_radius(integer_bits, shift)
    limit = (2**integer_bits - 1) * 2 ** (31 - integer_bits)
    assert radius * 2**shift <= limit < (radius + 1) * 2**shift


@pytest.mark.parametrize("integer_bits", [4, 5])
@EXAMPLES
@given(a=st.integers(INT32_MIN, 0))
def test_exp_on_negative(integer_bits, a):
    real = a / 2.0 ** (31 - integer_bits)
    result = int(exp_on_negative(array(a), integer_bits)[0])
    assert 0 <= result <= INT32_MAX
    assert abs(result / 2**31 - math.exp(real)) < EXP_ERROR


@pytest.mark.parametrize("integer_bits", [4, 5])
def test_exp_on_negative_never_rises_noticeably(integer_bits):
    a = np.linspace(INT32_MIN, 0, 20001).astype(np.int64)
    result = exp_on_negative(a, integer_bits)
    assert result[-1] == INT32_MAX
    # The pieces meet within the error of one.
    assert np.diff(result).min() >= -EXP_ERROR * 2**31


@EXAMPLES
@given(a=st.integers(0, INT32_MAX))
def test_reciprocals(a):
    real = a / 2.0**31
    assert abs(one_over_one_plus_x(array(a))[0] / 2**31 - 1 / (1 + real)) < 1e-8
    assert abs(one_minus_x_over_one_plus_x(array(a))[0] / 2**31 - (1 - real) / (1 + real)) < 1e-8


@EXAMPLES
@given(a=st.integers(INT32_MIN, 0))
def test_logistic_and_tanh_of_fixed_point(a):
    """The compositions that the operators use: Q4.27 in, within 3e-7 of the real function."""
    real = -a / 2.0**27
    logistic = one_over_one_plus_x(exp_on_negative(array(a), 4))[0] / 2**31
    assert abs(logistic - 1 / (1 + math.exp(-real))) < 3e-7
    tanh = one_minus_x_over_one_plus_x(exp_on_negative(array(a), 5))[0] / 2**31
    assert abs(tanh - math.tanh(real)) < 3e-7


@given(x=int32, bounds=st.tuples(st.integers(-128, 127), st.integers(-128, 127)))
def test_clamp_int8(x, bounds):
    low, high = sorted(bounds)
    result = clamp_int8(array(x), low, high)
    assert result.dtype == np.int8
    assert int(result[0]) == min(max(x, low), high)
    assert int(clamp_int8(array(x))[0]) == min(max(x, -128), 127)
