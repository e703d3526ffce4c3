/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruned layers as pairs: the gap to the next weight that is not zero, 0 to 255, and its value.
 * Longer gaps have weights of zero on the way.
 */
#include "sparse.h"

enum { MULTIPLE = 1 };

static sparse_weights_t weights_of(const matmul_record_t *record, int32_t channels,
                                   int32_t length) {
    (void)channels;
    (void)length;
    return (sparse_weights_t){.index = (const uint8_t *)record->weights};
}

static int32_t dot(sparse_weights_t *weights, int32_t length, const int8_t *input, int32_t sum) {
    (void)length;
    const uint8_t *pair = weights->index;
    uint32_t count;
    do {
        count = *pair++;
        for (const uint8_t *const end = pair + 2 * count; pair != end; pair += 2) {
            input += pair[0];
            sum += *input * (int8_t)pair[1];
        }
    } while (count == SPARSE_CHUNK);
    weights->index = pair;
    return sum;
}

static void outputs_of(const matmul_record_t *record, int32_t channels, int32_t length,
                       const int8_t *input, int8_t *output) {
    sparse_channels(record, channels, length, input, output, weights_of, dot);
}

void tml_fully_connected_s8_gaps(const tml_fully_connected_t *shape, const void *data,
                                 const int8_t *input, int8_t *output, void *scratch) {
    sparse_fully_connected(shape, data, input, output, scratch, MULTIPLE, outputs_of);
}

void tml_conv2d_s8_gaps(const tml_window_t *shape, const void *data, const int8_t *input,
                        int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    sparse_conv2d(shape, data, input, output, y_begin, y_end, scratch, MULTIPLE, outputs_of);
}
