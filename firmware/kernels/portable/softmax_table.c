/* SPDX-License-Identifier: Apache-2.0
 *
 * The softmax of softmax.c: int8 elements lie 256 distances from the largest one of their row, so
 * a table holds every exponential there is. */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define SUM_INTEGER_BITS 12

void tml_softmax_s8_table(const tml_softmax_t *shape, const void *data, const int8_t *input,
                          int8_t *output) {
    const int32_t *exponentials = (const int32_t *)data;
    const uint32_t depth = shape->depth;
    for (uint32_t r = shape->rows; r > 0; --r, input += depth, output += depth) {
        int32_t largest = INT8_MIN;
        for (uint32_t i = 0; i < depth; ++i) largest = input[i] > largest ? input[i] : largest;
        const int32_t *from_largest = exponentials + largest; /* [-input] */
        uint32_t sum = 0;
        for (uint32_t i = 0; i < depth; ++i) {
            const int32_t term = from_largest[-input[i]];
            sum = sum + (uint32_t)tml_rounding_divide_by_pot(term, SUM_INTEGER_BITS);
        }
        /* The sum is 2**(SUM_INTEGER_BITS - headroom) * (1 + fraction). */
        int32_t headroom = 0;
        for (; headroom < 31 && !(sum & 0x80000000u); sum <<= 1) ++headroom;
        const int32_t reciprocal = tml_one_over_one_plus_x((int32_t)(sum - 0x80000000u));
        /* From a sum of 2**28 on, 512 equal elements, every result is below one half. */
        const int32_t bits = SUM_INTEGER_BITS - headroom + 31 - 8;
        for (uint32_t i = 0; i < depth; ++i) {
            int32_t result = INT8_MIN;
            if (bits <= 31) {
                const int32_t part =
                    tml_doubling_high_multiply(reciprocal, from_largest[-input[i]]);
                result += tml_rounding_divide_by_pot(part, bits);
            }
            output[i] = (int8_t)tml_clamp(result, INT8_MIN, INT8_MAX);
        }
    }
}
