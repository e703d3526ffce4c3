/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* The zero point is added after the clamp, where it cannot overflow. */
#define MEAN_OF(TYPE, SUM, LOW, HIGH)                                                              \
    (TYPE)(tml_clamp(tml_requantise(SUM, mean.multiplier, mean.shift), (LOW)-zero, (HIGH)-zero) +  \
           zero)

/* Four channels at a time: they share the step from one position to the next. */
#define MEAN_LOOP(TYPE, LOW, HIGH)                                                                 \
    const tml_mean_data_t mean = *(const tml_mean_data_t *)data;                                   \
    const uint32_t count = shape->count, channels = shape->channels, rows = shape->rows;           \
    const int32_t offset = mean.input_zero_point * (int32_t)count;                                 \
    const int32_t zero = mean.output_zero_point;                                                   \
    for (uint32_t r = 0; r < rows; ++r, input += count * channels) {                               \
        uint32_t c = 0;                                                                            \
        for (; c + 4 <= channels; c += 4, output += 4) {                                           \
            int32_t sum0 = -offset, sum1 = -offset, sum2 = -offset, sum3 = -offset;                \
            const TYPE *in = input + c;                                                            \
            for (uint32_t i = 0; i < count; ++i, in += channels) {                                 \
                sum0 += in[0];                                                                     \
                sum1 += in[1];                                                                     \
                sum2 += in[2];                                                                     \
                sum3 += in[3];                                                                     \
            }                                                                                      \
            output[0] = MEAN_OF(TYPE, sum0, LOW, HIGH);                                            \
            output[1] = MEAN_OF(TYPE, sum1, LOW, HIGH);                                            \
            output[2] = MEAN_OF(TYPE, sum2, LOW, HIGH);                                            \
            output[3] = MEAN_OF(TYPE, sum3, LOW, HIGH);                                            \
        }                                                                                          \
        for (; c < channels; ++c) {                                                                \
            int32_t sum = -offset;                                                                 \
            const TYPE *in = input + c;                                                            \
            for (uint32_t i = 0; i < count; ++i, in += channels) {                                 \
                sum += *in;                                                                        \
            }                                                                                      \
            *output++ = MEAN_OF(TYPE, sum, LOW, HIGH);                                             \
        }                                                                                          \
    }

void tml_mean_s8(const tml_reduce_t *shape, const void *data, const int8_t *input, int8_t *output) {
    MEAN_LOOP(int8_t, INT8_MIN, INT8_MAX)
}

void tml_mean_s16(const tml_reduce_t *shape, const void *data, const int16_t *input,
                  int16_t *output) {
    MEAN_LOOP(int16_t, INT16_MIN, INT16_MAX)
}
