/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

#define EXTREME_LOOP(TYPE, BETTER)                                                                 \
    for (uint32_t i0 = 0; i0 < shape->dims[0]; ++i0) {                                             \
        for (uint32_t i1 = 0; i1 < shape->dims[1]; ++i1) {                                         \
            for (uint32_t i2 = 0; i2 < shape->dims[2]; ++i2) {                                     \
                const uint32_t *sa = shape->stride_a, *sb = shape->stride_b;                       \
                const TYPE *row_a = a + i0 * sa[0] + i1 * sa[1] + i2 * sa[2];                      \
                const TYPE *row_b = b + i0 * sb[0] + i1 * sb[1] + i2 * sb[2];                      \
                for (uint32_t i3 = 0; i3 < shape->dims[3]; ++i3) {                                 \
                    const TYPE x = row_a[i3 * sa[3]], y = row_b[i3 * sb[3]];                       \
                    *output++ = (x BETTER y) ? x : y;                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

void tml_maximum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    EXTREME_LOOP(int8_t, >)
}

void tml_minimum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    EXTREME_LOOP(int8_t, <)
}

void tml_maximum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output) {
    EXTREME_LOOP(int16_t, >)
}

void tml_minimum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output) {
    EXTREME_LOOP(int16_t, <)
}
