/* SPDX-License-Identifier: Apache-2.0 */
#include "aligned.h"

void tml_squared_difference_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                                   const int8_t *fine, int8_t *output) {
    ALIGNED_LOOP(int8_t, 6, saturate_int8(ALIGNED_OUTPUT((x - y) * (x - y))))
}
