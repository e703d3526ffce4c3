/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"
#include "window.h"

#define POOL_LOOP(BEGIN, STEP, FINISH)                                                             \
    const tml_pool_data_t clamp = *(const tml_pool_data_t *)data;                                  \
    const int32_t low = clamp.output_min, high = clamp.output_max;                                 \
    for (int32_t y = 0; y < shape->output_h; ++y) {                                                \
        const window_span_t v =                                                                    \
            window_span(y, shape->stride_h, shape->pad_top, 1, shape->kernel_h, shape->input_h);   \
        for (int32_t x = 0; x < shape->output_w; ++x) {                                            \
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left, 1,            \
                                                shape->kernel_w, shape->input_w);                  \
            for (int32_t c = 0; c < shape->input_c; ++c) {                                         \
                int32_t found = BEGIN;                                                             \
                for (int32_t i = v.begin; i < v.end; ++i) {                                        \
                    for (int32_t j = h.begin; j < h.end; ++j) {                                    \
                        const int32_t at = (v.origin + i) * shape->input_w + h.origin + j;         \
                        const int32_t value = input[at * shape->input_c + c];                      \
                        found = STEP;                                                              \
                    }                                                                              \
                }                                                                                  \
                *output++ = (int16_t)tml_clamp(FINISH, low, high);                                 \
            }                                                                                      \
        }                                                                                          \
    }

static inline int32_t mean_of(int32_t sum, int32_t count) {
    const int32_t half = sum > 0 ? count / 2 : -(count / 2);
    return (sum + half) / count;
}

void tml_average_pool_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                          int16_t *output) {
    POOL_LOOP(0, found + value, mean_of(found, (v.end - v.begin) * (h.end - h.begin)))
}

void tml_max_pool_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                      int16_t *output) {
    POOL_LOOP(low, value > found ? value : found, found)
}
