# SPDX-License-Identifier: Apache-2.0
"""TFLite's fixed-point arithmetic on numpy int64 arrays.

Source: gemmlowp fixedpoint.h and TensorFlow Lite common.h, double-rounding form, which is what
TFLite-Micro's reference kernels and CMSIS-NN compute.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyml.ir.tensor import DType

Int64 = NDArray[np.int64]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def quantise_multiplier(real: float) -> tuple[int, int]:
    """Splits a positive real into (multiplier, shift): real ~ multiplier * 2**(shift - 31).

    Returns:
        multiplier in [2**30, 2**31), or (0, 0) when the real is below 2**-32; shift > 0 is a
        left shift. Source: TFLite QuantizeMultiplier.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return INT32_MAX, 30
    return multiplier, shift


def quantise_multipliers(reals: ArrayLike) -> tuple[Int64, Int64]:
    """`quantise_multiplier` over an array; returns int64 arrays of the same shape."""
    flat = np.asarray(reals, np.float64)
    pairs = [quantise_multiplier(float(r)) for r in flat.ravel()]
    multiplier = np.array([p[0] for p in pairs], np.int64).reshape(flat.shape)
    shift = np.array([p[1] for p in pairs], np.int64).reshape(flat.shape)
    return multiplier, shift


def wrap32(x: Int64) -> Int64:
    """The value of a 32-bit register: modulo 2**32, signed."""
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def doubling_high_multiply(a: ArrayLike, b: ArrayLike) -> Int64:
    """SaturatingRoundingDoublingHighMul: the high half of 2*a*b, rounded half away from zero
    for positive and half up for negative products; INT32_MIN * INT32_MIN saturates."""
    a64, b64 = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
    product = a64 * b64
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    # C division truncates toward zero.
    result = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    saturates = (a64 == INT32_MIN) & (b64 == INT32_MIN)
    return np.asarray(np.where(saturates, INT32_MAX, result), np.int64)


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> Int64:
    """x / 2**exponent, rounded half away from zero."""
    x64, e64 = np.broadcast_arrays(np.asarray(x, np.int64), np.asarray(exponent, np.int64))
    mask = (np.int64(1) << e64) - 1
    remainder = x64 & mask
    threshold = (mask >> 1) + (x64 < 0)
    return np.asarray((x64 >> e64) + (remainder > threshold), np.int64)


