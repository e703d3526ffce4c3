/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "requantise.h"

void tml_mul_s8_dsp(const tml_repeated_t *shape, const void *data, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    const tml_mul_dsp_data_t *d = (const tml_mul_dsp_data_t *)data;
    const int32_t a_zero = d->a_zero_point, b_zero = d->b_zero_point;
    const int32_t multiplier = d->multiplier, shift = d->shift, constant = d->constant;
    const uint32_t period = shape->period, repeats = shape->repeats;
    int8_t *to = output;
    for (uint32_t r = 0; r < repeats; ++r, a += period, to += period) {
        for (uint32_t i = 0; i < period; ++i) {
            const int32_t product = (a[i] - a_zero) * (b[i] - b_zero);
            to[i] = (int8_t)requantised(product, multiplier, shift, constant);
        }
    }
    if (d->output_min == INT8_MIN && d->output_max == INT8_MAX) return;
    clamp_bytes(output, (int32_t)(repeats * period), d->output_min, d->output_max);
}
