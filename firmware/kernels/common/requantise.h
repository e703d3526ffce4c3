/* SPDX-License-Identifier: Apache-2.0
 *
 * TFLite's requantisation with two roundings, for right shifts 1 to 22 and sums below 2**30 in
 * magnitude, which the compiler has proved (tinyml/kernels/layer.py).
 *
 * The first rounding is the high word of (2 * sum) * multiplier. The second rounds half away from
 * zero: adding half, and -1 below zero, before the shift. It takes the sign of the sum, not of the
 * product: they differ only where the product rounds to zero, and there both give zero. The
 * output's zero point is added before the shift, as a multiple of what is shifted out.
 */
#ifndef TINYML_DSP_REQUANTISE_H
#define TINYML_DSP_REQUANTISE_H

#include "simd.h"

/* twice_zero_plus_1: 2 * output zero point + 1. */
static inline int32_t rounding_constant(int32_t twice_zero_plus_1, int32_t shift) {
    return (int32_t)((uint32_t)twice_zero_plus_1 << shift) >> 1;
}

/* Of twice the sum, before it is saturated to its type. */
static inline int32_t scaled_twice(int32_t twice, int32_t multiplier, int32_t shift,
                                   int32_t constant) {
    const int32_t biased = constant + (twice >> 31);
    return multiply_high_rounded(twice, multiplier, biased) >> shift;
}

static inline int32_t requantised_twice(int32_t twice, int32_t multiplier, int32_t shift,
                                        int32_t constant) {
    return saturate_int8(scaled_twice(twice, multiplier, shift, constant));
}

static inline int32_t requantised(int32_t sum, int32_t multiplier, int32_t shift,
                                  int32_t constant) {
    return requantised_twice(sum * 2, multiplier, shift, constant);
}

#endif
