/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul_s16.h"

/* So many products of int16 and int8 fit 32 bits. */
#define RUN 511

void tml_fully_connected_s16(const tml_fully_connected_t *shape, const void *data,
                             const int16_t *input, int16_t *output) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->outputs);
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs) {
        const int8_t *w = record.weights;
        for (int32_t c = 0; c < shape->outputs; ++c) {
            int64_t sum = record.bias[c];
            for (int32_t k = 0; k < shape->inputs;) {
                const int32_t end = shape->inputs - k > RUN ? k + RUN : shape->inputs;
                int32_t part = 0;
                for (; k < end; ++k) part += input[k] * *w++;
                sum += part;
            }
            *output++ = matmul_s16_finish(&record, (size_t)c, sum);
        }
    }
}
