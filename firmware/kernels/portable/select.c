/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

#define SELECT_LOOP(TYPE)                                                                          \
    const tml_select_t s = *shape; /* a copy: bytes may alias anything */                          \
    for (uint32_t i0 = 0; i0 < s.dims[0]; ++i0) {                                                  \
        for (uint32_t i1 = 0; i1 < s.dims[1]; ++i1) {                                              \
            for (uint32_t i2 = 0; i2 < s.dims[2]; ++i2) {                                          \
                const int8_t *row_flags = flags + i0 * s.stride_flags[0] +                         \
                                          i1 * s.stride_flags[1] + i2 * s.stride_flags[2];         \
                const TYPE *row_a =                                                                \
                    a + i0 * s.stride_a[0] + i1 * s.stride_a[1] + i2 * s.stride_a[2];              \
                const TYPE *row_b =                                                                \
                    b + i0 * s.stride_b[0] + i1 * s.stride_b[1] + i2 * s.stride_b[2];              \
                for (uint32_t i3 = 0; i3 < s.dims[3]; ++i3) {                                      \
                    *output++ = *row_flags ? *row_a : *row_b;                                      \
                    row_flags += s.stride_flags[3];                                                \
                    row_a += s.stride_a[3];                                                        \
                    row_b += s.stride_b[3];                                                        \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

void tml_select_s8(const tml_select_t *shape, const int8_t *flags, const int8_t *a, const int8_t *b,
                   int8_t *output) {
    SELECT_LOOP(int8_t)
}

void tml_select_s16(const tml_select_t *shape, const int8_t *flags, const int16_t *a,
                    const int16_t *b, int16_t *output) {
    SELECT_LOOP(int16_t)
}

void tml_select_s32(const tml_select_t *shape, const int8_t *flags, const int32_t *a,
                    const int32_t *b, int32_t *output) {
    SELECT_LOOP(int32_t)
}
