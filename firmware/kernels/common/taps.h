/* SPDX-License-Identifier: Apache-2.0
 *
 * The inputs under a pooling window, row after row through the ring they lie in.
 */
#ifndef TINYML_TAPS_H
#define TINYML_TAPS_H

#include "window.h"

typedef struct {
    const int8_t *first; /* first channel of the first pixel */
    int32_t rows, columns;
    int32_t step;      /* bytes from a pixel to the next */
    int32_t row_bytes; /* from a row to the next */
    int32_t wrap;      /* the row that lies at the ring's begin, if any */
    int32_t ring_bytes;
} taps_t;

static inline taps_t window_taps(const tml_window_t *shape, const int8_t *input, window_span_t v,
                                 window_span_t h) {
    const int32_t row_bytes = shape->input_w * shape->input_c, y = v.origin + v.begin;
    taps_t taps;
    taps.first = window_input_row(shape, input, y) + (h.origin + h.begin) * shape->input_c;
    taps.rows = v.end - v.begin;
    taps.columns = h.end - h.begin;
    taps.step = shape->input_c;
    taps.row_bytes = row_bytes;
    taps.wrap = shape->input_ring - y % shape->input_ring;
    taps.ring_bytes = shape->input_ring * row_bytes;
    return taps;
}

/* The row behind row i. */
static inline const int8_t *taps_next_row(const taps_t *taps, const int8_t *row, int32_t i) {
    row += taps->row_bytes;
    return i + 1 == taps->wrap ? row - taps->ring_bytes : row;
}

#endif
