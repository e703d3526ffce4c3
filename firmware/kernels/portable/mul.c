/* SPDX-License-Identifier: Apache-2.0 */
#include "broadcast.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_mul_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a_input,
                const int8_t *b_input, int8_t *output) {
    const tml_mul_data_t d = *(const tml_mul_data_t *)data;
    TML_BROADCAST_LOOP(int8_t, shape, d, a_input, b_input, output,
                       tml_requantise(a * b, d.output_multiplier, d.output_shift))
}
