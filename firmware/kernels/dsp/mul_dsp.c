/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "requantise.h"

void tml_mul_s8_dsp(const tml_elements_t *shape, const void *data, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    const tml_mul_dsp_data_t *d = (const tml_mul_dsp_data_t *)data;
    const int32_t a_zero = d->a_zero_point, b_zero = d->b_zero_point;
    const int32_t multiplier = d->multiplier, shift = d->shift, constant = d->constant;
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t product = (a[i] - a_zero) * (b[i] - b_zero);
        output[i] = (int8_t)requantised(product, multiplier, shift, constant);
    }
    if (d->output_min == INT8_MIN && d->output_max == INT8_MAX) return;
    clamp_bytes(output, (int32_t)shape->count, d->output_min, d->output_max);
}
