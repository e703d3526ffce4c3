/* SPDX-License-Identifier: Apache-2.0
 *
 * TFLite's fixed-point arithmetic, double-rounding form. The definition is the numpy version in
 * tinyml/ir/fixedpoint.py; the source of both is gemmlowp's fixedpoint.h.
 */
#ifndef TINYML_FIXEDPOINT_H
#define TINYML_FIXEDPOINT_H

#include <stdint.h>

/* x * 2**n modulo 2**32, without undefined behaviour. */
static inline int32_t tml_shift_left(int32_t x, int32_t n) {
    return (int32_t)((uint32_t)x << n);
}

/* The high half of 2ab, rounded to nearest. Multipliers are positive, so no case overflows.
 * gemmlowp adds a nudge that depends on the sign and then truncates toward zero; adding one half
 * and shifting down gives the same integer for either sign. */
static inline int32_t tml_doubling_high_multiply(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2**n, rounded half away from zero; 0 <= n <= 31. */
static inline int32_t tml_rounding_divide_by_pot(int32_t x, int32_t n) {
    const int32_t mask = (int32_t)(((uint32_t)1 << n) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> n) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier * 2**(shift - 31) with two roundings. */
static inline int32_t tml_requantise(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    const int32_t high = tml_doubling_high_multiply(tml_shift_left(x, left), multiplier);
    return tml_rounding_divide_by_pot(high, right);
}

/* The same of a 64-bit accumulator below 2**47: a 16-bit multiplier, one rounding. shift < 15. */
static inline int32_t tml_requantise_wide(int64_t x, int32_t multiplier, int32_t shift) {
    const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    const int32_t right = 15 - shift;
    return (int32_t)((x * reduced + ((int64_t)1 << (right - 1))) >> right);
}

static inline int32_t tml_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

static inline int32_t tml_saturating_shift_left(int32_t x, int32_t n) {
    const int64_t wide = (int64_t)x * ((int64_t)1 << n);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* 1 / (1 + a) for a in (0, 1), Q0.31 to Q0.31: three Newton-Raphson steps. */
static inline int32_t tml_one_over_one_plus_x(int32_t a) {
    const int64_t total = (int64_t)a + INT32_MAX;
    const int32_t half = (int32_t)((total + (total >= 0 ? 1 : -1)) / 2);
    /* 48/17 and -32/17 in Q2.29. */
    int32_t x = 1515870810 + tml_doubling_high_multiply(half, -1010580540);
    for (int step = 0; step < 3; ++step) {
        const int32_t rest = (1 << 29) - tml_doubling_high_multiply(half, x);
        x += tml_saturating_shift_left(tml_doubling_high_multiply(x, rest), 2);
    }
    return tml_saturating_shift_left(x, 1);
}

/* 1 / sqrt(x) = multiplier * 2**(shift - 31). */
typedef struct {
    int32_t multiplier, shift;
} tml_root_t;

/* x > 0. Five Newton-Raphson steps in Q3.28. */
static inline tml_root_t tml_inverse_square_root(int32_t x) {
    tml_root_t result = {INT32_MAX, 0};
    if (x <= 1) return result;
    int32_t shift = 11;
    for (; x >= (1 << 29); x /= 4) ++shift;
    for (; x < (1 << 27); x *= 4) --shift;
    const int32_t half = tml_rounding_divide_by_pot(x >> 1, 1);
    const int32_t half_three = (1 << 28) + (1 << 27);
    int32_t root = 1 << 28;
    for (int step = 0; step < 5; ++step) {
        const int32_t square = tml_doubling_high_multiply(root, root);
        const int32_t cube = tml_saturating_shift_left(tml_doubling_high_multiply(square, root), 6);
        root = tml_saturating_shift_left(tml_doubling_high_multiply(half_three, root) -
                                             tml_doubling_high_multiply(half, cube),
                                         3);
    }
    result.multiplier = tml_doubling_high_multiply(root, 1518500250); /* sqrt(1/2) */
    if (shift < 0) {
        result.multiplier = tml_shift_left(result.multiplier, -shift);
        shift = 0;
    }
    result.shift = -shift;
    return result;
}

/* exp(a) for a in [-1/4, 0), Q0.31: Taylor series around -1/8. */
static inline int32_t tml_exp_on_interval(int32_t a) {
    const int32_t x = a + (1 << 28);
    const int32_t x2 = tml_doubling_high_multiply(x, x);
    const int32_t x3 = tml_doubling_high_multiply(x2, x);
    const int32_t x4_over_4 = tml_rounding_divide_by_pot(tml_doubling_high_multiply(x2, x2), 2);
    const int32_t third = tml_doubling_high_multiply(x4_over_4 + x3, 715827883);
    const int32_t inner = tml_rounding_divide_by_pot(third + x2, 1);
    return 1895147668 + tml_doubling_high_multiply(1895147668, x + inner);
}

/* exp(a) for a <= 0 in Q5.26, result in Q0.31. */
static inline int32_t tml_exp_on_negative_q5(int32_t a) {
    /* exp(-2**k) in Q0.31 for k = -2 .. 4. */
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308,
                                      39332535,   720401,     242};
    if (a == 0) return INT32_MAX;
    const int32_t quarter = (int32_t)1 << 24;
    const int32_t a_mod = (a & (quarter - 1)) - quarter;
    int32_t result = tml_exp_on_interval(tml_shift_left(a_mod, 5));
    const int32_t remainder = a_mod - a;
    for (int k = 0; k < 7; ++k) {
        if (remainder & tml_shift_left(1, 24 + k)) {
            result = tml_doubling_high_multiply(result, powers[k]);
        }
    }
    return result;
}

/* Leading zeros of x > 0. */
static inline int32_t tml_leading_zeros(int32_t x) {
    int32_t count = 0;
    for (; count < 31 && !((uint32_t)x & 0x80000000u); x = tml_shift_left(x, 1)) ++count;
    return count;
}

/* The natural logarithm of x >= 1 in Q12.19, as Q5.26: a power of two, and a quotient of
 * polynomials around it. */
static inline int32_t tml_log_of_one_and_more(int32_t x) {
    const int32_t root_half = 1518500250, fourth_root_half = 1805811301;
    const int32_t quarter = 1 << 23; /* in Q6.25 */
    const int32_t zeros_a = tml_leading_zeros(x);
    const int32_t upper = tml_shift_left(x, zeros_a - 1);
    const int32_t r_a = tml_saturating_shift_left(tml_doubling_high_multiply(upper, root_half), 1);
    const int32_t zeros_b = tml_leading_zeros(tml_doubling_high_multiply(x, root_half)) - 1;
    const int32_t r_b = tml_saturating_shift_left(x, zeros_b);
    const int32_t power_a = tml_shift_left(12 - zeros_a, 25) + quarter;
    const int32_t power_b = tml_shift_left(12 - zeros_b, 25) - quarter;
    const int32_t power = power_a > power_b ? power_a : power_b;
    const int32_t r = r_a < r_b ? r_a : r_b;
    const int32_t p = (int32_t)(((int64_t)r + fourth_root_half + 1) >> 1);
    const int32_t q = 2 * (r - fourth_root_half);
    const int32_t square = tml_doubling_high_multiply(q, q);
    const int32_t cube = tml_doubling_high_multiply(q, square);
    const int32_t numerator =
        tml_doubling_high_multiply(q, r) + tml_doubling_high_multiply(cube, 117049297);
    const int32_t inner = 1057819769 + q + tml_doubling_high_multiply(127690142, square);
    const int32_t denominator =
        tml_doubling_high_multiply(p, inner) + tml_doubling_high_multiply(638450708, q);
    const int32_t part = tml_doubling_high_multiply(tml_rounding_divide_by_pot(numerator, 6),
                                                    tml_one_over_one_plus_x(denominator));
    return tml_saturating_shift_left(tml_doubling_high_multiply(power, 1488522236) + part, 1);
}

#endif
