/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of four output channels over any number of pixels: one pixel and four channels at a time.
 */
#ifndef TINYML_MVE_BLOCK_H
#define TINYML_MVE_BLOCK_H

#include "quad.h"

typedef struct {
    const int8_t *weights; /* for each quad, each 16 taps: 16 of each channel; zeros behind */
    const quad_t *channels;
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
