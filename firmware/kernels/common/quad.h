/* SPDX-License-Identifier: Apache-2.0
 *
 * How four neighbouring channels begin and end; see requantise.h.
 */
#ifndef TINYML_QUAD_H
#define TINYML_QUAD_H

#include "requantise.h"

typedef struct {
    int32_t bias[4]; /* input zero point folded in */
    int32_t multiplier[4];
    int32_t left_shift[4]; /* negative: to the right */
    int32_t constant[4];
} quad_t;

#endif
