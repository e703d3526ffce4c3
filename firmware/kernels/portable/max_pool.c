/* SPDX-License-Identifier: Apache-2.0 */
#include "simd.h"
#include "taps.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

static inline int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

#if TML_USE_DSP

/* Eight channels a step, then four. Returns the channels done. */
static int32_t by_words(const taps_t *taps, int32_t channels, int32_t low, int32_t high,
                        int8_t *to) {
    const int32_t lows = (int32_t)((uint32_t)(low & 0xFF) * 0x01010101u);
    const int32_t highs = (int32_t)((uint32_t)(high & 0xFF) * 0x01010101u);
    int32_t c = 0;
    for (; c + 8 <= channels; c += 8) {
        int32_t a = lows, b = lows;
        const int8_t *row = taps->first + c;
        for (int32_t i = 0; i < taps->rows; row = taps_next_row(taps, row, i), ++i) {
            const int8_t *in = row;
            for (int32_t j = taps->columns; j > 0; --j, in += taps->step) {
                a = larger_bytes(a, load_word(in));
                b = larger_bytes(b, load_word(in + 4));
            }
        }
        store_word(to + c, smaller_bytes(a, highs));
        store_word(to + c + 4, smaller_bytes(b, highs));
    }
    for (; c + 4 <= channels; c += 4) {
        int32_t a = lows;
        const int8_t *row = taps->first + c;
        for (int32_t i = 0; i < taps->rows; row = taps_next_row(taps, row, i), ++i) {
            const int8_t *in = row;
            for (int32_t j = taps->columns; j > 0; --j, in += taps->step) {
                a = larger_bytes(a, load_word(in));
            }
        }
        store_word(to + c, smaller_bytes(a, highs));
    }
    return c;
}

#else

/* Four channels a step: they share the way from tap to tap. Returns the channels done. */
static int32_t by_words(const taps_t *taps, int32_t channels, int32_t low, int32_t high,
                        int8_t *to) {
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        int32_t max0 = low, max1 = low, max2 = low, max3 = low;
        const int8_t *row = taps->first + c;
        for (int32_t i = 0; i < taps->rows; row = taps_next_row(taps, row, i), ++i) {
            const int8_t *in = row;
            for (int32_t j = taps->columns; j > 0; --j, in += taps->step) {
                max0 = larger(in[0], max0);
                max1 = larger(in[1], max1);
                max2 = larger(in[2], max2);
                max3 = larger(in[3], max3);
            }
        }
        to[c] = (int8_t)(max0 < high ? max0 : high);
        to[c + 1] = (int8_t)(max1 < high ? max1 : high);
        to[c + 2] = (int8_t)(max2 < high ? max2 : high);
        to[c + 3] = (int8_t)(max3 < high ? max3 : high);
    }
    return c;
}

#endif

void tml_max_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                     int8_t *output, int32_t y_begin, int32_t y_end) {
    const tml_pool_data_t clamp = *(const tml_pool_data_t *)data;
    const int32_t low = clamp.output_min, high = clamp.output_max;
    const int32_t channels = shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v =
            window_span(y, shape->stride_h, shape->pad_top, 1, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x, to += channels) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left, 1,
                                                shape->kernel_w, shape->input_w);
            const taps_t taps = window_taps(shape, input, v, h);
            for (int32_t c = by_words(&taps, channels, low, high, to); c < channels; ++c) {
                int32_t largest = low;
                const int8_t *row = taps.first + c;
                for (int32_t i = 0; i < taps.rows; row = taps_next_row(&taps, row, i), ++i) {
                    const int8_t *in = row;
                    for (int32_t j = taps.columns; j > 0; --j, in += channels) {
                        largest = larger(*in, largest);
                    }
                }
                to[c] = (int8_t)(largest < high ? largest : high);
            }
        }
    }
}
