/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums of bytes, four at a time where the core can.
 */
#ifndef TINYML_SUMS_H
#define TINYML_SUMS_H

#include "simd.h"

enum { SUMS_RUN = 255 }; /* so many bytes' sum fits 16 bits */

/* Adds `count` words of four bytes, `step` bytes apart, to four sums. */
static inline void add_fours(const int8_t *in, uint32_t step, uint32_t count, int32_t sums[4]) {
#if TML_USE_DSP
    while (count > 0) {
        const uint32_t run = count < SUMS_RUN ? count : SUMS_RUN;
        const int8_t *const end = in + run * step;
        pair_t even = 0, odd = 0;
        for (; in != end; in += step) {
            const int32_t four = load_word(in);
            even = add_even_bytes(even, four);
            odd = add_odd_bytes(odd, four);
        }
        sums[0] += low_of(even), sums[1] += low_of(odd);
        sums[2] += high_of(even), sums[3] += high_of(odd);
        count -= run;
    }
#else
    int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
    for (; count > 0; --count, in += step) {
        sum0 += in[0];
        sum1 += in[1];
        sum2 += in[2];
        sum3 += in[3];
    }
    sums[0] = sum0, sums[1] = sum1, sums[2] = sum2, sums[3] = sum3;
#endif
}

/* The sum of `count` neighbouring bytes. */
static __attribute__((noinline, unused)) int32_t sum_of_bytes(const int8_t *in, uint32_t count) {
    int32_t sums[4] = {0, 0, 0, 0};
    add_fours(in, 4, count / 4, sums);
    int32_t sum = sums[0] + sums[1] + sums[2] + sums[3];
    for (uint32_t i = count & ~3u; i < count; ++i) sum += in[i];
    return sum;
}

#endif
