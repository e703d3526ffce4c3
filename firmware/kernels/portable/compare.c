/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define COMPARE_LOOP(TYPE, VALUE_A, VALUE_B, RELATION)                                             \
    const tml_compare_t s = *shape; /* a copy: bytes may alias anything */                         \
    for (uint32_t i0 = 0; i0 < s.dims[0]; ++i0) {                                                  \
        for (uint32_t i1 = 0; i1 < s.dims[1]; ++i1) {                                              \
            for (uint32_t i2 = 0; i2 < s.dims[2]; ++i2) {                                          \
                const TYPE *row_a =                                                                \
                    a + i0 * s.stride_a[0] + i1 * s.stride_a[1] + i2 * s.stride_a[2];              \
                const TYPE *row_b =                                                                \
                    b + i0 * s.stride_b[0] + i1 * s.stride_b[1] + i2 * s.stride_b[2];              \
                for (uint32_t i3 = 0; i3 < s.dims[3]; ++i3) {                                      \
                    const int32_t x = (VALUE_A), y = (VALUE_B);                                    \
                    *output++ = (int8_t)((x RELATION y) != s.negated);                             \
                    row_a += s.stride_a[3];                                                        \
                    row_b += s.stride_b[3];                                                        \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

static inline int32_t real_value(const tml_compare_side_t *side, int32_t x) {
    return tml_requantise(tml_shift_left(x - side->zero_point, 8), side->multiplier, side->shift);
}

void tml_less_s8(const tml_compare_t *shape, const void *data, const int8_t *a, const int8_t *b,
                 int8_t *output) {
    const tml_compare_data_t d = *(const tml_compare_data_t *)data;
    COMPARE_LOOP(int8_t, real_value(&d.a, *row_a), real_value(&d.b, *row_b), <)
}

void tml_equal_s8(const tml_compare_t *shape, const void *data, const int8_t *a, const int8_t *b,
                  int8_t *output) {
    const tml_compare_data_t d = *(const tml_compare_data_t *)data;
    COMPARE_LOOP(int8_t, real_value(&d.a, *row_a), real_value(&d.b, *row_b), ==)
}

void tml_less_s32(const tml_compare_t *shape, const int32_t *a, const int32_t *b, int8_t *output) {
    COMPARE_LOOP(int32_t, *row_a, *row_b, <)
}

void tml_equal_s32(const tml_compare_t *shape, const int32_t *a, const int32_t *b, int8_t *output) {
    COMPARE_LOOP(int32_t, *row_a, *row_b, ==)
}

void tml_logical_not(const tml_table_t *shape, const int8_t *input, int8_t *output) {
    for (uint32_t i = 0; i < shape->count; ++i) output[i] = input[i] == 0;
}
