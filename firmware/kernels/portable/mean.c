/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* The zero point is added after the clamp, where it cannot overflow. */
#define MEAN_LOOP(TYPE, LOW, HIGH)                                                                 \
    const tml_mean_data_t mean = *(const tml_mean_data_t *)data;                                   \
    const int32_t offset = mean.input_zero_point * (int32_t)shape->count;                          \
    const int32_t zero = mean.output_zero_point;                                                   \
    const uint32_t channels = shape->channels;                                                     \
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->count * channels) {                 \
        for (uint32_t c = 0; c < channels; ++c) {                                                  \
            int32_t sum = -offset;                                                                 \
            const TYPE *in = input + c;                                                            \
            for (uint32_t i = 0; i < shape->count; ++i, in += channels) {                          \
                sum += *in;                                                                        \
            }                                                                                      \
            const int32_t scaled = tml_requantise(sum, mean.multiplier, mean.shift);               \
            *output++ = (TYPE)(tml_clamp(scaled, (LOW)-zero, (HIGH)-zero) + zero);                 \
        }                                                                                          \
    }

void tml_mean_s8(const tml_reduce_t *shape, const void *data, const int8_t *input, int8_t *output) {
    MEAN_LOOP(int8_t, INT8_MIN, INT8_MAX)
}

void tml_mean_s16(const tml_reduce_t *shape, const void *data, const int16_t *input,
                  int16_t *output) {
    MEAN_LOOP(int16_t, INT16_MIN, INT16_MAX)
}
