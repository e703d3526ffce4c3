/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"
#include "window.h"

void tml_average_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                         int8_t *output, int32_t y_begin, int32_t y_end) {
    const tml_pool_data_t *clamp = (const tml_pool_data_t *)data;
    const int32_t channels = shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v =
            window_span(y, shape->stride_h, shape->pad_top, 1, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left, 1,
                                                shape->kernel_w, shape->input_w);
            const int32_t count = (v.end - v.begin) * (h.end - h.begin);
            for (int32_t c = 0; c < channels; ++c) {
                int32_t sum = 0;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = window_input_row(shape, input, v.origin + i) +
                                       (h.origin + h.begin) * channels + c;
                    for (int32_t j = h.begin; j < h.end; ++j, in += channels) {
                        sum += *in;
                    }
                }
                const int32_t half = sum > 0 ? count / 2 : -(count / 2);
                const int32_t mean = (sum + half) / count;
                *to++ = (int8_t)tml_clamp(mean, clamp->output_min, clamp->output_max);
            }
        }
    }
}
