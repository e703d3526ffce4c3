/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"
#include "window.h"

static inline int8_t mean_of(int32_t sum, int32_t count, int32_t low, int32_t high) {
    const int32_t half = sum > 0 ? count / 2 : -(count / 2);
    return (int8_t)tml_clamp((sum + half) / count, low, high);
}

void tml_average_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                         int8_t *output, int32_t y_begin, int32_t y_end) {
    const tml_pool_data_t clamp = *(const tml_pool_data_t *)data;
    const int32_t low = clamp.output_min, high = clamp.output_max;
    const int32_t channels = shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v =
            window_span(y, shape->stride_h, shape->pad_top, 1, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left, 1,
                                                shape->kernel_w, shape->input_w);
            const int32_t count = (v.end - v.begin) * (h.end - h.begin);
            const int32_t left = (h.origin + h.begin) * channels;
            int32_t c = 0;
            for (; c + 4 <= channels; c += 4, to += 4) {
                int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = window_input_row(shape, input, v.origin + i) + left + c;
                    for (int32_t j = h.begin; j < h.end; ++j, in += channels) {
                        sum0 += in[0];
                        sum1 += in[1];
                        sum2 += in[2];
                        sum3 += in[3];
                    }
                }
                to[0] = mean_of(sum0, count, low, high);
                to[1] = mean_of(sum1, count, low, high);
                to[2] = mean_of(sum2, count, low, high);
                to[3] = mean_of(sum3, count, low, high);
            }
            for (; c < channels; ++c) {
                int32_t sum = 0;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = window_input_row(shape, input, v.origin + i) + left + c;
                    for (int32_t j = h.begin; j < h.end; ++j, in += channels) {
                        sum += *in;
                    }
                }
                *to++ = mean_of(sum, count, low, high);
            }
        }
    }
}
