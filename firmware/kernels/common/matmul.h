/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the record of conv2d, depthwise_conv2d and fully_connected, and finishing an output.
 */
#ifndef TINYML_PORTABLE_MATMUL_H
#define TINYML_PORTABLE_MATMUL_H

#include <stddef.h>

#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

typedef struct {
    tml_matmul_data_t header; /* a copy: outputs are bytes, which may alias anything */
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    const int8_t *weights;
} matmul_record_t;

static inline matmul_record_t matmul_record(const void *data, size_t channels) {
    matmul_record_t record;
    record.header = *(const tml_matmul_data_t *)data;
    record.bias = (const int32_t *)(const void *)((const tml_matmul_data_t *)data + 1);
    record.multiplier = record.bias + channels;
    record.shift = (const int8_t *)(const void *)(record.multiplier + channels);
    record.weights = record.shift + ((channels + 3u) & ~(size_t)3u);
    return record;
}

/* The sum of (input - zero) * weight over a contiguous run. */
static inline int32_t matmul_dot(const int8_t *input, const int8_t *weights, int32_t length,
                                 int32_t zero, int32_t sum) {
    int32_t k = 0;
    for (; k + 4 <= length; k += 4) {
        sum += (input[k] - zero) * weights[k];
        sum += (input[k + 1] - zero) * weights[k + 1];
        sum += (input[k + 2] - zero) * weights[k + 2];
        sum += (input[k + 3] - zero) * weights[k + 3];
    }
    for (; k < length; ++k) {
        sum += (input[k] - zero) * weights[k];
    }
    return sum;
}

static inline int8_t matmul_finish(const matmul_record_t *record, size_t channel, int32_t sum) {
    const tml_matmul_data_t *header = &record->header;
    const int32_t scaled = tml_requantise(sum, record->multiplier[channel], record->shift[channel]);
    return (int8_t)tml_clamp(scaled + header->output_zero_point, header->output_min,
                             header->output_max);
}

#endif
