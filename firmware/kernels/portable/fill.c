/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_fill_s8(uint32_t bytes, int8_t value, int8_t *output) {
    for (uint32_t i = 0; i < bytes; ++i) output[i] = value;
}
