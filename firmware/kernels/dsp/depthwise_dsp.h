/* SPDX-License-Identifier: Apache-2.0
 *
 * One channel of one output row of a depthwise convolution over planes: the channel's rows lie as
 * int16 side by side, padding included, so that neighbouring taps are the two halves of a word.
 */
#ifndef TINYML_DSP_DEPTHWISE_H
#define TINYML_DSP_DEPTHWISE_H

#include <stdint.h>

/* An output channel in the record, followed by its weights as pairs of int16: for each kernel row,
 * taps (0, 1), (2, 3) and so on; for the functions below (0, 1) and (1, 2). */
typedef struct {
    int32_t bias; /* input zero point folded in */
    int32_t multiplier;
    int32_t shift;    /* to the right */
    int32_t constant; /* see requantise.h */
} depthwise_channel_t;

/* `count` outputs of each of `channels` channels of a 3x3 kernel with stride 1 or 2.
 *   row0, row1, row2  the window's rows, 4-byte aligned; of an odd count, inputs under one more
 *                     window are read. The next channel's lie `plane` bytes further.
 *   step              bytes from an output to the next; channels lie side by side. */
typedef void depthwise_row_t(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                             const depthwise_channel_t *channel, int8_t *output, int32_t count,
                             int32_t step, int32_t plane, int32_t channels);
depthwise_row_t tml_dsp_depthwise_row_3x3_1;
depthwise_row_t tml_dsp_depthwise_row_3x3_2;

/* Pixels of four channels, `step` bytes apart, into four planes `plane` bytes apart, as int16.
 * Words of two: if `left`, padding and a pixel; then `twos` times two pixels; if `right`, a pixel
 * and padding. padding: four bytes. */
void tml_dsp_spread_four(const int8_t *from, int32_t step, int16_t *to, int32_t plane,
                         int32_t padding, int32_t left, int32_t twos, int32_t right);

#endif
