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
    const tml_matmul_data_t *header;
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    const int8_t *weights;
} matmul_record_t;

static inline matmul_record_t matmul_record(const void *data, size_t channels) {
    matmul_record_t record;
    record.header = (const tml_matmul_data_t *)data;
    record.bias = (const int32_t *)(const void *)(record.header + 1);
    record.multiplier = record.bias + channels;
    record.shift = (const int8_t *)(const void *)(record.multiplier + channels);
    record.weights = record.shift + ((channels + 3u) & ~(size_t)3u);
    return record;
}

static inline int8_t matmul_finish(const matmul_record_t *record, size_t channel, int32_t sum) {
    const tml_matmul_data_t *header = record->header;
    const int32_t scaled = tml_requantise(sum, record->multiplier[channel], record->shift[channel]);
    return (int8_t)tml_clamp(scaled + header->output_zero_point, header->output_min,
                             header->output_max);
}

#endif
