/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

void tml_copy_rows_s8(const tml_copy_rows_t *shape, const int8_t *input, int8_t *output) {
    const tml_copy_rows_t s = *shape; /* a copy: bytes may alias anything */
    input += s.input_offset;
    output += s.output_offset;
    for (uint32_t r = 0; r < s.rows; ++r, input += s.input_stride, output += s.output_stride) {
        copy_bytes(output, input, (int32_t)s.length);
    }
}
