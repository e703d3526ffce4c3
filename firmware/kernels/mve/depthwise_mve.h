/* SPDX-License-Identifier: Apache-2.0
 *
 * Sixteen lanes of a depthwise convolution at one place: channels side by side, and neighbouring
 * pixels where there are few channels.
 */
#ifndef TINYML_MVE_DEPTHWISE_H
#define TINYML_MVE_DEPTHWISE_H

#include <stdint.h>

/* A lane widened twice lands in one of four vectors: lanes 0 4 8 12, 1 5 9 13, 2 6 10 14 and
 * 3 7 11 15. Behind it lie the weights, int8[taps][16], taps even. */
typedef struct {
    int32_t bias[4][4]; /* input zero point folded in */
    int32_t multiplier[4][4];
    int32_t left_shift[4][4]; /* negative: to the right */
    int32_t constant[4][4];
} mve_lanes_t;

/* Places along a row, of sixteen lanes. inputs: where each tap of the first place is, an even
 * number; `at` is added. `lanes` outputs of each place are written, at most 16; sixteen inputs are
 * read at each tap. */
void tml_mve_depthwise_row(const mve_lanes_t *channels, const int8_t *const *inputs, int32_t at,
                           int32_t input_step, int32_t taps, int8_t *output, int32_t output_step,
                           int32_t places, int32_t lanes);

/* Places along a row, of any number of lanes that is a multiple of 4: all groups of sixteen at
 * once. record: mve_lanes_t with ten taps of each group, of which the last is not used. */
void tml_mve_depthwise_3x3(const void *record, const int8_t *const inputs[9], int32_t input_step,
                           int8_t *output, int32_t output_step, int32_t places, int32_t lanes);

#endif
