/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "matmul_s16.h"

void tml_fully_connected_s16(const tml_fully_connected_t *shape, const void *data,
                             const int16_t *input, int16_t *output) {
    const matmul_s16_record_t record = matmul_s16_record(data, shape->outputs);
    const int32_t inputs = shape->inputs;
    for (int32_t r = 0; r < shape->rows; ++r, input += inputs) {
        const int8_t *w = record.weights;
        for (int32_t c = 0; c < shape->outputs; ++c, w += inputs) {
            const int64_t sum = record.bias[c] + dot_s16_s8(input, w, inputs);
            *output++ = matmul_s16_finish(&record, (size_t)c, sum);
        }
    }
}
