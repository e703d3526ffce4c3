/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of four output channels over any number of pixels: one pixel and four channels at a time.
 */
#ifndef TINYML_MVE_BLOCK_H
#define TINYML_MVE_BLOCK_H

#include <stdint.h>

/* How four channels begin and end; see dsp/requantise.h. */
typedef struct {
    int32_t bias[4]; /* input zero point folded in */
    int32_t multiplier[4];
    int32_t left_shift[4]; /* negative: to the right */
    int32_t constant[4];
} mve_quad_t;

typedef struct {
    const int8_t *weights; /* for each quad, each 16 taps: 16 of each channel; zeros behind */
    const mve_quad_t *channels;
    const int8_t *input; /* the first pixel */
    int8_t *output;      /* the first channel of the first pixel */
    int32_t input_step;  /* bytes to the next pixel */
    int32_t output_step;
    int32_t pixels, taps, quads; /* at least 1 each; no input behind the taps is read */
} mve_block_t;

void tml_mve_block_4x1(const mve_block_t *block);
/* The same for at most 16 taps; 16 inputs of each pixel are read whatever the taps. */
void tml_mve_block_4x1_short(const mve_block_t *block);

#endif
