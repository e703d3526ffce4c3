/* SPDX-License-Identifier: Apache-2.0 */
#include "simd.h"
#include "tinyml/kernels.h"

#define EXTREME_LOOP(TYPE, BETTER, FOURS)                                                          \
    const tml_broadcast_t s = *shape; /* a copy: bytes may alias anything */                       \
    const uint32_t step_a = s.stride_a[3], step_b = s.stride_b[3], length = s.dims[3];             \
    for (uint32_t i0 = 0; i0 < s.dims[0]; ++i0) {                                                  \
        for (uint32_t i1 = 0; i1 < s.dims[1]; ++i1) {                                              \
            for (uint32_t i2 = 0; i2 < s.dims[2]; ++i2) {                                          \
                const TYPE *row_a =                                                                \
                    a + i0 * s.stride_a[0] + i1 * s.stride_a[1] + i2 * s.stride_a[2];              \
                const TYPE *row_b =                                                                \
                    b + i0 * s.stride_b[0] + i1 * s.stride_b[1] + i2 * s.stride_b[2];              \
                uint32_t left = length;                                                            \
                FOURS                                                                              \
                for (; left > 0; --left, row_a += step_a, row_b += step_b) {                       \
                    const TYPE x = *row_a, y = *row_b;                                             \
                    *output++ = (x BETTER y) ? x : y;                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#if TML_USE_DSP
#define BY_WORDS(BETTER_BYTES)                                                                     \
    if (step_a == 1 && step_b == 1) {                                                              \
        for (; left >= 4; left -= 4, row_a += 4, row_b += 4, output += 4) {                        \
            store_word(output, BETTER_BYTES(load_word(row_a), load_word(row_b)));                  \
        }                                                                                          \
    }
#else
#define BY_WORDS(BETTER_BYTES)
#endif

void tml_maximum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    EXTREME_LOOP(int8_t, >, BY_WORDS(larger_bytes))
}

void tml_minimum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    EXTREME_LOOP(int8_t, <, BY_WORDS(smaller_bytes))
}

void tml_maximum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output) {
    EXTREME_LOOP(int16_t, >, )
}

void tml_minimum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output) {
    EXTREME_LOOP(int16_t, <, )
}
