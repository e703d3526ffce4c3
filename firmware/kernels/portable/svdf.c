/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define SVDF_BODY(STATE, LOW, HIGH)                                                                \
    const tml_svdf_data_t d = *(const tml_svdf_data_t *)data;                                      \
    const uint32_t filters = shape->units * shape->rank, memory = shape->memory;                   \
    const int32_t *bias = (const int32_t *)(const void *)((const tml_svdf_data_t *)data + 1);      \
    const int8_t *feature = (const int8_t *)(bias + shape->units);                                 \
    const STATE *time =                                                                            \
        (const STATE *)(const void *)(feature + ((filters * shape->inputs + 3u) & ~3u));           \
    for (uint32_t u = 0; u < shape->units; ++u) {                                                  \
        uint32_t sum = (uint32_t)bias[u]; /* wraps, as the reference does */                       \
        for (uint32_t r = 0; r < shape->rank; ++r, state += memory) {                              \
            int32_t dot = 0;                                                                       \
            for (uint32_t i = 0; i < shape->inputs; ++i) {                                         \
                dot += *feature++ * (input[i] - d.input_zero_point);                               \
            }                                                                                      \
            for (uint32_t m = 0; m + 1 < memory; ++m) state[m] = state[m + 1];                     \
            dot = tml_requantise(dot, d.feature_multiplier, d.feature_shift);                      \
            const int32_t zero = d.state_zero_point;                                               \
            state[memory - 1] = (STATE)(tml_clamp(dot, LOW, HIGH) + zero);                         \
            for (uint32_t m = 0; m < memory; ++m) sum += (uint32_t)(*time++ * (state[m] - zero));  \
        }                                                                                          \
        const int32_t zero = d.output_zero_point;                                                  \
        const int32_t x = tml_requantise((int32_t)sum, d.time_multiplier, d.time_shift);           \
        *output++ = (int8_t)(tml_clamp(x, INT8_MIN - zero, INT8_MAX - zero) + zero);               \
    }

void tml_svdf_s8(const tml_svdf_t *shape, const void *data, const int8_t *input, int8_t *state,
                 int8_t *output) {
    SVDF_BODY(int8_t, INT8_MIN, INT8_MAX)
}

void tml_svdf_s16(const tml_svdf_t *shape, const void *data, const int8_t *input, int16_t *state,
                  int8_t *output) {
    SVDF_BODY(int16_t, INT16_MIN, INT16_MAX)
}
