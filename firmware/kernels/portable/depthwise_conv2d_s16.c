/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul_s16.h"
#include "window.h"

void tml_depthwise_conv2d_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                              int16_t *output) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->output_c);
    const int32_t in_c = shape->input_c, out_c = shape->output_c, multiplier = out_c / in_c;
    const int32_t step = shape->dilation_w * in_c;
    for (int32_t y = 0; y < shape->output_h; ++y) {
        const window_span_t rows = window_span(y, shape->stride_h, shape->pad_top,
                                               shape->dilation_h, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t cols =
                window_span(x, shape->stride_w, shape->pad_left, shape->dilation_w, shape->kernel_w,
                            shape->input_w);
            for (int32_t channel = 0, c = 0, m = 0; c < out_c; ++c) {
                /* `channel` is c / multiplier. */
                if (m == multiplier) ++channel, m = 0;
                ++m;
                int64_t sum = record.bias[c];
                for (int32_t i = rows.begin; i < rows.end; ++i) {
                    const int32_t in_y = rows.origin + i * shape->dilation_h;
                    const int32_t in_x = cols.origin + cols.begin * shape->dilation_w;
                    const int16_t *in = input + (in_y * shape->input_w + in_x) * in_c + channel;
                    const int8_t *w =
                        record.weights + (i * shape->kernel_w + cols.begin) * out_c + c;
                    int32_t part = 0; /* of at most 255 products */
                    for (int32_t j = cols.begin; j < cols.end; ++j, in += step, w += out_c) {
                        part += *in * *w;
                    }
                    sum += part;
                }
                *output++ = matmul_s16_finish(&record, (size_t)c, sum);
            }
        }
    }
}
