/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of a window that lies inside the input.
 */
#ifndef TINYML_PORTABLE_WINDOW_H
#define TINYML_PORTABLE_WINDOW_H

#include <stdint.h>

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

#endif
