/* SPDX-License-Identifier: Apache-2.0 */
#include "aligned.h"

void tml_add_s16_dsp(const tml_add_dsp_t *shape, const void *data, const int16_t *wide,
                     const int16_t *fine, int16_t *output) {
    ALIGNED_LOOP(int16_t, 14, saturate_int16(ALIGNED_OUTPUT(x + y)))
    clamp_halves(output, (int32_t)(s.repeats * s.period), d.output_min, d.output_max);
}
