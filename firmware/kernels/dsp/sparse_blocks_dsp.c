/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse_blocks.c with dual multiplications.
 */
#include "simd.h"
#include "sparse.h"

enum { MULTIPLE = 4 };

static sparse_weights_t weights_of(const matmul_record_t *record, int32_t channels,
                                   int32_t length) {
    (void)length;
    const uint16_t *counts = (const uint16_t *)(const void *)record->weights;
    uint32_t blocks = 0;
    for (int32_t c = 0; c < channels; ++c) blocks += counts[c];
    const uint8_t *gaps = (const uint8_t *)(counts + ((channels + 1) & ~1));
    return (sparse_weights_t){
        .index = gaps, .values = (const int8_t *)gaps + ((blocks + 3u) & ~3u), .counts = counts};
}

static int32_t dot(sparse_weights_t *weights, int32_t channel, int32_t length, const int8_t *input,
                   int32_t sum) {
    (void)length;
    const uint8_t *gap = weights->index;
    const int8_t *w = weights->values;
    const uint8_t *const end = gap + weights->counts[channel];
    for (; gap != end; ++gap, w += 4) {
        input += 4 * *gap;
        const int32_t x = load_word(input), four = load_word(w);
        sum = dual_multiply(even_bytes(x), even_bytes(four), sum);
        sum = dual_multiply(odd_bytes(x), odd_bytes(four), sum);
    }
    weights->index = end;
    weights->values = w;
    return sum;
}

/* All channels of one run of inputs. */
static void outputs_of(const matmul_record_t *record, int32_t channels, int32_t length,
                       const int8_t *input, int8_t *output) {
    sparse_weights_t weights = weights_of(record, channels, length);
    for (int32_t c = 0; c < channels; ++c) {
        const int32_t sum = dot(&weights, c, length, input, record->bias[c]);
        output[c] = matmul_finish(record, (size_t)c, sum);
    }
}

void tml_fully_connected_s8_blocks_dsp(const tml_fully_connected_t *shape, const void *data,
                                       const int8_t *input, int8_t *output, void *scratch) {
    const matmul_record_t record = matmul_record(data, shape->outputs);
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs, output += shape->outputs) {
        const int8_t *row = sparse_row(input, shape->inputs, MULTIPLE, scratch);
        outputs_of(&record, shape->outputs, shape->inputs, row, output);
    }
}

void tml_conv2d_s8_blocks_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                              int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const matmul_record_t record = matmul_record(data, shape->output_c);
    const int32_t zero = record.header.input_zero_point;
    const int32_t length = shape->kernel_h * shape->kernel_w * shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        for (int32_t x = 0; x < shape->output_w; ++x, to += shape->output_c) {
            const int8_t *column = sparse_column(shape, input, y, x, zero, MULTIPLE, scratch);
            outputs_of(&record, shape->output_c, length, column, to);
        }
    }
}
