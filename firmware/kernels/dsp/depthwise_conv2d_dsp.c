/* SPDX-License-Identifier: Apache-2.0 */
#include "select.h"

#if TML_USE_DSP
#include "simd.h"
#include "window.h"

/* One output channel, for channels that do not fill a word and for multipliers above 1. */
static int8_t one_channel(const tml_window_t *shape, const matmul_record_t *record,
                          const int8_t *input, const window_span_t *v, const window_span_t *h,
                          int32_t in_c, int32_t out_c) {
    const int32_t zero = record->header.input_zero_point;
    int32_t sum = record->bias[out_c];
    for (int32_t i = v->begin; i < v->end; ++i) {
        for (int32_t j = h->begin; j < h->end; ++j) {
            const int32_t y = v->origin + i * shape->dilation_h;
            const int32_t x = h->origin + j * shape->dilation_w;
            const int8_t in = input[(y * shape->input_w + x) * shape->input_c + in_c];
            const int8_t w = record->weights[(i * shape->kernel_w + j) * shape->output_c + out_c];
            sum += (in - zero) * w;
        }
    }
    return matmul_finish(record, (size_t)out_c, sum);
}

void tml_depthwise_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                             int8_t *output) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t channels = shape->input_c, outputs = shape->output_c;
    const int32_t multiplier = outputs / channels;
    const int32_t row = shape->dilation_h * shape->input_w * channels;
    const int32_t step = shape->dilation_w * channels;
    const pair_t offset = both(-record.header.input_zero_point);

    for (int32_t y = 0; y < shape->output_h; ++y) {
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            const int32_t in_y = v.origin + v.begin * shape->dilation_h;
            const int32_t in_x = h.origin + h.begin * shape->dilation_w;
            const int8_t *first = input + (in_y * shape->input_w + in_x) * channels;
            const int8_t *weights =
                record.weights + (v.begin * shape->kernel_w + h.begin) * outputs;
            const int32_t taps = h.end - h.begin;
            int32_t c = 0;
            for (; multiplier == 1 && c + 4 <= channels; c += 4) {
                int32_t s0 = record.bias[c], s1 = record.bias[c + 1];
                int32_t s2 = record.bias[c + 2], s3 = record.bias[c + 3];
                const int8_t *in_row = first + c, *w_row = weights + c;
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int8_t *in = in_row, *w = w_row;
                    for (int32_t j = taps; j > 0; --j, in += step, w += outputs) {
                        const int32_t four = load_four(in), by = load_four(w);
                        const pair_t even = even_lanes_plus(offset, four), w_even = even_lanes(by);
                        s0 = multiply_low(even, w_even, s0);
                        s2 = multiply_high(even, w_even, s2);
                        const pair_t odd = odd_lanes_plus(offset, four), w_odd = odd_lanes(by);
                        s1 = multiply_low(odd, w_odd, s1);
                        s3 = multiply_high(odd, w_odd, s3);
                    }
                    in_row += row;
                    w_row += shape->kernel_w * outputs;
                }
                output[0] = matmul_finish(&record, (size_t)c, s0);
                output[1] = matmul_finish(&record, (size_t)c + 1, s1);
                output[2] = matmul_finish(&record, (size_t)c + 2, s2);
                output[3] = matmul_finish(&record, (size_t)c + 3, s3);
                output += 4;
            }
            for (; c < channels; ++c) {
                for (int32_t m = 0; m < multiplier; ++m) {
                    *output++ = one_channel(shape, &record, input, &v, &h, c, c * multiplier + m);
                }
            }
        }
    }
}

#else
typedef int not_empty;
#endif
