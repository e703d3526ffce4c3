/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_log_softmax_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                        int8_t *output) {
    const tml_log_softmax_data_t *d = (const tml_log_softmax_data_t *)data;
    const int32_t diff_min = d->diff_min < 0 ? d->diff_min : 0;
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->depth, output += shape->depth) {
        int32_t largest = INT8_MIN;
        for (uint32_t i = 0; i < shape->depth; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        /* The row's maximum counts 2**19. */
        uint32_t sum = 0;
        for (uint32_t i = 0; i < shape->depth; ++i) {
            const int32_t diff = input[i] - largest;
            if (diff < diff_min) continue;
            const int32_t scaled = tml_requantise(diff, d->multiplier, d->shift);
            sum += (uint32_t)tml_rounding_divide_by_pot(tml_exp_on_negative_q5(scaled), 12);
        }
        const int32_t logarithm = tml_log_of_one_and_more((int32_t)(sum & INT32_MAX) | 1);
        const int32_t reach =
            tml_requantise(INT32_MIN + logarithm, d->back_multiplier, d->back_shift);
        const int32_t lowest = reach > diff_min - 1 ? reach : diff_min - 1;
        for (uint32_t i = 0; i < shape->depth; ++i) {
            const int32_t diff = input[i] - largest;
            int32_t result = INT8_MIN;
            if (diff > lowest) {
                const int32_t scaled = tml_requantise(diff, d->multiplier, d->shift);
                const int32_t both = (int32_t)((uint32_t)scaled - (uint32_t)logarithm);
                result = tml_rounding_divide_by_pot(both, 22) + 127;
            }
            output[i] = (int8_t)tml_clamp(result, INT8_MIN, INT8_MAX);
        }
    }
}
