/* SPDX-License-Identifier: Apache-2.0
 *
 * One channel of one output row of a depthwise convolution over planes: the channel's rows lie as
 * int16 side by side, padding included, so that neighbouring taps are the two halves of a word.
 */
#ifndef TINYML_DSP_DEPTHWISE_H
#define TINYML_DSP_DEPTHWISE_H

#include <stdint.h>

/* What a channel needs, in the order in which the assembly loads it. Behind it lie the weights as
 * pairs of int16: for each kernel row, taps (0, 1), (2, 3) and so on; for the functions below
 * (0, 1) and (1, 2). */
typedef struct {
    int32_t bias, multiplier, shift, constant;
    int32_t step; /* output_c: bytes to the next pixel */
} depthwise_channel_t;

/* `count` outputs of a 3x3 kernel, stride 1 or 2. row0, row1, row2: the window's rows, 4-byte
 * aligned; up to 2 words behind the last window are read. */
void tml_dsp_depthwise_row_3x3_1(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                                 const depthwise_channel_t *channel, int8_t *output, int32_t count);
void tml_dsp_depthwise_row_3x3_2(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                                 const depthwise_channel_t *channel, int8_t *output, int32_t count);

#endif
