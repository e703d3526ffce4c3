/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels of pruned layers share: where the inputs of an output pixel are, how a sum becomes
 * an output, and both kinds of layers. A form of weights says where they begin and what a channel's
 * sum is. Weights are those that are not zero; tinyml/kernels/sparse.py lays them out. Biases hold
 * the input zero point, so zero weights count for nothing.
 */
#ifndef TINYML_SPARSE_H
#define TINYML_SPARSE_H

#include <stdbool.h>

#include "matmul.h"
#include "window.h"

/* Weights come in chunks of so many; one of this size has another behind it, which may be empty. */
enum { SPARSE_CHUNK = 255 };

/* The weights of a layer as they are read: channel after channel. */
typedef struct {
    const uint8_t *index;
    const int8_t *values;
} sparse_weights_t;

/* Where the weights of a record begin. */
typedef sparse_weights_t sparse_begin_t(const matmul_record_t *record, int32_t channels,
                                        int32_t length);
/* `sum` and the products of the next channel. */
typedef int32_t sparse_dot_t(sparse_weights_t *weights, int32_t length, const int8_t *input,
                             int32_t sum);
/* All channels of one run of inputs; a form makes it of sparse_channels. */
typedef void sparse_outputs_t(const matmul_record_t *record, int32_t channels, int32_t length,
                              const int8_t *input, int8_t *output);
#define SPARSE_INLINE static inline __attribute__((always_inline))

/* The inputs under a window as one run of bytes: in place for a 1x1 convolution whose runs may be
 * read as they are, else gathered in scratch, padding as the zero point. */
SPARSE_INLINE const int8_t *sparse_column(const tml_window_t *shape, const int8_t *input, int32_t y,
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
SPARSE_INLINE const int8_t *sparse_row(const int8_t *input, int32_t length, int32_t multiple,
                                       int8_t *scratch) {
    if (length % multiple == 0) return input;
    int32_t i = 0;
    for (; i < length; ++i) scratch[i] = input[i];
    for (; i % multiple; ++i) scratch[i] = 0;
    return scratch;
}

/* Weights in blocks of four: the length of the index, padded; the index; the values. */
static inline sparse_weights_t sparse_blocks(const matmul_record_t *record, int32_t channels,
                                             int32_t length) {
    (void)channels;
    (void)length;
    const uint32_t *bytes = (const uint32_t *)(const void *)record->weights;
    const uint8_t *index = (const uint8_t *)(bytes + 1);
    return (sparse_weights_t){.index = index, .values = (const int8_t *)index + *bytes};
}

SPARSE_INLINE void sparse_channels(const matmul_record_t *record, int32_t channels, int32_t length,
                                   const int8_t *input, int8_t *output, sparse_begin_t *begin,
                                   sparse_dot_t *dot) {
    sparse_weights_t weights = begin(record, channels, length);
    for (int32_t c = 0; c < channels; ++c) {
        const int32_t sum = dot(&weights, length, input, record->bias[c]);
        output[c] = matmul_finish(record, (size_t)c, sum);
    }
}

SPARSE_INLINE void sparse_fully_connected(const tml_fully_connected_t *shape, const void *data,
                                          const int8_t *input, int8_t *output, void *scratch,
                                          int32_t multiple, sparse_outputs_t *outputs_of) {
    const matmul_record_t record = matmul_record(data, shape->outputs);
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs, output += shape->outputs) {
        const int8_t *row = sparse_row(input, shape->inputs, multiple, scratch);
        outputs_of(&record, shape->outputs, shape->inputs, row, output);
    }
}

SPARSE_INLINE void sparse_conv2d(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch,
                                 int32_t multiple, sparse_outputs_t *outputs_of) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t zero = record.header.input_zero_point;
    const int32_t length = shape->kernel_h * shape->kernel_w * shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        for (int32_t x = 0; x < shape->output_w; ++x, to += shape->output_c) {
            const int8_t *column = sparse_column(shape, input, y, x, zero, multiple, scratch);
            outputs_of(&record, shape->output_c, length, column, to);
        }
    }
}

#endif
