/* SPDX-License-Identifier: Apache-2.0
 *
 * A fully connected int16 layer, four outputs at a time.
 */
#ifndef TINYML_QUADS_S16_H
#define TINYML_QUADS_S16_H

#include "matmul_s16.h"

/* Writes the products of four rows of weights with the inputs up to `end`; returns the weights
 * behind them. */
typedef const int8_t *(*dots_s16_t)(const int8_t *weights, const int16_t *input, const int16_t *end,
                                    int32_t sums[4]);

static inline void fully_connected_quads_s16(const tml_fully_connected_t *shape, const void *data,
                                             const int16_t *input, int16_t *output,
                                             dots_s16_t four_dots) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->outputs);
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs) {
        const int8_t *weights = record.weights;
        for (int32_t c = 0; c < shape->outputs;) {
            int32_t sums[4];
            weights = four_dots(weights, input, input + shape->inputs, sums);
            for (int32_t i = 0; i < 4 && c < shape->outputs; ++i, ++c) {
                *output++ = matmul_s16_finish(&record, (size_t)c, record.bias[c] + sums[i]);
            }
        }
    }
}

#endif
