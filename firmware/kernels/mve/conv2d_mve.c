/* SPDX-License-Identifier: Apache-2.0 */
#include "block_mve.h"
#include "bytes.h"
#include "clamp.h"
#include "padded_rows.h"
#include "window.h"

enum { COLUMNS = 4 }; /* pixels gathered at a time */

/* Pixels behind which sixteen inputs can be read take the shorter way where it exists. */
static void run_block(const mve_block_t *all) {
    mve_block_t block = *all;
    const int32_t bytes = (block.pixels - 1) * block.input_step + block.taps;
    if (block.taps <= 16 && bytes >= 16) {
        const int32_t readable = (bytes - 16) / block.input_step + 1;
        block.pixels = readable < block.pixels ? readable : block.pixels;
        tml_mve_block_4x1_short(&block);
        block.input += block.pixels * block.input_step;
        block.output += block.pixels * block.output_step;
        block.pixels = all->pixels - block.pixels;
    }
    if (block.pixels > 0) tml_mve_block_4x1(&block);
}

/* All channels of the block's pixels. The last channels that are no quad go through a copy. */
static void all_channels(mve_block_t block, int32_t outputs) {
    block.quads = outputs / 4;
    if (block.quads > 0) run_block(&block);
    const int32_t rest = outputs % 4;
    if (rest == 0) return;
    int8_t last[COLUMNS][4];
    const int32_t lines = (block.taps + 15) / 16;
    block.weights += block.quads * lines * 64;
    block.channels += block.quads;
    int8_t *to = block.output + 4 * block.quads;
    const int32_t step = block.output_step;
    block.output = last[0];
    block.output_step = 4;
    block.quads = 1;
    for (int32_t left = block.pixels; left > 0; left -= COLUMNS) {
        block.pixels = left < COLUMNS ? left : COLUMNS;
        run_block(&block);
        for (int32_t p = 0; p < block.pixels; ++p, to += step) {
            for (int32_t c = 0; c < rest; ++c) to[c] = last[p][c];
        }
        block.input += block.pixels * block.input_step;
    }
}

/* The window's inputs in the filter's order, padding as the zero point. */
static void gather(const tml_window_t *shape, const int8_t *input, int8_t zero, int8_t *column,
                   const window_span_t *v, const window_span_t *h) {
    const int32_t channels = shape->input_c, line = shape->kernel_w * channels;
    const int32_t taps = h->end - h->begin;
    for (int32_t i = 0; i < shape->kernel_h; ++i, column += line) {
        if (i < v->begin || i >= v->end || taps <= 0) {
            fill_bytes(column, zero, line);
            continue;
        }
        const int8_t *from = window_input_row(shape, input, v->origin + i * shape->dilation_h) +
                             (h->origin + h->begin * shape->dilation_w) * channels;
        int8_t *to = column + h->begin * channels;
        if (taps < shape->kernel_w) fill_bytes(column, zero, line);
        if (shape->dilation_w == 1) {
            copy_bytes(to, from, taps * channels);
        } else {
            for (int32_t j = 0; j < taps; ++j, to += channels) {
                copy_bytes(to, from, channels);
                from += shape->dilation_w * channels;
            }
        }
    }
}

/* Windows whose rows are shorter than a vector: tap by tap, each for the pixels of a whole output
 * row. columns: output_w pixels of `taps` bytes; rows: a ring of padded input rows. */
static void thin_windows(const tml_window_t *shape, const mve_block_t *all, int8_t zero,
                         const int8_t *input, int8_t *output, int32_t y_begin, int32_t y_end,
                         int8_t *columns) {
    mve_block_t block = *all;
    block.input = columns;
    block.input_step = block.taps;
    block.pixels = shape->output_w;
    const int32_t channels = shape->input_c, step = shape->stride_w * channels;
    const padded_rows_t rows = padded_rows(shape, zero, columns + block.taps * block.pixels);
    for (int32_t i = shape->kernel_h * shape->kernel_w * channels; i < block.taps; ++i) {
        for (int32_t x = 0; x < block.pixels; ++x) columns[x * block.taps + i] = 0;
    }
    int32_t next = y_begin * shape->stride_h;
    for (int32_t y = y_begin; y < y_end; ++y) {
        next = load_padded_rows(&rows, input, y, next);
        int8_t *to = columns;
        for (int32_t i = 0; i < shape->kernel_h; ++i) {
            const int8_t *row = padded_row(&rows, y, i);
            for (int32_t j = 0; j < shape->kernel_w; ++j, row += shape->dilation_w * channels) {
                for (int32_t c = 0; c < channels; ++c) {
                    move_bytes(to++, block.taps, row + c, step, block.pixels);
                }
            }
        }
        block.output = window_output_row(shape, output, y);
        all_channels(block, shape->output_c);
    }
}

static void windows(const tml_window_t *shape, const mve_block_t *all, int8_t zero,
                    const int8_t *input, int8_t *output, int32_t y_begin, int32_t y_end,
                    int8_t *columns) {
    mve_block_t block = *all;
    block.input = columns;
    block.input_step = block.taps;
    for (int32_t y = y_begin; y < y_end; ++y) {
        const window_span_t v = window_span(y, shape->stride_h, shape->pad_top, shape->dilation_h,
                                            shape->kernel_h, shape->input_h);
        block.output = window_output_row(shape, output, y);
        block.pixels = 0;
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left,
                                                shape->dilation_w, shape->kernel_w, shape->input_w);
            gather(shape, input, zero, columns + block.pixels * block.taps, &v, &h);
            if (++block.pixels == COLUMNS || x + 1 == shape->output_w) {
                all_channels(block, shape->output_c);
                block.output += block.pixels * block.output_step;
                block.pixels = 0;
            }
        }
    }
}

void tml_conv2d_s8_mve(const tml_window_t *shape, const void *data, const int8_t *input,
                       int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const quad_t *channels = (const quad_t *)(header + 1);
    mve_block_t block = {.channels = channels};
    block.weights = (const int8_t *)(channels + (shape->output_c + 3) / 4);
    block.taps = shape->kernel_h * shape->kernel_w * shape->input_c;
    block.output_step = shape->output_c;
    const int one_tap =
        shape->kernel_h == 1 && shape->kernel_w == 1 && shape->pad_top == 0 && shape->pad_left == 0;
    if (one_tap) {
        block.input_step = shape->stride_w * shape->input_c;
        for (int32_t y = y_begin, rows; y < y_end; y += rows) {
            rows = shape->stride_h == 1 && shape->stride_w == 1
                       ? window_rows_together(shape, y, y_end)
                       : 1;
            block.input = window_input_row(shape, input, y * shape->stride_h);
            block.output = window_output_row(shape, output, y);
            block.pixels = rows * shape->output_w;
            all_channels(block, shape->output_c);
        }
    } else if (shape->kernel_w * shape->input_c < 16) {
        block.taps = (block.taps + 15) & ~15;
        thin_windows(shape, &block, (int8_t)header->input_zero_point, input, output, y_begin, y_end,
                     (int8_t *)scratch);
    } else {
        windows(shape, &block, (int8_t)header->input_zero_point, input, output, y_begin, y_end,
                (int8_t *)scratch);
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
