/* SPDX-License-Identifier: Apache-2.0 */
#include "block_dsp.h"
#include "clamp.h"
#include "requantise.h"
#include "window.h"

enum { TILE = 4 };

typedef struct {
    const tml_window_t *shape;
    const tml_matmul_data_t *header;
    const pair_requantisation_t *channels;
    const int8_t *weights;
    int16_t *columns; /* TILE pixels, as block_dsp.h wants them */
    int8_t *raw;      /* their inputs in order, where runs are not whole words */
    int32_t taps;     /* a multiple of 4 */
} conv_t;

/* Extends inputs of one pixel, a multiple of 4, to its place in the tile. Returns the place of
 * what follows. */
static int16_t *widen_one(int16_t *column, const int8_t *from, int32_t length) {
    for (; length > 0; length -= 4, from += 4, column += 4 * TILE) {
        const int32_t four = load_word(from);
        store_word(column, even_bytes(four));
        store_word(column + 2 * TILE, odd_bytes(four));
    }
    return column;
}

/* Extends inputs of four pixels, a multiple of 4 each. */
static void widen_four(int16_t *columns, const int8_t *from, int32_t length) {
    const int8_t *const end = from + length;
    for (; from != end; from += 4, columns += 4 * TILE) {
        const int32_t a = load_word(from), b = load_word(from + length);
        const int32_t c = load_word(from + 2 * length), d = load_word(from + 3 * length);
        store_word(columns, even_bytes(a));
        store_word(columns + 2, even_bytes(b));
        store_word(columns + 4, even_bytes(c));
        store_word(columns + 6, even_bytes(d));
        store_word(columns + 8, odd_bytes(a));
        store_word(columns + 10, odd_bytes(b));
        store_word(columns + 12, odd_bytes(c));
        store_word(columns + 14, odd_bytes(d));
    }
}

/* All channels of four pixels. */
static void four_pixels(const conv_t *conv, int8_t *const outputs[TILE]) {
    const int32_t pairs = conv->shape->output_c / 2;
    const int32_t zero = 2 * conv->header->output_zero_point + 1;
    const int16_t *end = conv->columns + conv->taps * TILE;
    if (pairs > 0) {
        tml_dsp_block_2x4(conv->weights, conv->columns, end, conv->channels, outputs[0], outputs[1],
                          outputs[2], outputs[3], zero, pairs);
    }
    if (conv->shape->output_c & 1) {
        int8_t last[TILE][2];
        tml_dsp_block_2x4(conv->weights + 2 * pairs * conv->taps, conv->columns, end,
                          conv->channels + pairs, last[0], last[1], last[2], last[3], zero, 1);
        for (int32_t p = 0; p < TILE; ++p) outputs[p][2 * pairs] = last[p][0];
    }
}

/* All channels of the first pixel of the tile. */
static void one_pixel(const conv_t *conv, int8_t *output) {
    const int32_t zero = 2 * conv->header->output_zero_point + 1;
    const int8_t *weights = conv->weights;
    const pair_requantisation_t *channels = conv->channels;
    const int16_t *const end = conv->columns + conv->taps * TILE;
    for (int32_t left = conv->shape->output_c; left > 0; left -= 2, ++channels) {
        int32_t a = channels->bias[0], b = channels->bias[1];
        for (const int16_t *x = conv->columns; x != end; x += 4 * TILE, weights += 8) {
            const int32_t w0 = load_word(weights), w1 = load_word(weights + 4);
            const pair_t x0 = load_word(x), x1 = load_word(x + 2 * TILE);
            a = dual_multiply(even_bytes(w0), x0, a);
            b = dual_multiply(odd_bytes(w0), x0, b);
            a = dual_multiply(even_bytes(w1), x1, a);
            b = dual_multiply(odd_bytes(w1), x1, b);
        }
        const int32_t of_a = rounding_constant(zero, channels->shift[0]);
        *output++ = (int8_t)requantised(a, channels->multiplier[0], channels->shift[0], of_a);
        if (left == 1) break;
        const int32_t of_b = rounding_constant(zero, channels->shift[1]);
        *output++ = (int8_t)requantised(b, channels->multiplier[1], channels->shift[1], of_b);
    }
}

/* Finishes a tile of which only the first pixels exist: the others repeat the last, and write
 * what it writes. */
static void some_pixels(const conv_t *conv, int8_t *outputs[TILE], int32_t pixels) {
    if (pixels == 1) {
        one_pixel(conv, outputs[0]);
        return;
    }
    for (int16_t *x = conv->columns; x != conv->columns + conv->taps * TILE; x += 2 * TILE) {
        for (int32_t p = pixels; p < TILE; ++p) {
            store_word(x + 2 * p, load_word(x + 2 * (pixels - 1)));
        }
    }
    for (int32_t p = pixels; p < TILE; ++p) outputs[p] = outputs[pixels - 1];
    four_pixels(conv, outputs);
}

/* 1x1, stride 1, channels in whole words: neighbouring pixels lie side by side. */
static void pointwise(const conv_t *conv, const int8_t *input, int8_t *output, int32_t pixels) {
    const int32_t in_c = conv->shape->input_c, out_c = conv->shape->output_c;
    for (; pixels > 0; pixels -= TILE, input += TILE * in_c) {
        int8_t *outputs[TILE];
        for (int32_t p = 0; p < TILE; ++p, output += out_c) outputs[p] = output;
        if (pixels >= TILE) {
            widen_four(conv->columns, input, in_c);
            four_pixels(conv, outputs);
        } else {
            for (int32_t p = 0; p < pixels; ++p) {
                widen_one(conv->columns + 2 * p, input + p * in_c, in_c);
            }
            some_pixels(conv, outputs, pixels);
        }
    }
}

