/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_gather_s8(const tml_gather_t *shape, const int8_t *table, const int32_t *ids,
                   int8_t *output) {
    const int32_t last = (int32_t)shape->entries - 1;
    for (uint32_t r = 0; r < shape->rows; ++r, table += shape->entries * shape->bytes) {
        for (uint32_t i = 0; i < shape->ids; ++i) {
            const int32_t id = ids[i] < 0 ? 0 : ids[i] > last ? last : ids[i];
            const int8_t *source = table + (uint32_t)id * shape->bytes;
            for (uint32_t b = 0; b < shape->bytes; ++b) *output++ = source[b];
        }
    }
}
