/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_softmax_s16(const tml_softmax_t *shape, const void *data, const void *tables,
                     const int16_t *input, int16_t *output) {
    const int32_t multiplier = ((const int32_t *)data)[0], shift = ((const int32_t *)data)[1];
    const int16_t *exponential = (const int16_t *)tables, *reciprocal = exponential + 513;
    const uint32_t depth = shape->depth;
    for (uint32_t r = 0; r < shape->rows; ++r, input += depth, output += depth) {
        int32_t largest = INT16_MIN;
        for (uint32_t i = 0; i < depth; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        uint32_t sum = 0; /* Q16.15, at least the largest element's 32767 */
        for (uint32_t i = 0; i < depth; ++i) {
            const int32_t diff = tml_requantise(input[i] - largest, multiplier, shift);
            const int32_t at = tml_clamp(diff, INT16_MIN - INT16_MAX, 0) + INT16_MAX;
            const int32_t term = lookup_s16(at, exponential);
            output[i] = (int16_t)term;
            sum = sum + (uint32_t)term;
        }
        int32_t zeros = 1;
        for (; zeros < 17 && !((sum << zeros) & 0x80000000u); ++zeros) {
        }
        const int64_t scaled = (int64_t)sum << (zeros - 1);
        const int32_t fraction = (int32_t)((scaled + (1 << 13)) >> 14) - (3 << 15);
        const int32_t factor = lookup_s16(tml_clamp(fraction, INT16_MIN, INT16_MAX), reciprocal);
        const int32_t right = 31 - zeros;
        for (uint32_t i = 0; i < depth; ++i) {
            const int64_t product = (int64_t)output[i] * factor + ((int64_t)1 << (right - 1));
            output[i] = (int16_t)tml_clamp((int32_t)(product >> right), 0, INT16_MAX);
        }
    }
}
