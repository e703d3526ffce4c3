/* SPDX-License-Identifier: Apache-2.0
 *
 * Interpolation in the tables of int16 functions; the definition is tinyml/ir/lookup.py.
 */
#ifndef TINYML_LOOKUP_H
#define TINYML_LOOKUP_H

#include "tinyml/fixedpoint.h"

/* A table of 513 entries over the range of int16. */
static inline int32_t lookup_s16(int32_t x, const int16_t *table) {
    const int32_t index = 256 + (x >> 7);
    const int32_t slope = table[index + 1] - table[index];
    return table[index] + ((slope * (x & 127) + 64) >> 7);
}

/* Input of the two functions below: 24 * 512 steps for 1.0. */
static inline int32_t lookup_position(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t half = shift > 0 ? (int32_t)1 << (shift - 1) : 0;
    return (x * multiplier + half) >> shift;
}

static inline int16_t lookup_sigmoid(int32_t position, const uint16_t *sigmoid) {
    const int32_t size = position < 0 ? -position : position;
    const int32_t at = size >> 9;
    int32_t value = 0x7FFF << 10;
    if (at < 255) {
        value = (sigmoid[at] << 9) + (size & 511) * (sigmoid[at + 1] - sigmoid[at]);
    }
    value = position >= 0 ? value + 512 : (1 << 25) - value + 511;
    return (int16_t)(value >> 10);
}

static inline int16_t lookup_tanh(int32_t position, const uint16_t *sigmoid) {
    const int32_t size = position < 0 ? -position : position;
    const int32_t at = size >> 8;
    int32_t value = 0xFFFF << 8;
    if (at < 255) {
        value = (sigmoid[at] << 8) + (size & 255) * (sigmoid[at + 1] - sigmoid[at]);
    }
    value = position >= 0 ? value - (1 << 23) + 128 : (1 << 23) - value + 127;
    return (int16_t)(value >> 8);
}

#endif
