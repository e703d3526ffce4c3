/* SPDX-License-Identifier: Apache-2.0
 *
 * One row of attention weights.
 */
#ifndef TINYML_MASKED_SOFTMAX_H
#define TINYML_MASKED_SOFTMAX_H

#include "tinyml/fixedpoint.h"

#define MASKED_SUM_BITS 12

/* scores of padded keys are not read. The lowest score stands in for them in the sum. */
static inline void masked_softmax_row(const int32_t *exponentials, const int8_t *scores,
                                      const int32_t *ids, int32_t padding, uint32_t keys,
                                      int16_t *weights) {
    int32_t largest = INT8_MIN;
    uint32_t padded = 0;
    for (uint32_t j = 0; j < keys; ++j) {
        if (ids[j] == padding) {
            ++padded;
        } else if (scores[j] > largest) {
            largest = scores[j];
        }
    }
    const int32_t *from_largest = exponentials + largest; /* [-score] */
    const int32_t lowest = exponentials[largest - INT8_MIN];
    uint32_t sum = padded * (uint32_t)tml_rounding_divide_by_pot(lowest, MASKED_SUM_BITS);
    for (uint32_t j = 0; j < keys; ++j) {
        if (ids[j] != padding) {
            sum += (uint32_t)tml_rounding_divide_by_pot(from_largest[-scores[j]], MASKED_SUM_BITS);
        }
    }
    /* The sum is 2**(MASKED_SUM_BITS - headroom) * (1 + fraction). */
    int32_t headroom = 0;
    for (; headroom < 31 && !(sum & 0x80000000u); sum <<= 1) ++headroom;
    const int32_t reciprocal = tml_one_over_one_plus_x((int32_t)(sum - 0x80000000u));
    const int32_t bits = MASKED_SUM_BITS - headroom + 31 - 16;
    for (uint32_t j = 0; j < keys; ++j) {
        int32_t weight = 0;
        if (ids[j] != padding) {
            const int32_t part = tml_doubling_high_multiply(reciprocal, from_largest[-scores[j]]);
            const int32_t full = tml_clamp(tml_rounding_divide_by_pot(part, bits), 0, UINT16_MAX);
            weight = tml_clamp((full + 1) >> 1, 0, INT16_MAX);
        }
        weights[j] = (int16_t)weight;
    }
}

#endif
