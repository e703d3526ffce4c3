/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define MATMUL_LOOP(TYPE, SUM, REQUANTISE, LOW, HIGH)                                              \
    const tml_batch_matmul_data_t d = *(const tml_batch_matmul_data_t *)data;                      \
    const uint32_t depth = shape->depth, columns = shape->columns;                                 \
    const uint32_t step = shape->b_row_stride;                                                     \
    const int32_t zero = d.output_zero_point;                                                      \
    for (uint32_t n = 0; n < shape->batches; ++n, b += depth * columns) {                          \
        for (uint32_t r = 0; r < shape->rows; ++r, a += depth) {                                   \
            for (uint32_t c = 0; c < columns; ++c) {                                               \
                const TYPE *column = b + c * shape->b_column_stride;                               \
                SUM sum = 0;                                                                       \
                for (uint32_t k = 0; k < depth; ++k, column += step) {                             \
                    sum += (SUM)(a[k] - d.a_zero_point) * (*column - d.b_zero_point);              \
                }                                                                                  \
                const int32_t scaled = REQUANTISE(sum, d.multiplier, d.shift);                     \
                *output++ = (TYPE)(tml_clamp(scaled, (LOW)-zero, (HIGH)-zero) + zero);             \
            }                                                                                      \
        }                                                                                          \
    }

void tml_batch_matmul_s8(const tml_batch_matmul_t *shape, const void *data, const int8_t *a,
                         const int8_t *b, int8_t *output) {
    MATMUL_LOOP(int8_t, int32_t, tml_requantise, INT8_MIN, INT8_MAX)
}

void tml_batch_matmul_s16(const tml_batch_matmul_t *shape, const void *data, const int16_t *a,
                          const int16_t *b, int16_t *output) {
    MATMUL_LOOP(int16_t, int64_t, tml_requantise_wide, INT16_MIN, INT16_MAX)
}
