/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul.h"
#include "window.h"

void tml_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input, int8_t *output,
                   int32_t y_begin, int32_t y_end) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t zero = record.header.input_zero_point;
    const int32_t channels = shape->input_c;
    const int32_t kernel_row = shape->kernel_w * channels;
    const int32_t filter = shape->kernel_h * kernel_row;
    const int32_t step = shape->dilation_w * channels;

    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            const int32_t taps = h.end - h.begin;
            /* Without dilation the taps of one row are one run, in the input and in the filter. */
            const int32_t runs = shape->dilation_w == 1 ? (taps > 0) : taps;
            const int32_t length = shape->dilation_w == 1 ? taps * channels : channels;
            const int32_t column = h.origin * channels + h.begin * step;
            const int8_t *weights = record.weights + v.begin * kernel_row + h.begin * channels;
            for (int32_t c = 0; c < shape->output_c; ++c, weights += filter) {
                int32_t sum = record.bias[c];
                const int8_t *w_row = weights;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in =
                        window_input_row(shape, input, v.origin + i * shape->dilation_h) + column;
                    const int8_t *w = w_row;
                    for (int32_t j = 0; j < runs; ++j) {
                        sum = matmul_dot(in, w, length, zero, sum);
                        in += step;
                        w += channels;
                    }
                    w_row += kernel_row;
                }
                *to++ = matmul_finish(&record, (size_t)c, sum);
            }
        }
    }
}
