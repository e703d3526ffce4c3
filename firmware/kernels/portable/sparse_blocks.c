/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruned layers as blocks of four neighbouring weights: how many blocks on the next one is that is
 * not all zeros, 0 to 255, and its weights.
 */
#include "sparse.h"

enum { MULTIPLE = 4 };

static int32_t dot(sparse_weights_t *weights, int32_t length, const int8_t *input, int32_t sum) {
    (void)length;
    const uint8_t *gap = weights->index;
    const int8_t *w = weights->values;
    uint32_t count;
    do {
        count = *gap++;
        for (const uint8_t *const end = gap + count; gap != end; ++gap, w += 4) {
            input += 4 * *gap;
            sum += input[0] * w[0] + input[1] * w[1] + input[2] * w[2] + input[3] * w[3];
        }
    } while (count == SPARSE_CHUNK);
    weights->index = gap;
    weights->values = w;
    return sum;
}

static void outputs_of(const matmul_record_t *record, int32_t channels, int32_t length,
                       const int8_t *input, int8_t *output) {
    sparse_channels(record, channels, length, input, output, sparse_blocks, dot);
}

void tml_fully_connected_s8_blocks(const tml_fully_connected_t *shape, const void *data,
                                   const int8_t *input, int8_t *output, void *scratch) {
    sparse_fully_connected(shape, data, input, output, scratch, MULTIPLE, outputs_of);
}

void tml_conv2d_s8_blocks(const tml_window_t *shape, const void *data, const int8_t *input,
                          int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    sparse_conv2d(shape, data, input, output, y_begin, y_end, scratch, MULTIPLE, outputs_of);
}
