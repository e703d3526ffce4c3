/* SPDX-License-Identifier: Apache-2.0 */
#include "sums.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* The zero point is added after the clamp, where it cannot overflow. */
static inline int32_t mean_of(const tml_mean_data_t *d, int32_t sum, int32_t low, int32_t high) {
    const int32_t zero = d->output_zero_point;
    return tml_clamp(tml_requantise(sum, d->multiplier, d->shift), low - zero, high - zero) + zero;
}

static inline int8_t mean_s8(const tml_mean_data_t *d, int32_t sum) {
    return (int8_t)mean_of(d, sum, INT8_MIN, INT8_MAX);
}

void tml_mean_s8(const tml_reduce_t *shape, const void *data, const int8_t *input, int8_t *output) {
    const tml_mean_data_t d = *(const tml_mean_data_t *)data;
    const uint32_t count = shape->count, channels = shape->channels, rows = shape->rows;
    const int32_t offset = d.input_zero_point * (int32_t)count;
    for (uint32_t r = 0; r < rows; ++r, input += count * channels) {
        if (channels == 1) {
            *output++ = mean_s8(&d, sum_of_bytes(input, count) - offset);
            continue;
        }
        uint32_t c = 0;
        for (; c + 4 <= channels; c += 4, output += 4) {
            int32_t sums[4] = {-offset, -offset, -offset, -offset};
            add_fours(input + c, channels, count, sums);
            for (int k = 0; k < 4; ++k) output[k] = mean_s8(&d, sums[k]);
        }
        for (; c < channels; ++c) {
            int32_t sum = -offset;
            const int8_t *in = input + c;
            for (uint32_t i = 0; i < count; ++i, in += channels) sum += *in;
            *output++ = mean_s8(&d, sum);
        }
    }
}

void tml_mean_s16(const tml_reduce_t *shape, const void *data, const int16_t *input,
                  int16_t *output) {
    const tml_mean_data_t d = *(const tml_mean_data_t *)data;
    const uint32_t count = shape->count, channels = shape->channels, rows = shape->rows;
    const int32_t offset = d.input_zero_point * (int32_t)count;
    for (uint32_t r = 0; r < rows; ++r, input += count * channels) {
        for (uint32_t c = 0; c < channels; ++c) {
            int32_t sum = -offset;
            const int16_t *in = input + c;
            uint32_t left = count;
            for (; left >= 4; left -= 4, in += 4 * channels) {
                sum += in[0];
                sum += in[channels];
                sum += in[2 * channels];
                sum += in[3 * channels];
            }
            for (; left > 0; --left, in += channels) sum += *in;
            *output++ = (int16_t)mean_of(&d, sum, INT16_MIN, INT16_MAX);
        }
    }
}
