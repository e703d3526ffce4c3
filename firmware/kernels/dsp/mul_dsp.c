/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "requantise.h"

#define MUL_LOOP(TYPE, PRODUCT)                                                                    \
    const tml_mul_dsp_data_t d = *(const tml_mul_dsp_data_t *)data;                                \
    const tml_repeated_t s = *shape; /* copies: outputs may alias anything */                      \
    TYPE *to = output;                                                                             \
    for (uint32_t r = 0; r < s.repeats; ++r, b += s.step) {                                        \
        const TYPE *y = b;                                                                         \
        for (uint32_t i = s.period; i > 0; --i, ++a, y += s.along) {                               \
            const int32_t twice = PRODUCT;                                                         \
            const int32_t x = scaled_twice(twice, d.multiplier, d.shift, d.constant);              \
            *to++ = (TYPE)(sizeof(TYPE) == 1 ? saturate_int8(x) : saturate_int16(x));              \
        }                                                                                          \
    }

void tml_mul_s8_dsp(const tml_repeated_t *shape, const void *data, const int8_t *a, const int8_t *b,
                    int8_t *output) {
    MUL_LOOP(int8_t, (*a - d.a_zero_point) * (*y - d.b_zero_point) * 2)
    if (d.output_min == INT8_MIN && d.output_max == INT8_MAX) return;
    clamp_bytes(output, (int32_t)(s.repeats * s.period), d.output_min, d.output_max);
}

/* The product of the lowest values saturates when doubled; the compiler has looked what becomes of
 * it (tinyml/kernels/elementwise.py). */
void tml_mul_s16_dsp(const tml_repeated_t *shape, const void *data, const int16_t *a,
                     const int16_t *b, int16_t *output) {
    MUL_LOOP(int16_t, doubled(*a * *y))
    clamp_halves(output, (int32_t)(s.repeats * s.period), d.output_min, d.output_max);
}
