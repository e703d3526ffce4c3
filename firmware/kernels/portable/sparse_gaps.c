/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruned layers as pairs: the gap to the next weight that is not zero, 0 to 255, and its value.
 * Longer gaps have weights of zero on the way.
 */
#include "sparse.h"

enum { MULTIPLE = 1 };

static sparse_weights_t weights_of(const matmul_record_t *record, int32_t channels,
                                   int32_t length) {
    (void)length;
    const uint16_t *counts = (const uint16_t *)(const void *)record->weights;
    return (sparse_weights_t){.index = (const uint8_t *)(counts + ((channels + 1) & ~1)),
                              .counts = counts};
}

static int32_t dot(sparse_weights_t *weights, int32_t channel, int32_t length, const int8_t *input,
                   int32_t sum) {
    (void)length;
    const uint8_t *pair = weights->index;
    const uint8_t *const end = pair + 2 * weights->counts[channel];
    for (; pair != end; pair += 2) {
        input += pair[0];
        sum += *input * (int8_t)pair[1];
    }
    weights->index = end;
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

void tml_fully_connected_s8_gaps(const tml_fully_connected_t *shape, const void *data,
                                 const int8_t *input, int8_t *output, void *scratch) {
    const matmul_record_t record = matmul_record(data, shape->outputs);
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs, output += shape->outputs) {
        const int8_t *row = sparse_row(input, shape->inputs, MULTIPLE, scratch);
        outputs_of(&record, shape->outputs, shape->inputs, row, output);
    }
}

void tml_conv2d_s8_gaps(const tml_window_t *shape, const void *data, const int8_t *input,
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
