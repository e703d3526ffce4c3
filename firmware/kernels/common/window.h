/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of a window that lies inside the input.
 */
#ifndef TINYML_PORTABLE_WINDOW_H
#define TINYML_PORTABLE_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "tinyml/kernels.h"

/* Kernel positions [begin, end) whose input index origin + position * dilation is in
 * [0, size). */
typedef struct {
    int32_t origin, begin, end;
} window_span_t;

static inline window_span_t window_span(int32_t output, int32_t stride, int32_t pad,
                                        int32_t dilation, int32_t kernel, int32_t size) {
    window_span_t span;
    span.origin = output * stride - pad;
    span.begin = span.origin < 0 ? (-span.origin + dilation - 1) / dilation : 0;
    const int32_t room = size - span.origin;
    const int32_t fits = room > 0 ? (room + dilation - 1) / dilation : 0;
    span.end = fits < kernel ? fits : kernel;
    return span;
}

/* Where row y of a ring of rows lies. */
static inline size_t window_ring(int32_t y, int32_t ring, int32_t row_bytes) {
    return (size_t)((y < ring ? y : y % ring) * row_bytes);
}

static inline const int8_t *window_input_row(const tml_window_t *shape, const int8_t *input,
                                             int32_t y) {
    return input + window_ring(y, shape->input_ring, shape->input_w * shape->input_c);
}

static inline int8_t *window_output_row(const tml_window_t *shape, int8_t *output, int32_t y) {
    return output + window_ring(y, shape->output_ring, shape->output_w * shape->output_c);
}

/* How many rows from y on lie side by side in both rings, where input and output rows pair up. */
static inline int32_t window_rows_together(const tml_window_t *shape, int32_t y, int32_t y_end) {
    const int32_t in = shape->input_ring - y % shape->input_ring;
    const int32_t out = shape->output_ring - y % shape->output_ring;
    const int32_t both = in < out ? in : out;
    return both < y_end - y ? both : y_end - y;
}

#endif
