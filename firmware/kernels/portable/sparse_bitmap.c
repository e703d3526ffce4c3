/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruned layers as bitmaps: a bit for each weight, then the values of those that are set.
 */
#include "sparse.h"

enum { MULTIPLE = 1 };

static sparse_weights_t weights_of(const matmul_record_t *record, int32_t channels,
                                   int32_t length) {
    const int32_t words = (length + 31) / 32;
    const uint8_t *bits = (const uint8_t *)record->weights;
    return (sparse_weights_t){.index = bits, .values = (const int8_t *)bits + 4 * words * channels};
}

/* The position of the lowest bit that is set. */
static inline int32_t lowest_bit(uint32_t bits) {
#if defined(__riscv) || (defined(__ARM_ARCH) && !defined(__ARM_FEATURE_CLZ))
    /* No instruction counts zeros: the product's top 5 bits differ for every power of two
     * (Leiserson, Prokop, Randall 1998). */
    static const uint8_t position[32] = {0,  1,  28, 2,  29, 14, 24, 3,  30, 22, 20,
                                         15, 25, 17, 4,  8,  31, 27, 13, 23, 21, 19,
                                         16, 7,  26, 12, 18, 6,  11, 5,  10, 9};
    return position[(uint32_t)((bits & (0u - bits)) * 0x077CB531u) >> 27];
#else
    return __builtin_ctz(bits);
#endif
}

static int32_t dot(sparse_weights_t *weights, int32_t length, const int8_t *input, int32_t sum) {
    const int8_t *values = weights->values;
    for (int32_t at = 0; at < length; at += 32, input += 32, weights->index += 4) {
        uint32_t bits = *(const uint32_t *)(const void *)weights->index;
        for (; bits; bits &= bits - 1) sum += input[lowest_bit(bits)] * *values++;
    }
    weights->values = values;
    return sum;
}

static void outputs_of(const matmul_record_t *record, int32_t channels, int32_t length,
                       const int8_t *input, int8_t *output) {
    sparse_channels(record, channels, length, input, output, weights_of, dot);
}

void tml_fully_connected_s8_bitmap(const tml_fully_connected_t *shape, const void *data,
                                   const int8_t *input, int8_t *output, void *scratch) {
    sparse_fully_connected(shape, data, input, output, scratch, MULTIPLE, outputs_of);
}

void tml_conv2d_s8_bitmap(const tml_window_t *shape, const void *data, const int8_t *input,
                          int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    sparse_conv2d(shape, data, input, output, y_begin, y_end, scratch, MULTIPLE, outputs_of);
}
