/* SPDX-License-Identifier: Apache-2.0
 *
 * int16 layers whose sums fit 32 bits, four outputs at a time.
 */
#ifndef TINYML_QUADS_S16_H
#define TINYML_QUADS_S16_H

#include "bytes.h"
#include "clamp.h"

enum { QUAD = 4, QUADS_ROUND = 8 };

typedef struct {
    int32_t bias[QUAD], multiplier[QUAD];
} quad_ends_t;

typedef struct {
    tml_matmul_data_t header;
    const quad_ends_t *ends;
    const int8_t *weights;
} quads_t;

static inline quads_t quads_of(const tml_window_t *shape, const void *data) {
    quads_t quads;
    quads.header = *(const tml_matmul_data_t *)data;
    quads.ends = (const quad_ends_t *)(const void *)((const tml_matmul_data_t *)data + 1);
    quads.weights = (const int8_t *)(quads.ends + (shape->output_c + QUAD - 1) / QUAD);
    return quads;
}

/* TFLite rounds the sum times 16 bits of the multiplier once: so does the high word, where the
 * compiler has shifted those bits to (tinyml/kernels/layer.py). */
static inline int32_t quad_finished(int32_t sum, int32_t multiplier) {
    return saturate_int16(multiply_high_rounded(sum, multiplier, 0));
}

static inline void quad_store(const int32_t sums[QUAD], const quad_ends_t *ends, int16_t *output) {
    for (int i = 0; i < QUAD; ++i) {
        output[i] = (int16_t)quad_finished(sums[i], ends->multiplier[i]);
    }
}

/* Finishes four outputs at a time from the inputs up to `end`, a multiple of QUADS_ROUND. */
typedef void (*dots_s16_t)(const int8_t *weights, const int16_t *input, const int16_t *end,
                           const quad_ends_t *ends, int16_t *output, int32_t quads);

/* The inputs under one window, in the order of the weights. */
static __attribute__((noinline, unused)) void
gather_s16(const tml_window_t *s, const int16_t *input, int32_t y, int32_t x, int16_t *column) {
    const window_span_t rows =
        window_span(y, s->stride_h, s->pad_top, s->dilation_h, s->kernel_h, s->input_h);
    const window_span_t cols =
        window_span(x, s->stride_w, s->pad_left, s->dilation_w, s->kernel_w, s->input_w);
    const int32_t channels = s->input_c, width = cols.end - cols.begin;
    if (rows.end - rows.begin < s->kernel_h || width < s->kernel_w) {
        fill_bytes((int8_t *)column, 0, 2 * s->kernel_h * s->kernel_w * channels);
    }
    /* Without dilation the taps of a row are neighbours. */
    const int32_t run = s->dilation_w == 1 ? width * channels : channels;
    for (int32_t i = rows.begin; i < rows.end; ++i) {
        const int32_t at_y = rows.origin + i * s->dilation_h;
        const int32_t at_x = cols.origin + cols.begin * s->dilation_w;
        const int16_t *in = input + (at_y * s->input_w + at_x) * channels;
        int16_t *to = column + (i * s->kernel_w + cols.begin) * channels;
        for (int32_t left = width * channels; left > 0; left -= run, to += run) {
            copy_bytes((int8_t *)to, (const int8_t *)in, 2 * run);
            in += s->dilation_w * channels;
        }
    }
}

static inline void conv2d_quads_s16(const tml_window_t *shape, const void *data,
                                    const int16_t *input, int16_t *output, int16_t *column,
                                    dots_s16_t dots) {
    const tml_window_t s = *shape;
    const quads_t quads = quads_of(&s, data);
    const int32_t taps = s.kernel_h * s.kernel_w * s.input_c;
    const int32_t length = (taps + QUADS_ROUND - 1) & -QUADS_ROUND;
    const int as_they_lie = taps == s.input_c && length == taps && !s.pad_top && !s.pad_left;
    const int32_t whole = s.output_c / QUAD, left = s.output_c % QUAD;
    for (int32_t i = taps; i < length; ++i) column[i] = 0;
    for (int32_t y = 0; y < s.output_h; ++y) {
        for (int32_t x = 0; x < s.output_w; ++x, output += s.output_c) {
            const int16_t *from = column;
            if (as_they_lie) {
                from = input + (y * s.stride_h * s.input_w + x * s.stride_w) * taps;
            } else {
                gather_s16(&s, input, y, x, column);
            }
            dots(quads.weights, from, from + length, quads.ends, output, whole);
            if (left > 0) {
                int16_t last[QUAD];
                dots(quads.weights + whole * QUAD * length, from, from + length, quads.ends + whole,
                     last, 1);
                for (int32_t i = 0; i < left; ++i) output[whole * QUAD + i] = last[i];
            }
        }
    }
    const int32_t count = s.output_h * s.output_w * s.output_c;
    clamp_halves(output - count, count, quads.header.output_min, quads.header.output_max);
}

/* Four channels of a window's taps inside the input. */
typedef struct {
    const int16_t *input;
    const int8_t *weights;
    int32_t rows, columns;
    int32_t column_step, row_step; /* of the input */
    int32_t weight_step;           /* from a row to the next */
} quad_taps_t;

typedef void (*taps_s16_t)(const quad_taps_t *taps, const quad_ends_t *ends, int16_t *output);

/* Depth multiplier 1, channels a multiple of four. */
static inline void depthwise_quads_s16(const tml_window_t *shape, const void *data,
                                       const int16_t *input, int16_t *output,
                                       taps_s16_t four_channels) {
    const tml_window_t s = *shape;
    const quads_t quads = quads_of(&s, data);
    const int32_t channels = s.output_c, size = s.kernel_h * s.kernel_w * QUAD;
    quad_taps_t taps;
    taps.column_step = s.dilation_w * channels;
    taps.row_step = s.dilation_h * s.input_w * channels;
    taps.weight_step = s.kernel_w * QUAD;
    for (int32_t y = 0; y < s.output_h; ++y) {
        const window_span_t rows =
            window_span(y, s.stride_h, s.pad_top, s.dilation_h, s.kernel_h, s.input_h);
        const int32_t at_y = rows.origin + rows.begin * s.dilation_h;
        taps.rows = rows.end - rows.begin;
        for (int32_t x = 0; x < s.output_w; ++x) {
            const window_span_t cols =
                window_span(x, s.stride_w, s.pad_left, s.dilation_w, s.kernel_w, s.input_w);
            const int32_t at_x = cols.origin + cols.begin * s.dilation_w;
            taps.columns = cols.end - cols.begin;
            taps.input = input + (at_y * s.input_w + at_x) * channels;
            taps.weights = quads.weights + (rows.begin * s.kernel_w + cols.begin) * QUAD;
            const quad_ends_t *ends = quads.ends;
            for (int32_t c = 0; c < channels; c += QUAD, ++ends, output += QUAD) {
                four_channels(&taps, ends, output);
                taps.input += QUAD;
                taps.weights += size;
            }
        }
    }
    const int32_t count = s.output_h * s.output_w * channels;
    clamp_halves(output - count, count, quads.header.output_min, quads.header.output_max);
}

#endif
