/* SPDX-License-Identifier: Apache-2.0 */
#include "select.h"

#if TML_USE_DSP
#include "simd.h"
#include "window.h"

/* Filters up to this many weights are applied to columns gathered on the stack; two columns. */
#define COLUMN_MAX 288

/* Copies the inputs under the window at (y, x), padding included, in the filter's order. */
static void gather(const tml_window_t *shape, const int8_t *input, int8_t padding, int32_t y,
                   int32_t x, int8_t *column) {
    const int32_t channels = shape->input_c;
    for (int32_t i = 0; i < shape->kernel_h; ++i) {
        const int32_t in_y = y * shape->stride_h - shape->pad_top + i * shape->dilation_h;
        const int inside_y = in_y >= 0 && in_y < shape->input_h;
        for (int32_t j = 0; j < shape->kernel_w; ++j, column += channels) {
            const int32_t in_x = x * shape->stride_w - shape->pad_left + j * shape->dilation_w;
            if (inside_y && in_x >= 0 && in_x < shape->input_w) {
                const int8_t *from = input + (in_y * shape->input_w + in_x) * channels;
                for (int32_t k = 0; k < channels; ++k) column[k] = from[k];
            } else {
                for (int32_t k = 0; k < channels; ++k) column[k] = padding;
            }
        }
    }
}

static void by_columns(const tml_window_t *shape, const matmul_record_t *record,
                       const int8_t *input, int8_t *output) {
    int8_t columns[2][COLUMN_MAX];
    const int32_t length = shape->kernel_h * shape->kernel_w * shape->input_c;
    const int32_t outputs = shape->output_c;
    const int8_t padding = (int8_t)record->header.input_zero_point;
    int waiting = 0;
    for (int32_t y = 0; y < shape->output_h; ++y) {
        for (int32_t x = 0; x < shape->output_w; ++x) {
            gather(shape, input, padding, y, x, columns[waiting]);
            if (waiting) {
                matmul_rows(record, columns[0], columns[1], length, outputs, output,
                            output + outputs);
                output += 2 * outputs;
            }
            waiting = !waiting;
        }
    }
    if (waiting) matmul_rows(record, columns[0], columns[0], length, outputs, output, NULL);
}

/* 1x1, stride 1, no padding: pixels are rows of a matrix. */
static void pointwise(const tml_window_t *shape, const matmul_record_t *record, const int8_t *input,
                      int8_t *output) {
    const int32_t length = shape->input_c, outputs = shape->output_c;
    int32_t pixels = shape->output_h * shape->output_w;
    for (; pixels >= 2; pixels -= 2, input += 2 * length, output += 2 * outputs) {
        matmul_rows(record, input, input + length, length, outputs, output, output + outputs);
    }
    if (pixels) matmul_rows(record, input, input, length, outputs, output, NULL);
}

/* Filters too large to gather: dot products of each contiguous run. */
static void by_runs(const tml_window_t *shape, const matmul_record_t *record, const int8_t *input,
                    int8_t *output) {
    const int32_t zero = record->header.input_zero_point;
    const int32_t channels = shape->input_c;
    const int32_t kernel_row = shape->kernel_w * channels;
    for (int32_t y = 0; y < shape->output_h; ++y) {
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            const int32_t taps = h.end - h.begin;
            const int32_t runs = shape->dilation_w == 1 ? (taps > 0) : taps;
            const int32_t length = shape->dilation_w == 1 ? taps * channels : channels;
            for (int32_t c = 0; c < shape->output_c; ++c) {
                int32_t sum = record->bias[c];
                for (int32_t i = v.begin; i < v.end; ++i) {
                    const int32_t in_y = v.origin + i * shape->dilation_h;
                    const int32_t in_x = h.origin + h.begin * shape->dilation_w;
                    const int8_t *in = input + (in_y * shape->input_w + in_x) * channels;
                    const int8_t *w = record->weights + (c * shape->kernel_h + i) * kernel_row +
                                      h.begin * channels;
                    for (int32_t j = 0; j < runs; ++j) {
                        sum = dot_1x1(in, w, length, zero, sum);
                        in += shape->dilation_w * channels;
                        w += channels;
                    }
                }
                *output++ = matmul_finish(record, (size_t)c, sum);
            }
        }
    }
}

void tml_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                   int8_t *output) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t taps = shape->kernel_h * shape->kernel_w;
    const int same_size = shape->input_h == shape->output_h && shape->input_w == shape->output_w;
    if (taps == 1 && same_size && shape->pad_top == 0 && shape->pad_left == 0) {
        pointwise(shape, &record, input, output);
    } else if (taps * shape->input_c <= COLUMN_MAX) {
        by_columns(shape, &record, input, output);
    } else {
        by_runs(shape, &record, input, output);
    }
}

#else
typedef int not_empty;
#endif
