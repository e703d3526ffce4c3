/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"

/* Bytes 0 2 and 1 3 of a word are the weights of two neighbouring channels each. */
static __attribute__((noinline)) void four_channels(const quad_taps_t *taps,
                                                    const quad_ends_t *ends, int16_t *output) {
    int32_t s0 = ends->bias[0], s1 = ends->bias[1], s2 = ends->bias[2], s3 = ends->bias[3];
    const int16_t *row = taps->input;
    const int8_t *of_row = taps->weights;
    for (int32_t i = taps->rows; i > 0; --i) {
        const int16_t *x = row;
        const int8_t *weights = of_row;
        for (int32_t j = taps->columns; j > 0; --j, x += taps->column_step, weights += QUAD) {
            const pair_t front = load_word(x), back = load_word(x + 2);
            const int32_t four = load_word(weights);
            const pair_t even = even_bytes(four), odd = odd_bytes(four);
            s0 = multiply_low_low(front, even, s0);
            s1 = multiply_high_high(front, even, s1);
            s2 = multiply_low_low(back, odd, s2);
            s3 = multiply_high_high(back, odd, s3);
        }
        row += taps->row_step;
        of_row += taps->weight_step;
    }
    s0 = quad_finished(s0, ends->multiplier[0]);
    s1 = quad_finished(s1, ends->multiplier[1]);
    s2 = quad_finished(s2, ends->multiplier[2]);
    s3 = quad_finished(s3, ends->multiplier[3]);
    store_word(output, low_halves(s0, s1));
    store_word(output + 2, low_halves(s2, s3));
}

void tml_depthwise_conv2d_s16_dsp(const tml_window_t *shape, const void *data, const int16_t *input,
                                  int16_t *output) {
    depthwise_quads_s16(shape, data, input, output, four_channels);
}
