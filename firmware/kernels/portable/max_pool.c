/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"
#include "window.h"

static inline int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

void tml_max_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
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
            const int32_t left = (h.origin + h.begin) * channels;
            int32_t c = 0;
            for (; c + 4 <= channels; c += 4, to += 4) {
                int32_t max0 = low, max1 = low, max2 = low, max3 = low;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = window_input_row(shape, input, v.origin + i) + left + c;
                    for (int32_t j = h.begin; j < h.end; ++j, in += channels) {
                        max0 = larger(in[0], max0);
                        max1 = larger(in[1], max1);
                        max2 = larger(in[2], max2);
                        max3 = larger(in[3], max3);
                    }
                }
                to[0] = (int8_t)(max0 < high ? max0 : high);
                to[1] = (int8_t)(max1 < high ? max1 : high);
                to[2] = (int8_t)(max2 < high ? max2 : high);
                to[3] = (int8_t)(max3 < high ? max3 : high);
            }
            for (; c < channels; ++c) {
                int32_t largest = low;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = window_input_row(shape, input, v.origin + i) + left + c;
                    for (int32_t j = h.begin; j < h.end; ++j, in += channels) {
                        largest = larger(*in, largest);
                    }
                }
                *to++ = (int8_t)(largest < high ? largest : high);
            }
        }
    }
}
