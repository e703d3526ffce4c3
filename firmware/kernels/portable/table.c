/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_table_s8(const tml_table_t *shape, const void *data, const int8_t *input, int8_t *output) {
    const int8_t *table = (const int8_t *)data + 128;
    /* A copy: the compiler must assume that storing an int8_t changes the shape. */
    const uint32_t count = shape->count;
    const int8_t *fours_end = input + (count & ~3u);
    for (; input != fours_end; input += 4, output += 4) {
        const int32_t first = input[0], second = input[1], third = input[2], fourth = input[3];
        output[0] = table[first];
        output[1] = table[second];
        output[2] = table[third];
        output[3] = table[fourth];
    }
    for (uint32_t i = 0; i < (count & 3u); ++i) {
        output[i] = table[input[i]];
    }
}
