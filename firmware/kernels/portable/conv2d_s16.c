/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "matmul.h"
#include "matmul_s16.h"
#include "window.h"

/* The sum of one window over one output channel's weights. */
static inline int64_t window_sum(const tml_window_t *s, const int16_t *input, const int8_t *weights,
                                 window_span_t rows, window_span_t cols) {
    const int32_t channels = s->input_c, taps = cols.end - cols.begin;
    /* Without dilation the taps of a row are neighbours. */
    const int32_t run = s->dilation_w == 1 ? taps * channels : channels;
    const int32_t step = s->dilation_w * channels;
    int64_t sum = 0;
    for (int32_t i = rows.begin; i < rows.end; ++i) {
        const int32_t y = rows.origin + i * s->dilation_h;
        const int16_t *in =
            input + (y * s->input_w + cols.origin + cols.begin * s->dilation_w) * channels;
        const int8_t *w = weights + (i * s->kernel_w + cols.begin) * channels;
        for (int32_t left = taps * channels; left > 0; left -= run, in += step, w += run) {
            sum += dot_s16_s8(in, w, run);
        }
    }
    return sum;
}

#define CONV_LOOP(FINISH)                                                                          \
    const size_t size = (size_t)shape->kernel_h * shape->kernel_w * shape->input_c;                \
    for (int32_t y = 0; y < shape->output_h; ++y) {                                                \
        const window_span_t rows =                                                                 \
            window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h, shape->kernel_h,    \
                        shape->input_h);                                                           \
        for (int32_t x = 0; x < shape->output_w; ++x) {                                            \
            const window_span_t cols =                                                             \
                window_span(x, shape->stride_w, shape->pad_left, shape->dilation_w,                \
                            shape->kernel_w, shape->input_w);                                      \
            for (size_t c = 0; c < shape->output_c; ++c) {                                         \
                const int8_t *w = record.weights + c * size;                                       \
                const int64_t sum = record.bias[c] + window_sum(shape, input, w, rows, cols);      \
                *output++ = FINISH;                                                                \
            }                                                                                      \
        }                                                                                          \
    }

void tml_conv2d_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                    int16_t *output) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->output_c);
    CONV_LOOP(matmul_s16_finish(&record, c, sum))
}

void tml_conv2d_s16_b32(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t low = record.header.output_min, high = record.header.output_max;
    CONV_LOOP((int16_t)tml_clamp(
        tml_requantise((int32_t)(uint32_t)(uint64_t)sum, record.multiplier[c], record.shift[c]),
        low, high))
}
