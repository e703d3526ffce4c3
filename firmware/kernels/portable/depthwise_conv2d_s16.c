/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul_s16.h"
#include "window.h"

void tml_depthwise_conv2d_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                              int16_t *output) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->output_c);
    const uint32_t multiplier = (uint32_t)shape->output_c / shape->input_c;
    for (int32_t y = 0; y < shape->output_h; ++y) {
        const window_span_t rows = window_span(y, shape->stride_h, shape->pad_top,
                                               shape->dilation_h, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t cols =
                window_span(x, shape->stride_w, shape->pad_left, shape->dilation_w, shape->kernel_w,
                            shape->input_w);
            for (uint32_t c = 0; c < shape->output_c; ++c) {
                int64_t sum = record.bias[c];
                for (int32_t i = rows.begin; i < rows.end; ++i) {
                    const int32_t in_y = rows.origin + i * shape->dilation_h;
                    for (int32_t j = cols.begin; j < cols.end; ++j) {
                        const int32_t in_x = cols.origin + j * shape->dilation_w;
                        const size_t pixel = (size_t)in_y * shape->input_w + (size_t)in_x;
                        const size_t tap = (size_t)i * shape->kernel_w + (size_t)j;
                        sum += input[pixel * shape->input_c + c / multiplier] *
                               record.weights[tap * shape->output_c + c];
                    }
                }
                *output++ = matmul_s16_finish(&record, c, sum);
            }
        }
    }
}
