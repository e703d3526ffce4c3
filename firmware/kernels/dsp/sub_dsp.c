/* SPDX-License-Identifier: Apache-2.0 */
#include "aligned.h"

void tml_sub_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                    const int8_t *fine, int8_t *output) {
    ALIGNED_LOOP(int8_t, 19, saturate_int8(ALIGNED_OUTPUT(ALIGNED_DIFFERENCE)))
    if (d.output_min == INT8_MIN && d.output_max == INT8_MAX) return;
    clamp_bytes(output, (int32_t)(s.repeats * s.period), d.output_min, d.output_max);
}

void tml_sub_s16_dsp(const tml_add_dsp_t *shape, const void *data, const int16_t *wide,
                     const int16_t *fine, int16_t *output) {
    ALIGNED_LOOP(int16_t, 14, saturate_int16(ALIGNED_OUTPUT(ALIGNED_DIFFERENCE)))
    clamp_halves(output, (int32_t)(s.repeats * s.period), d.output_min, d.output_max);
}
