/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

void tml_fill_s8(uint32_t bytes, int8_t value, int8_t *output) {
    fill_bytes(output, value, (int32_t)bytes);
}
