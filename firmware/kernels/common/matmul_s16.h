/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the record of int16 convolutions and fully connected layers, and finishing an output.
 */
#ifndef TINYML_MATMUL_S16_H
#define TINYML_MATMUL_S16_H

#include <stddef.h>

#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

typedef struct {
    tml_matmul_data_t header;
    const int64_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    const int8_t *weights;
} matmul_s16_record_t;

static inline matmul_s16_record_t matmul_s16_record(const void *data, size_t channels) {
    matmul_s16_record_t record;
    record.header = *(const tml_matmul_data_t *)data;
    record.bias = (const int64_t *)(const void *)((const tml_matmul_data_t *)data + 1);
    record.multiplier = (const int32_t *)(const void *)(record.bias + channels);
    record.shift = (const int8_t *)(const void *)(record.multiplier + channels);
    record.weights = record.shift + ((channels + 3u) & ~(size_t)3u);
    return record;
}

static inline int16_t matmul_s16_finish(const matmul_s16_record_t *record, size_t channel,
                                        int64_t sum) {
    const int32_t scaled =
        tml_requantise_wide(sum, record->multiplier[channel], record->shift[channel]);
    return (int16_t)tml_clamp(scaled, record->header.output_min, record->header.output_max);
}

#endif
