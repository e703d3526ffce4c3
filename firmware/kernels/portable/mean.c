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
        output[c] = (int8_t)tml_clamp(scaled + mean->output_zero_point, INT8_MIN, INT8_MAX);
    }
}
