/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels of pruned layers share: where the inputs of an output pixel are, and how a sum
 * becomes an output. Their weights are those that are not zero; tinyml/kernels/sparse.py lays them
 * out. Biases hold the input zero point, so zero weights count for nothing.
 */
#ifndef TINYML_SPARSE_H
#define TINYML_SPARSE_H

#include <stdbool.h>

#include "matmul.h"
#include "window.h"

/* The weights of a layer as they are read: channel after channel. */
typedef struct {
    const uint8_t *index;
    const int8_t *values;
    const uint16_t *counts; /* of each channel; not for bitmaps */
} sparse_weights_t;

/* The inputs under a window as one run of bytes: in place for a 1x1 convolution whose runs may be
 * read as they are, else gathered in scratch, padding as the zero point. */
static inline const int8_t *sparse_column(const tml_window_t *shape, const int8_t *input, int32_t y,
                                          int32_t x, int32_t zero, int32_t multiple,
                                          int8_t *scratch) {
    const int32_t channels = shape->input_c;
    const int32_t top = y * shape->stride_h - shape->pad_top;
    const int32_t left = x * shape->stride_w - shape->pad_left;
    if (shape->kernel_h == 1 && shape->kernel_w == 1 && channels % multiple == 0 &&
        shape->pad_top == 0 && shape->pad_left == 0 && top < shape->input_h &&
        left < shape->input_w) {
        return window_input_row(shape, input, top) + left * channels;
    }
    int8_t *to = scratch;
    for (int32_t i = 0; i < shape->kernel_h; ++i) {
        const int32_t from_y = top + i * shape->dilation_h;
        const bool row_inside = from_y >= 0 && from_y < shape->input_h;
        const int8_t *row = row_inside ? window_input_row(shape, input, from_y) : input;
        for (int32_t j = 0; j < shape->kernel_w; ++j) {
            const int32_t from_x = left + j * shape->dilation_w;
            const bool inside = row_inside && from_x >= 0 && from_x < shape->input_w;
            const int8_t *from = row + from_x * channels;
            for (int32_t c = 0; c < channels; ++c) *to++ = inside ? from[c] : (int8_t)zero;
        }
    }
    while ((to - scratch) % multiple) *to++ = 0;
    return scratch;
}

/* A row of a fully connected layer, lengthened to the multiple in scratch where it is none. */
static inline const int8_t *sparse_row(const int8_t *input, int32_t length, int32_t multiple,
                                       int8_t *scratch) {
    if (length % multiple == 0) return input;
    int32_t i = 0;
    for (; i < length; ++i) scratch[i] = input[i];
    for (; i % multiple; ++i) scratch[i] = 0;
    return scratch;
}

#endif
