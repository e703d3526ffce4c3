/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

void tml_gather_s8(const tml_gather_t *shape, const int8_t *table, const int32_t *ids,
                   int8_t *output) {
    const tml_gather_t s = *shape; /* a copy: bytes may alias anything */
    const int32_t last = (int32_t)s.entries - 1;
    for (uint32_t r = 0; r < s.rows; ++r, table += s.entries * s.bytes) {
        for (uint32_t i = 0; i < s.ids; ++i, output += s.bytes) {
            const int32_t id = ids[i] < 0 ? 0 : ids[i] > last ? last : ids[i];
            copy_bytes(output, table + (uint32_t)id * s.bytes, (int32_t)s.bytes);
        }
    }
}
