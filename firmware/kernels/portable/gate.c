/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* The row's largest score counts 32767, so the sum is not 0; in Q16.15 it is below 2**31. */
static int32_t normalised(uint32_t sum, const int16_t *reciprocal, int32_t *right) {
    int32_t zeros = 1;
    for (; zeros < 17 && !((sum << zeros) & 0x80000000u); ++zeros) {
    }
    const int64_t scaled = (int64_t)sum << (zeros - 1);
    const int32_t fraction = (int32_t)((scaled + (1 << 13)) >> 14) - (3 << 15);
    *right = 31 - zeros;
    return lookup_s16(tml_clamp(fraction, INT16_MIN, INT16_MAX), reciprocal);
}

void tml_gate_s8_s16(const tml_softmax_t *shape, const void *data, const void *reciprocal,
                     const int8_t *values, const int8_t *scores, int16_t *output) {
    const tml_gate_data_t d = *(const tml_gate_data_t *)data;
    const int16_t *exponentials =
        (const int16_t *)(const void *)((const tml_gate_data_t *)data + 1);
    const uint32_t depth = shape->depth;
    for (uint32_t r = 0; r < shape->rows; ++r) {
        int32_t largest = INT8_MIN;
        for (uint32_t i = 0; i < depth; ++i) largest = scores[i] > largest ? scores[i] : largest;
        const int16_t *from_largest = exponentials + largest; /* [-score] */
        uint32_t sum = 0;
        for (uint32_t i = 0; i < depth; ++i) {
            const int32_t term = from_largest[-scores[i]];
            sum = sum + (uint32_t)term;
        }
        int32_t right;
        const int32_t factor = normalised(sum, (const int16_t *)reciprocal, &right);
        const int32_t half = (int32_t)1 << (right - 1);
        for (uint32_t i = 0; i < depth; ++i) {
            /* Both factors are at most 32767, right is at most 30: no sum exceeds 32 bits. */
            int32_t share = (from_largest[-scores[i]] * factor + half) >> right;
            share = share > INT16_MAX ? INT16_MAX : share;
            const int32_t product = (values[i] - d.value_zero_point) * share;
            const int32_t x = tml_requantise(product, d.multiplier, d.shift);
            output[i] = (int16_t)tml_clamp(x, INT16_MIN, INT16_MAX);
        }
        values += depth;
        scores += depth;
        output += depth;
    }
}