static __attribute__((noinline)) int16_t *widen_value(int16_t *column, int8_t value,
                                                      int32_t length) {
    const pair_t both = low_halves(value, value);
    for (; length > 0; length -= 4, column += 4 * TILE) {
        store_word(column, both);
        store_word(column + 2 * TILE, both);
    }
    return column;
}

/* The window's inputs in the filter's order, padding as the zero point; runs in whole words. */
static __attribute__((noinline)) void gather_words(const conv_t *conv, const int8_t *input,
                                                   int16_t *column, const window_span_t *v,
                                                   const window_span_t *h) {
    const tml_window_t *shape = conv->shape;
    const int32_t channels = shape->input_c;
    const int8_t zero = (int8_t)conv->header->input_zero_point;
    const int32_t taps = h->end - h->begin;
    for (int32_t i = 0; i < shape->kernel_h; ++i) {
        if (i < v->begin || i >= v->end || taps <= 0) {
            column = widen_value(column, zero, shape->kernel_w * channels);
            continue;
        }
        const int8_t *from = window_input_row(shape, input, v->origin + i * shape->dilation_h) +
                             (h->origin + h->begin * shape->dilation_w) * channels;
        column = widen_value(column, zero, h->begin * channels);
        if (shape->dilation_w == 1) {
            column = widen_one(column, from, taps * channels);
        } else {
            for (int32_t j = 0; j < taps; ++j, from += shape->dilation_w * channels) {
                column = widen_one(column, from, channels);
            }
        }
        column = widen_value(column, zero, (shape->kernel_w - h->end) * channels);
    }
}

static int8_t *copy_run(int8_t *to, const int8_t *from, int32_t count) {
    for (; count >= 4; count -= 4, from += 4, to += 4) store_word(to, load_word(from));
    for (; count > 0; --count) *to++ = *from++;
    return to;
}

static int8_t *fill_run(int8_t *to, int8_t value, int32_t count) {
    for (; count > 0; --count) *to++ = value;
    return to;
}

/* The same for runs of any length, as bytes. */
static __attribute__((noinline)) void gather_bytes(const conv_t *conv, const int8_t *input,
                                                   int8_t *raw, const window_span_t *v,
                                                   const window_span_t *h) {
    const tml_window_t *shape = conv->shape;
    const int32_t channels = shape->input_c, taps = h->end - h->begin;
    const int32_t step = shape->dilation_w * channels;
    const int32_t run = shape->dilation_w == 1 ? taps * channels : channels;
    const int8_t zero = (int8_t)conv->header->input_zero_point;
    int8_t *to = raw;
    for (int32_t i = 0; i < shape->kernel_h; ++i) {
        if (i < v->begin || i >= v->end || taps <= 0) {
            to = fill_run(to, zero, shape->kernel_w * channels);
            continue;
        }
        const int8_t *from = window_input_row(shape, input, v->origin + i * shape->dilation_h) +
                             h->origin * channels + h->begin * step;
        to = fill_run(to, zero, h->begin * channels);
        for (int32_t left = taps * channels; left > 0; left -= run, from += step) {
            to = copy_run(to, from, run);
        }
        to = fill_run(to, zero, (shape->kernel_w - h->end) * channels);
    }
    fill_run(to, 0, (int32_t)(raw + conv->taps - to)); /* the weights there are zero */
}

static void windows(const conv_t *conv, const int8_t *input, int8_t *output, int32_t y_begin,
                    int32_t y_end) {
    const tml_window_t *shape = conv->shape;
    int8_t *outputs[TILE];
    int32_t waiting = 0;
    for (int32_t y = y_begin; y < y_end; ++y) {
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        int8_t *to = window_output_row(shape, output, y);
        for (int32_t x = 0; x < shape->output_w; ++x, to += shape->output_c) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            if (conv->raw) {
                gather_bytes(conv, input, conv->raw + waiting * conv->taps, &v, &h);
            } else {
                gather_words(conv, input, conv->columns + 2 * waiting, &v, &h);
            }
            outputs[waiting++] = to;
            if (waiting == TILE) {
                if (conv->raw) widen_four(conv->columns, conv->raw, conv->taps);
                four_pixels(conv, outputs);
                waiting = 0;
            }
        }
    }
    for (int32_t p = 0; conv->raw && p < waiting; ++p) {
        widen_one(conv->columns + 2 * p, conv->raw + p * conv->taps, conv->taps);
    }
    if (waiting) some_pixels(conv, outputs, waiting);
}

static int is_pointwise(const tml_window_t *shape) {
    return shape->kernel_h == 1 && shape->kernel_w == 1 && shape->pad_top == 0 &&
           shape->pad_left == 0 && shape->input_w == shape->output_w &&
           shape->input_h == shape->output_h;
}

void tml_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                       int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const int32_t taps = (shape->kernel_h * shape->kernel_w * shape->input_c + 3) & ~3;
    const int32_t pairs = (shape->output_c + 1) / 2;
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const pair_requantisation_t *channels = (const pair_requantisation_t *)(header + 1);
    const int words = shape->input_c % 4 == 0;
    int16_t *columns = (int16_t *)scratch;
    const conv_t conv = {shape,    header,
                         channels, (const int8_t *)(channels + pairs),
                         columns,  words ? 0 : (int8_t *)(columns + taps * TILE),
                         taps};
    if (words && is_pointwise(shape)) {
        for (int32_t y = y_begin, rows; y < y_end; y += rows) {
            rows = window_rows_together(shape, y, y_end);
            pointwise(&conv, window_input_row(shape, input, y), window_output_row(shape, output, y),
                      rows * shape->output_w);
        }
    } else {
        windows(&conv, input, output, y_begin, y_end);
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