def requantise(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """MultiplyByQuantizedMultiplier: x * multiplier * 2**(shift - 31) with two roundings.

    Args:
        x: int32 values held as int64.
        multiplier, shift: of `quantise_multiplier`, broadcast against x.
    """
    shift64 = np.asarray(shift, np.int64)
    left, right = np.maximum(shift64, 0), np.maximum(-shift64, 0)
    shifted = wrap32(np.asarray(x, np.int64) << left)
    return rounding_divide_by_pot(doubling_high_multiply(shifted, multiplier), right)


def requantise_wide(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """MultiplyByQuantizedMultiplier of a 64-bit value: the multiplier is cut to 16 bits and the
    result is rounded once, half up. The accumulators of int16 layers take this path.

    Args:
        x: below 2**47 in magnitude.
        multiplier, shift: of `quantise_multiplier`, shift below 8; broadcast against x.
    """
    m64 = np.asarray(multiplier, np.int64)
    reduced = np.where(m64 < 0x7FFF0000, (m64 + (1 << 15)) >> 16, 0x7FFF)
    right = 15 - np.asarray(shift, np.int64)
    return wrap32((np.asarray(x, np.int64) * reduced + (np.int64(1) << (right - 1))) >> right)


def inverse_square_root(x: Int64) -> tuple[Int64, Int64]:
    """1 / sqrt(x) of positive integers as (multiplier, shift): multiplier * 2**(shift - 31).

    Source: TFLite GetInvSqrtQuantizedMultiplierExp, five Newton-Raphson steps in Q3.28.
    """
    shift = np.full_like(x, 11)
    scaled = np.maximum(x, 2)
    while np.any(large := scaled >= 1 << 29):
        scaled, shift = np.where(large, scaled // 4, scaled), shift + large
    while np.any(small := scaled < 1 << 27):
        scaled, shift = np.where(small, scaled * 4, scaled), shift - small
    half = rounding_divide_by_pot(scaled >> 1, 1)
    half_three = (1 << 28) + (1 << 27)
    root = np.full_like(x, 1 << 28)
    for _ in range(5):
        square = doubling_high_multiply(root, root)
        cube = saturating_left_shift(doubling_high_multiply(square, root), 6)
        step = doubling_high_multiply(half_three, root) - doubling_high_multiply(half, cube)
        root = saturating_left_shift(wrap32(step), 3)
    multiplier = doubling_high_multiply(root, 1518500250)
    multiplier = multiplier << np.maximum(-shift, 0)
    one = x <= 1
    return np.where(one, INT32_MAX, multiplier), np.where(one, 0, -np.maximum(shift, 0))


def saturating_left_shift(x: Int64, exponent: int) -> Int64:
    """x * 2**exponent saturated to int32 (gemmlowp SaturatingRoundingMultiplyByPOT)."""
    return np.asarray(np.clip(x << exponent, INT32_MIN, INT32_MAX), np.int64)


def input_radius(integer_bits: int, shift: int) -> int:
    """Largest |x| whose rescaled value stays in ``integer_bits`` integer bits
    (TFLite CalculateInputRadius)."""
    span = ((1 << integer_bits) - 1) * (1 << (31 - integer_bits))
    return math.floor(span / 2.0**shift)


def _newton_reciprocal(a: Int64) -> Int64:
    """2 / (1 + a) in Q2.29 for a in (0, 1) as Q0.31: three Newton-Raphson steps (gemmlowp)."""
    total = a + INT32_MAX
    # Half the sum, rounded away from zero.
    half = np.where(total >= 0, (total + 1) >> 1, -((1 - total) >> 1))
    constant_48_over_17, constant_neg_32_over_17 = 1515870810, -1010580540  # Q2.29
    x = constant_48_over_17 + doubling_high_multiply(half, constant_neg_32_over_17)
    for _ in range(3):
        one_minus = (1 << 29) - doubling_high_multiply(half, x)
        x = wrap32(x + saturating_left_shift(doubling_high_multiply(x, one_minus), 2))
    return x


def one_over_one_plus_x(a: Int64) -> Int64:
    """1 / (1 + a) for a in (0, 1), Q0.31 to Q0.31 (gemmlowp)."""
    return saturating_left_shift(_newton_reciprocal(a), 1)


def one_minus_x_over_one_plus_x(a: Int64) -> Int64:
    """(1 - a) / (1 + a) for a in (0, 1), Q0.31 to Q0.31 (gemmlowp)."""
    return saturating_left_shift(_newton_reciprocal(a) - (1 << 29), 2)


def exp_on_negative(a: Int64, integer_bits: int) -> Int64:
    """exp(a) for a <= 0 in Q(integer_bits).(31 - integer_bits); result in Q0.31 (gemmlowp)."""
    fractional = 31 - integer_bits
    quarter = np.int64(1) << (fractional - 2)
    a_mod = (a & (quarter - 1)) - quarter
    result = _exp_on_interval(a_mod << integer_bits)
    remainder = a_mod - a
    for exponent, constant in (
        (-2, 1672461947),
        (-1, 1302514674),
        (0, 790015084),
        (1, 290630308),
        (2, 39332535),
        (3, 720401),
        (4, 242),
    ):
        if integer_bits > exponent:
            bit = np.int64(1) << (fractional + exponent)
            scaled = doubling_high_multiply(result, constant)
            result = np.where(remainder & bit, scaled, result)
    if integer_bits > 5:
        clamp = -(np.int64(1) << (fractional + 5))
        result = np.where(a < clamp, 0, result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_on_interval(a: Int64) -> Int64:
    """exp(a) for a in [-1/4, 0), Q0.31: fourth-order Taylor series around -1/8 (gemmlowp)."""
    constant_term, constant_third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    x4_over_4 = rounding_divide_by_pot(x4, 2)
    inner = rounding_divide_by_pot(doubling_high_multiply(x4_over_4 + x3, constant_third) + x2, 1)
    return constant_term + doubling_high_multiply(constant_term, x + inner)


def log_of_one_and_more(x: Int64, integer_bits: int, result_bits: int) -> Int64:
    """Natural logarithm of x >= 1 in Q(integer_bits), as Q(result_bits): a power of two and a
    quotient of polynomials around it (TFLite log_x_for_x_greater_than_or_equal_to_1)."""
    log_2, root_half, fourth_root_half = 1488522236, 1518500250, 1805811301
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    # One bit more than the result, as products with the power of two may saturate.
    bits = result_bits + 1
    quarter = rounding_divide_by_pot(1 << 29, bits)
    times = doubling_high_multiply
    # Twice: as it is, and times the root of one half; the better of the two is taken.
    zeros_a = 31 - np.floor(np.log2(x)).astype(np.int64)
    scaled_a = saturating_left_shift(times(x << (zeros_a - 1), root_half), 1)
    zeros_b = 30 - np.floor(np.log2(times(x, root_half))).astype(np.int64)
    scaled_b = np.minimum(x << zeros_b, INT32_MAX)
    power_a = saturating_left_shift(integer_bits - zeros_a, 31 - bits) + quarter
    power_b = saturating_left_shift(integer_bits - zeros_b, 31 - bits) - quarter
    power = np.clip(np.maximum(power_a, power_b), INT32_MIN, INT32_MAX)
    r = np.minimum(scaled_a, scaled_b)
    p, q = (r + fourth_root_half + 1) >> 1, 2 * (r - fourth_root_half)
    square = times(q, q)
    numerator = times(q, r) + times(times(q, square), alpha_n)
    inner = alpha_i + q + times(alpha_d, square)
    denominator = times(p, inner) + times(alpha_f, q)
    part = times(rounding_divide_by_pot(numerator, bits), one_over_one_plus_x(denominator))
    return saturating_left_shift(times(power, log_2) + part, 1)


def saturate(x: Any, dtype: DType, bounds: tuple[int, int] | None = None) -> NDArray[Any]:
    """Values saturated to ``bounds``, by default the range of ``dtype``, as that type."""
    low, high = bounds or dtype.limits
    return np.asarray(np.clip(x, low, high), dtype.numpy)


def clamp_int8(x: Any, low: int = -128, high: int = 127) -> NDArray[np.int8]:
    """int8 of values saturated to [low, high]."""
    return np.asarray(np.clip(x, low, high), np.int8)
