/* SPDX-License-Identifier: Apache-2.0 */
#include "broadcast.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_mul_s16(const tml_broadcast_t *shape, const void *data, const int16_t *a_input,
                 const int16_t *b_input, int16_t *output) {
    const tml_mul_data_t d = *(const tml_mul_data_t *)data;
    TML_BROADCAST_LOOP(int16_t, shape, d, a_input, b_input, output,
                       tml_requantise(a * b, d.output_multiplier, d.output_shift))
}
