/* SPDX-License-Identifier: Apache-2.0
 *
 * The input rows under one window, copied with their padding: a ring that moves down the image.
 */
#ifndef TINYML_PADDED_ROWS_H
#define TINYML_PADDED_ROWS_H

#include "bytes.h"
#include "window.h"

typedef struct {
    const tml_window_t *shape;
    int8_t zero; /* padding */
    int8_t *rows;
    int32_t ring; /* rows that one window spans */
    int32_t row;  /* bytes */
} padded_rows_t;

static inline padded_rows_t padded_rows(const tml_window_t *shape, int8_t zero, int8_t *memory) {
    padded_rows_t r = {.shape = shape, .zero = zero, .rows = memory};
    const int32_t width =
        (shape->output_w - 1) * shape->stride_w + (shape->kernel_w - 1) * shape->dilation_w + 1;
    r.ring = (shape->kernel_h - 1) * shape->dilation_h + 1;
    r.row = (width > shape->pad_left ? width : shape->pad_left) * shape->input_c;
    return r;
}

/* Row y with its padding, which it may be altogether. */
static inline void load_padded_row(const padded_rows_t *r, const int8_t *input, int32_t y,
                                   int8_t *to) {
    const tml_window_t *shape = r->shape;
    if (y < 0 || y >= shape->input_h) {
        fill_bytes(to, r->zero, r->row);
        return;
    }
    const int32_t left = shape->pad_left * shape->input_c;
    const int32_t room = r->row - left, whole = shape->input_w * shape->input_c;
    const int32_t bytes = whole < room ? whole : room;
    fill_bytes(to, r->zero, left);
    copy_bytes(to + left, window_input_row(shape, input, y), bytes);
    fill_bytes(to + left + bytes, r->zero, room - bytes);
}

/* Loads what output row y needs. next: the first row not loaded, counting padding; returns the
 * new one. */
static inline int32_t load_padded_rows(const padded_rows_t *r, const int8_t *input, int32_t y,
                                       int32_t next) {
    const int32_t top = y * r->shape->stride_h;
    for (next = next < top ? top : next; next < top + r->ring; ++next) {
        load_padded_row(r, input, next - r->shape->pad_top, r->rows + next % r->ring * r->row);
    }
    return next;
}

/* The row under kernel row i of output row y. */
static inline const int8_t *padded_row(const padded_rows_t *r, int32_t y, int32_t i) {
    const int32_t at = y * r->shape->stride_h + i * r->shape->dilation_h;
    return r->rows + at % r->ring * r->row;
}

#endif
