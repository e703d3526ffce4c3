/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "dot.h"
#include "sums.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* Over the state; wraps, as the reference does. */
static inline int32_t time_sum_s8(const int8_t *time, const int8_t *state, uint32_t memory,
                                  int32_t zero) {
    return dot_s8(time, state, (int32_t)memory) - zero * sum_of_bytes(time, memory);
}

static inline int32_t time_sum_s16(const int16_t *time, const int16_t *state, uint32_t memory,
                                   int32_t zero) {
    if (zero == 0) return (int32_t)dot_wrapping_s16(time, state, memory);
    uint32_t sum = 0;
    for (uint32_t m = 0; m < memory; ++m) sum += (uint32_t)(time[m] * (state[m] - zero));
    return (int32_t)sum;
}

/* Four filters' sums over the input at a time: filters are as many rows as there are. */
#define SVDF_BODY(STATE, TIME_SUM, LOW, HIGH)                                                      \
    const tml_svdf_data_t d = *(const tml_svdf_data_t *)data;                                      \
    const uint32_t filters = shape->units * shape->rank, memory = shape->memory;                   \
    const int32_t inputs = (int32_t)shape->inputs, zero = d.state_zero_point;                      \
    const int32_t *bias = (const int32_t *)(const void *)((const tml_svdf_data_t *)data + 1);      \
    const int32_t *offset = bias + shape->units;                                                   \
    const int8_t *feature = (const int8_t *)(offset + filters);                                    \
    const STATE *time =                                                                            \
        (const STATE *)(const void *)(feature + ((filters * shape->inputs + 3u) & ~3u));           \
    int32_t dots[4];                                                                               \
    for (uint32_t u = 0, f = 0; u < shape->units; ++u) {                                           \
        uint32_t sum = (uint32_t)bias[u]; /* wraps, as the reference does */                       \
        for (uint32_t r = 0; r < shape->rank; ++r, ++f, state += memory) {                         \
            if (f + 4 <= filters && f % 4 == 0) {                                                  \
                dot_4_s8(feature + (int32_t)f * inputs, inputs, input, inputs, dots);              \
            } else if (f >= (filters & ~3u)) {                                                     \
                dots[f % 4] = dot_s8(feature + (int32_t)f * inputs, input, inputs);                \
            }                                                                                      \
            copy_bytes((int8_t *)state, (const int8_t *)(state + 1),                               \
                       (int32_t)((memory - 1) * sizeof(STATE)));                                   \
            const int32_t dot =                                                                    \
                tml_requantise(dots[f % 4] + offset[f], d.feature_multiplier, d.feature_shift);    \
            state[memory - 1] = (STATE)(tml_clamp(dot, LOW, HIGH) + zero);                         \
            sum += (uint32_t)TIME_SUM(time, state, memory, zero);                                  \
            time += memory;                                                                        \
        }                                                                                          \
        const int32_t out_zero = d.output_zero_point;                                              \
        const int32_t x = tml_requantise((int32_t)sum, d.time_multiplier, d.time_shift);           \
        *output++ = (int8_t)(tml_clamp(x, INT8_MIN - out_zero, INT8_MAX - out_zero) + out_zero);   \
    }

void tml_svdf_s8(const tml_svdf_t *shape, const void *data, const int8_t *input, int8_t *state,
                 int8_t *output) {
    SVDF_BODY(int8_t, time_sum_s8, INT8_MIN, INT8_MAX)
}

void tml_svdf_s16(const tml_svdf_t *shape, const void *data, const int8_t *input, int16_t *state,
                  int8_t *output) {
    SVDF_BODY(int16_t, time_sum_s16, INT16_MIN, INT16_MAX)
}
