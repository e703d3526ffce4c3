/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define SUM_INTEGER_BITS 12

/* At most 31, whatever a malformed record made of the sum. */
static inline int32_t leading_zeros(uint32_t x) {
    int32_t count = 0;
    for (; count < 31 && !(x & 0x80000000u); x <<= 1) ++count;
    return count;
}

static inline int32_t exponential(const tml_softmax_data_t *d, int32_t diff) {
    return tml_exp_on_negative_q5(tml_requantise(diff, d->multiplier, d->shift));
}

/* The row's maximum always counts, so that the sum is not 0. The sum is up to 2**19 for each
 * element, and 2**(SUM_INTEGER_BITS - headroom) * (1 + fraction). From a sum of 2**28 on, 512 equal
 * elements, every int8 result is below one half. */
#define SOFTMAX_BODY(OUT, BITS, LOW, HIGH)                                                         \
    const tml_softmax_data_t *d = (const tml_softmax_data_t *)data;                                \
    const int32_t diff_min = d->diff_min < 0 ? d->diff_min : 0;                                    \
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->depth, output += shape->depth) {    \
        int32_t largest = INT8_MIN;                                                                \
        for (uint32_t i = 0; i < shape->depth; ++i) {                                              \
            largest = input[i] > largest ? input[i] : largest;                                     \
        }                                                                                          \
        uint32_t sum = 0;                                                                          \
        for (uint32_t i = 0; i < shape->depth; ++i) {                                              \
            const int32_t diff = input[i] - largest;                                               \
            if (diff >= diff_min) {                                                                \
                sum +=                                                                             \
                    (uint32_t)tml_rounding_divide_by_pot(exponential(d, diff), SUM_INTEGER_BITS);  \
            }                                                                                      \
        }                                                                                          \
        const int32_t headroom = leading_zeros(sum);                                               \
        const int32_t fraction = (int32_t)((sum << headroom) - 0x80000000u);                       \
        const int32_t reciprocal = tml_one_over_one_plus_x(fraction);                              \
        const int32_t bits = SUM_INTEGER_BITS - headroom + 31 - BITS;                              \
        for (uint32_t i = 0; i < shape->depth; ++i) {                                              \
            const int32_t diff = input[i] - largest;                                               \
            int32_t result = LOW;                                                                  \
            if (diff >= diff_min && bits <= 31) {                                                  \
                const int32_t part = tml_doubling_high_multiply(reciprocal, exponential(d, diff)); \
                result += tml_rounding_divide_by_pot(part, bits);                                  \
            }                                                                                      \
            output[i] = (OUT)tml_clamp(result, LOW, HIGH);                                         \
        }                                                                                          \
    }

void tml_softmax_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                    int8_t *output) {
    SOFTMAX_BODY(int8_t, 8, INT8_MIN, INT8_MAX)
}

void tml_softmax_s8_s16(const tml_softmax_t *shape, const void *data, const int8_t *input,
                        int16_t *output) {
    SOFTMAX_BODY(int16_t, 16, INT16_MIN, INT16_MAX)
}
