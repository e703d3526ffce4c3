/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul.h"
#include "window.h"

void tml_depthwise_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                             int8_t *output, int32_t y_begin, int32_t y_end) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t zero = record.header.input_zero_point;
    const int32_t channels = shape->input_c;
    const int32_t outputs = shape->output_c;
    const int32_t multiplier = outputs / channels;
    const int32_t kernel_row = shape->kernel_w * outputs;
    const int32_t step = shape->dilation_w * channels;

    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            for (int32_t c = 0, out = 0; c < channels; ++c) {
                for (int32_t m = 0; m < multiplier; ++m, ++out) {
                    int32_t sum = record.bias[out];
                    for (int32_t i = v.begin; i < v.end; ++i) {
                        const int8_t *in =
                            window_input_row(shape, input, v.origin + i * shape->dilation_h) +
                            h.origin * channels + h.begin * step + c;
                        const int8_t *w = record.weights + i * kernel_row + h.begin * outputs + out;
                        for (int32_t j = h.begin; j < h.end; ++j, in += step, w += outputs) {
                            sum += (*in - zero) * *w;
                        }
                    }
                    *to++ = matmul_finish(&record, (size_t)out, sum);
                }
            }
        }
    }
}
