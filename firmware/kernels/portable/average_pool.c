/* SPDX-License-Identifier: Apache-2.0 */
#include "sums.h"
#include "taps.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

typedef struct {
    int32_t taps, low, high;
} mean_t;

static inline int8_t mean_of(const mean_t *mean, int32_t sum) {
    const int32_t half = sum > 0 ? mean->taps / 2 : -(mean->taps / 2);
    return (int8_t)tml_clamp((sum + half) / mean->taps, mean->low, mean->high);
}

/* Sums of four channels. */
static inline void sums_of_four(const taps_t *taps, int32_t c, int32_t sums[4]) {
    const int8_t *row = taps->first + c;
#if TML_USE_DSP
    if (taps->rows * taps->columns <= SUMS_RUN) {
        pair_t even = 0, odd = 0;
        for (int32_t i = 0; i < taps->rows; row = taps_next_row(taps, row, i), ++i) {
            const int8_t *in = row;
            for (int32_t j = taps->columns; j > 0; --j, in += taps->step) {
                const int32_t four = load_word(in);
                even = add_even_bytes(even, four);
                odd = add_odd_bytes(odd, four);
            }
        }
        sums[0] = low_of(even), sums[1] = low_of(odd);
        sums[2] = high_of(even), sums[3] = high_of(odd);
        return;
    }
#endif
    for (int32_t i = 0; i < taps->rows; row = taps_next_row(taps, row, i), ++i) {
        add_fours(row, (uint32_t)taps->step, (uint32_t)taps->columns, sums);
    }
}

void tml_average_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                         int8_t *output, int32_t y_begin, int32_t y_end) {
    const tml_pool_data_t clamp = *(const tml_pool_data_t *)data;
    mean_t mean = {.low = clamp.output_min, .high = clamp.output_max};
    const int32_t channels = shape->input_c;
    for (int32_t y = y_begin; y < y_end; ++y) {
        int8_t *to = window_output_row(shape, output, y);
        const window_span_t v =
            window_span(y, shape->stride_h, shape->pad_top, 1, shape->kernel_h, shape->input_h);
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const window_span_t h = window_span(x, shape->stride_w, shape->pad_left, 1,
                                                shape->kernel_w, shape->input_w);
            const taps_t taps = window_taps(shape, input, v, h);
            mean.taps = taps.rows * taps.columns;
            int32_t c = 0;
            for (; c + 4 <= channels; c += 4, to += 4) {
                int32_t sums[4] = {0, 0, 0, 0};
                sums_of_four(&taps, c, sums);
                to[0] = mean_of(&mean, sums[0]);
                to[1] = mean_of(&mean, sums[1]);
                to[2] = mean_of(&mean, sums[2]);
                to[3] = mean_of(&mean, sums[3]);
            }
            for (; c < channels; ++c) {
                int32_t sum = 0;
                const int8_t *row = taps.first + c;
                for (int32_t i = 0; i < taps.rows; row = taps_next_row(&taps, row, i), ++i) {
                    const int8_t *in = row;
                    for (int32_t j = taps.columns; j > 0; --j, in += channels) sum += *in;
                }
                *to++ = mean_of(&mean, sum);
            }
        }
    }
}
