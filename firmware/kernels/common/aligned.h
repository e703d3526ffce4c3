/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of additions and subtractions: both inputs are brought to one scale, of which that with
 * the larger scale, `wide`, is only shifted.
 */
#ifndef TINYML_ALIGNED_H
#define TINYML_ALIGNED_H

#include "clamp.h"
#include "requantise.h"

/* WIDE_BITS: the left shift of TFLite less one. RESULT: of the aligned x, of `wide`, and y. */
#define ALIGNED_LOOP(TYPE, WIDE_BITS, RESULT)                                                      \
    const tml_add_dsp_data_t d = *(const tml_add_dsp_data_t *)data;                                \
    const tml_add_dsp_t s = *shape; /* copies: outputs may alias anything */                       \
    TYPE *to = output;                                                                             \
    for (uint32_t r = 0; r < s.repeats; ++r, wide += s.wide_step, fine += s.fine_step) {           \
        const TYPE *of_x = wide, *of_y = fine;                                                     \
        for (uint32_t i = s.period; i > 0; --i, of_x += s.wide_along, of_y += s.fine_along) {      \
            const int32_t twice = d.fine_offset + *of_y * (1 << ((WIDE_BITS) + 2));                \
            const int32_t y =                                                                      \
                scaled_twice(twice, d.fine_multiplier, d.fine_shift, d.fine_constant);             \
            const int32_t x = d.wide_offset + *of_x * (1 << (WIDE_BITS));                          \
            *to++ = (TYPE)(RESULT);                                                                \
        }                                                                                          \
    }

#define ALIGNED_OUTPUT(SUM)                                                                        \
    scaled_twice((SUM)*2, d.output_multiplier, d.output_shift, d.output_constant)

/* x - y, or y - x. */
#define ALIGNED_DIFFERENCE (((x - y) ^ d.negative) - d.negative)

#endif
