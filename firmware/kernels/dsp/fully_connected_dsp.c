/* SPDX-License-Identifier: Apache-2.0 */
#include "select.h"

#if TML_USE_DSP
#include "simd.h"

void tml_fully_connected_s8(const tml_fully_connected_t *shape, const void *data,
                            const int8_t *input, int8_t *output) {
    const matmul_record_t record = matmul_record(data, shape->outputs);
    const int32_t length = shape->inputs, outputs = shape->outputs;
    int32_t rows = shape->rows;
    for (; rows >= 2; rows -= 2, input += 2 * length, output += 2 * outputs) {
        matmul_rows(&record, input, input + length, length, outputs, output, output + outputs);
    }
    if (rows) matmul_rows(&record, input, input, length, outputs, output, NULL);
}

#else
typedef int not_empty;
#endif
