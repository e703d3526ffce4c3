/* SPDX-License-Identifier: Apache-2.0
 *
 * A tile of two output channels by four pixels, repeated over all pairs of channels.
 */
#ifndef TINYML_DSP_BLOCK_H
#define TINYML_DSP_BLOCK_H

#include <stdint.h>

/* How two neighbouring channels begin and end. */
typedef struct {
    int32_t bias[2]; /* input zero point folded in */
    int32_t multiplier[2];
    int8_t shift[4]; /* right shifts; two are padding */
} pair_requantisation_t;

/* columns: the four pixels' inputs as int16. Each four taps are eight words: taps 0 and 2 of each
 *   pixel in turn, then taps 1 and 3. columns < columns_end.
 * weights: for each pair of channels, each four taps are two words, bytes a0 b0 a2 b2 and
 *   a1 b1 a3 b3.
 * record: pair_requantisation_t of each pair.
 * outputs: 2 * pairs channels of each pixel. Pixels that do not exist may all go to one place. */
void tml_dsp_block_2x4(const int8_t *weights, const int16_t *columns, const int16_t *columns_end,
                       const void *record, int8_t *output0, int8_t *output1, int8_t *output2,
                       int8_t *output3, int32_t twice_zero_plus_1, int32_t pairs);

#endif
