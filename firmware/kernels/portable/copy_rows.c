/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_copy_rows_s8(const tml_copy_rows_t *shape, const int8_t *input, int8_t *output) {
    input += shape->input_offset;
    output += shape->output_offset;
    for (uint32_t r = 0; r < shape->rows; ++r) {
        for (uint32_t i = 0; i < shape->length; ++i) {
            output[i] = input[i];
        }
        input += shape->input_stride;
        output += shape->output_stride;
    }
}
