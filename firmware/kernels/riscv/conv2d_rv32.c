/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "clamp.h"
#include "quad.h"
#include "window.h"

enum { TILE = 2 }; /* pixels; with four channels eight sums, which 31 registers hold */

typedef struct {
    const tml_window_t *shape;
    const quad_t *channels;
    const int8_t *weights; /* for each quad, each tap: four channels */
    int32_t taps;
} conv_t;

/* The compiler would load the inputs of several taps ahead and spill sums for them. */
#define KEEP_ORDER __asm volatile("" ::: "memory")

static inline int8_t finished(const quad_t *q, int32_t c, int32_t sum) {
    return (int8_t)requantised(sum, q->multiplier[c], -q->left_shift[c], q->constant[c]);
}

/* Two pixels times four channels at one tap. */
#define TWO(k)                                                                                     \
    do {                                                                                           \
        const int32_t x = a[k], y = b[k];                                                          \
        const int32_t w0 = w[4 * (k)], w1 = w[4 * (k) + 1], w2 = w[4 * (k) + 2];                   \
        const int32_t w3 = w[4 * (k) + 3];                                                         \
        a0 += x * w0;                                                                              \
        b0 += y * w0;                                                                              \
        a1 += x * w1;                                                                              \
        b1 += y * w1;                                                                              \
        a2 += x * w2;                                                                              \
        b2 += y * w2;                                                                              \
        a3 += x * w3;                                                                              \
        b3 += y * w3;                                                                              \
        KEEP_ORDER;                                                                                \
    } while (0)

/* The sums of four channels for two pixels. Its own function so that they stay in registers. */
static __attribute__((noinline)) void sums_of_two(const int8_t *w, const int8_t *a, const int8_t *b,
                                                  int32_t taps, const int32_t bias[4],
                                                  int32_t sums[TILE][4]) {
    int32_t a0 = bias[0], a1 = bias[1], a2 = bias[2], a3 = bias[3];
    int32_t b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    for (const int8_t *end = a + (taps & ~3); a != end; w += 16, a += 4, b += 4) {
        TWO(0);
        TWO(1);
        TWO(2);
        TWO(3);
    }
    for (taps &= 3; taps > 0; --taps, w += 4, ++a, ++b) TWO(0);
    sums[0][0] = a0, sums[0][1] = a1, sums[0][2] = a2, sums[0][3] = a3;
    sums[1][0] = b0, sums[1][1] = b1, sums[1][2] = b2, sums[1][3] = b3;
}

/* One pixel times four channels at one tap. */
#define ONE(k)                                                                                     \
    do {                                                                                           \
        const int32_t x = a[k];                                                                    \
        a0 += x * w[4 * (k)];                                                                      \
        a1 += x * w[4 * (k) + 1];                                                                  \
        a2 += x * w[4 * (k) + 2];                                                                  \
        a3 += x * w[4 * (k) + 3];                                                                  \
        KEEP_ORDER;                                                                                \
    } while (0)

static __attribute__((noinline)) void sums_of_one(const int8_t *w, const int8_t *a, int32_t taps,
                                                  const int32_t bias[4], int32_t sums[4]) {
    int32_t a0 = bias[0], a1 = bias[1], a2 = bias[2], a3 = bias[3];
    for (const int8_t *end = a + (taps & ~3); a != end; w += 16, a += 4) {
        ONE(0);
        ONE(1);
        ONE(2);
        ONE(3);
    }
    for (taps &= 3; taps > 0; --taps, w += 4, ++a) ONE(0);
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
}

/* All channels of one or two pixels. */
static void some_pixels(const conv_t *conv, const int8_t *const from[TILE], int8_t *to[TILE],
                        int32_t pixels) {
    const int8_t *w = conv->weights;
    const quad_t *q = conv->channels;
    for (int32_t left = conv->shape->output_c; left > 0; left -= 4, ++q, w += 4 * conv->taps) {
        int32_t sums[TILE][4];
        if (pixels == TILE) {
            sums_of_two(w, from[0], from[1], conv->taps, q->bias, sums);
        } else {
            sums_of_one(w, from[0], conv->taps, q->bias, sums[0]);
        }
        for (int32_t p = 0; p < pixels; ++p) {
            for (int32_t c = 0; c < 4 && c < left; ++c) *to[p]++ = finished(q, c, sums[p][c]);
        }
    }
}

/* The window's inputs in the filter's order, padding as the zero point. */
static void gather(const tml_window_t *shape, const int8_t *input, int8_t zero, int8_t *column,
                   const window_span_t *v, const window_span_t *h) {
    const int32_t channels = shape->input_c, line = shape->kernel_w * channels;
    for (int32_t i = 0; i < shape->kernel_h; ++i) {
        if (i < v->begin || i >= v->end) {
            fill_bytes(column, zero, line);
            column += line;
            continue;
        }
        const int8_t *row = window_input_row(shape, input, v->origin + i * shape->dilation_h);
        for (int32_t j = 0; j < shape->kernel_w; ++j, column += channels) {
            if (j >= h->begin && j < h->end) {
                copy_bytes(column, row + (h->origin + j * shape->dilation_w) * channels, channels);
            } else {
                fill_bytes(column, zero, channels);
            }
        }
    }
}

void tml_conv2d_s8_rv32(const tml_window_t *shape, const void *data, const int8_t *input,
                        int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    conv_t conv = {.shape = shape, .channels = (const quad_t *)(header + 1)};
    conv.weights = (const int8_t *)(conv.channels + (shape->output_c + 3) / 4);
    conv.taps = shape->kernel_h * shape->kernel_w * shape->input_c;
    const int one_tap =
        shape->kernel_h == 1 && shape->kernel_w == 1 && shape->pad_top == 0 && shape->pad_left == 0;
    const int8_t *from[TILE];
    int8_t *to[TILE];
    int32_t waiting = 0;
    for (int32_t y = y_begin; y < y_end; ++y) {
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        int8_t *row = window_output_row(shape, output, y);
        for (int32_t x = 0; x < shape->output_w; ++x, row += shape->output_c) {
            if (one_tap) {
                from[waiting] = window_input_row(shape, input, y * shape->stride_h) +
                                x * shape->stride_w * shape->input_c;
            } else {
                const window_span_t h =
                    window_span(x, shape->stride_w, shape->pad_left, shape->dilation_w,
                                shape->kernel_w, shape->input_w);
                int8_t *column = (int8_t *)scratch + waiting * conv.taps;
                gather(shape, input, (int8_t)header->input_zero_point, column, &v, &h);
                from[waiting] = column;
            }
            to[waiting] = row;
            if (++waiting == TILE) {
                some_pixels(&conv, from, to, TILE);
                waiting = 0;
            }
        }
    }
    if (waiting) some_pixels(&conv, from, to, waiting);
    clamp_rows(shape, header, output, y_begin, y_end);
}
