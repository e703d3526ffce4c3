/* SPDX-License-Identifier: Apache-2.0
 *
 * A normalisation of rows: the chain MEAN, SUB, MUL, MEAN, ADD, RSQRT, MUL, MUL, ADD, QUANTIZE of
 * int16 operators, with each one's own rounding, and nothing stored between them. Centred values
 * are computed twice rather than kept. */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

#define LEFT_SHIFT 15
#define HALF (1 << 30) /* the multiplier of one half, which an aligned operand mostly has */

static inline int32_t saturated(int32_t x) {
    return tml_clamp(x, INT16_MIN, INT16_MAX);
}

static inline int32_t aligned(int32_t x, tml_multiplier_t m) {
    if (m.multiplier == HALF && m.shift == 0) return tml_shift_left(x, LEFT_SHIFT - 1);
    return tml_requantise(tml_shift_left(x, LEFT_SHIFT), m.multiplier, m.shift);
}

static inline int32_t scaled(int32_t x, tml_multiplier_t m) {
    return saturated(tml_requantise(x, m.multiplier, m.shift));
}

static int32_t inverse_root(int32_t x, tml_multiplier_t m) {
    if (x <= 0) return INT16_MAX;
    const tml_root_t r = tml_inverse_square_root(x);
    return scaled(tml_requantise(1, r.multiplier, r.shift + 20), m);
}

/* What the subtraction takes away from every element of a row, aligned. */
static int32_t row_mean(const tml_norm_t *shape, const tml_norm_data_t *d, const int16_t *row) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < shape->width; ++i) sum += row[i];
    return aligned(scaled(sum, d->mean), d->centred_mean);
}

static inline int32_t centred(const tml_norm_t *shape, const tml_norm_data_t *d, int32_t x,
                              int32_t mean) {
    if (!(shape->flags & TML_NORM_CENTRE)) return x;
    return scaled(aligned(x, d->centred_input) - mean, d->centred_output);
}

static int32_t row_factor(const tml_norm_t *shape, const tml_norm_data_t *d, const int16_t *row,
                          int32_t mean) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < shape->width; ++i) {
        const int32_t x = centred(shape, d, row[i], mean);
        sum += scaled(x * x, d->square);
    }
    int32_t variance = scaled(sum, d->variance);
    if (shape->flags & TML_NORM_FLOOR) {
        variance = scaled(aligned(variance, d->floor_input) + d->floor, d->floor_output);
    }
    return inverse_root(variance, d->rsqrt);
}

#define NORM_LOOP(type)                                                                            \
    const tml_norm_data_t d = *(const tml_norm_data_t *)data;                                      \
    const int16_t *gain = (const int16_t *)((const tml_norm_data_t *)data + 1);                    \
    const uint32_t gains = shape->flags & TML_NORM_GAIN ? (shape->width + 1u) & ~1u : 0;           \
    const int32_t *offset = (const int32_t *)(const void *)(gain + gains);                         \
    for (uint32_t r = 0; r < shape->rows; ++r) {                                                   \
        const int32_t mean = shape->flags & TML_NORM_CENTRE ? row_mean(shape, &d, input) : 0;      \
        const int32_t factor = row_factor(shape, &d, input, mean);                                 \
        for (uint32_t i = 0; i < shape->width; ++i) {                                              \
            int32_t x = scaled(centred(shape, &d, input[i], mean) * factor, d.normal);             \
            if (shape->flags & TML_NORM_GAIN) x = scaled(x * gain[i], d.gain);                     \
            if (shape->flags & TML_NORM_OFFSET) {                                                  \
                x = scaled(aligned(x, d.offset_input) + offset[i], d.offset_output);               \
            }                                                                                      \
            if (shape->flags & TML_NORM_NARROW) x = narrowed(x, &d);                               \
            output[i] = (type)x;                                                                   \
        }                                                                                          \
        input += shape->width;                                                                     \
        output += shape->width;                                                                    \
    }

static inline int32_t narrowed(int32_t x, const tml_norm_data_t *d) {
    const int32_t zero = d->narrow_zero_point;
    x = tml_requantise(x, d->narrow.multiplier, d->narrow.shift);
    return tml_clamp(x, INT8_MIN - zero, INT8_MAX - zero) + zero;
}

void tml_norm_s16_s8(const tml_norm_t *shape, const void *data, const int16_t *input,
                     int8_t *output) {
    NORM_LOOP(int8_t)
}

void tml_norm_s16_s16(const tml_norm_t *shape, const void *data, const int16_t *input,
                      int16_t *output) {
    NORM_LOOP(int16_t)
}
