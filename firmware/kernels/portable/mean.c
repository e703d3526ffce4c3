/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_mean_s8(const tml_mean_t *shape, const void *data, const int8_t *input, int8_t *output) {
    const tml_mean_data_t *mean = (const tml_mean_data_t *)data;
    const int32_t offset = mean->input_zero_point * (int32_t)shape->count;
    for (uint32_t c = 0; c < shape->channels; ++c) {
        int32_t sum = -offset;
        const int8_t *in = input + c;
        for (uint32_t i = 0; i < shape->count; ++i, in += shape->channels) {
            sum += *in;
        }
        const int32_t scaled = tml_requantise(sum, mean->multiplier, mean->shift);
        /* The zero point is added after the clamp, where it cannot overflow. */
        const int32_t zero = mean->output_zero_point;
        output[c] = (int8_t)(tml_clamp(scaled, INT8_MIN - zero, INT8_MAX - zero) + zero);
    }
}
