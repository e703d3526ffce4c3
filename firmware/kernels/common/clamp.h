/* SPDX-License-Identifier: Apache-2.0
 *
 * The clamp of a fused activation, applied to finished outputs. Most layers clamp to the range of
 * their type, which requantisation has done already: they skip this.
 */
#ifndef TINYML_DSP_CLAMP_H
#define TINYML_DSP_CLAMP_H

#include "simd.h"
#include "window.h"

static inline void clamp_bytes(int8_t *bytes, int32_t count, int32_t low, int32_t high) {
    int32_t i = 0;
#if TML_USE_DSP
    /* As unsigned bytes: saturating to a limit and coming back, four at a time. */
    const uint32_t over = (uint32_t)(INT8_MAX - high) * 0x01010101u;
    const uint32_t under = (uint32_t)(low - INT8_MIN) * 0x01010101u;
    for (; i + 4 <= count; i += 4) {
        int32_t four = load_word(bytes + i);
        __asm("eor %0, %0, #0x80808080\n"
              "uqadd8 %0, %0, %1\n"
              "uqsub8 %0, %0, %1\n"
              "uqsub8 %0, %0, %2\n"
              "uqadd8 %0, %0, %2\n"
              "eor %0, %0, #0x80808080"
              : "+r"(four)
              : "r"(over), "r"(under));
        store_word(bytes + i, four);
    }
#endif
    for (; i < count; ++i) {
        const int32_t x = bytes[i];
        bytes[i] = (int8_t)(x < low ? low : x > high ? high : x);
    }
}

static inline void clamp_halves(int16_t *halves, int32_t count, int32_t low, int32_t high) {
    if (low == INT16_MIN && high == INT16_MAX) return;
    int32_t i = 0;
#if TML_USE_DSP
    const pair_t lows = low_halves(low, low), highs = low_halves(high, high);
    for (; i + 2 <= count; i += 2) {
        const pair_t two = larger_halves(load_word(halves + i), lows);
        store_word(halves + i, smaller_halves(two, highs));
    }
#endif
    for (; i < count; ++i) {
        const int32_t x = halves[i];
        halves[i] = (int16_t)(x < low ? low : x > high ? high : x);
    }
}

static inline void clamp_rows(const tml_window_t *shape, const tml_matmul_data_t *header,
                              int8_t *output, int32_t y_begin, int32_t y_end) {
    const int32_t low = header->output_min, high = header->output_max;
    if (low == INT8_MIN && high == INT8_MAX) return;
    for (int32_t y = y_begin; y < y_end; ++y) {
        clamp_bytes(window_output_row(shape, output, y), shape->output_w * shape->output_c, low,
                    high);
    }
}

#endif
