/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul.h"

void tml_fully_connected_s8(const tml_fully_connected_t *shape, const void *data,
                            const int8_t *input, int8_t *output) {
    const matmul_record_t record = matmul_record(data, shape->outputs);
    const int32_t zero = record.header.input_zero_point;
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs) {
        const int8_t *w = record.weights;
        for (int32_t c = 0; c < shape->outputs; ++c, w += shape->inputs) {
            const int32_t sum = matmul_dot(input, w, shape->inputs, zero, record.bias[c]);
            *output++ = matmul_finish(&record, (size_t)c, sum);
        }
    }
}
