/* SPDX-License-Identifier: Apache-2.0 */
#include "broadcast.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

static inline int32_t aligned(int32_t x, int32_t left_shift, int32_t multiplier, int32_t shift) {
    return tml_requantise(tml_shift_left(x, left_shift), multiplier, shift);
}

void tml_add_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a_input,
                const int8_t *b_input, int8_t *output) {
    const tml_add_data_t d = *(const tml_add_data_t *)data;
    TML_BROADCAST_LOOP(int8_t, shape, d, a_input, b_input, output,
                       tml_requantise(aligned(a, d.left_shift, d.a_multiplier, d.a_shift) +
                                          aligned(b, d.left_shift, d.b_multiplier, d.b_shift),
                                      d.output_multiplier, d.output_shift))
}

void tml_sub_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a_input,
                const int8_t *b_input, int8_t *output) {
    const tml_add_data_t d = *(const tml_add_data_t *)data;
    TML_BROADCAST_LOOP(int8_t, shape, d, a_input, b_input, output,
                       tml_requantise(aligned(a, d.left_shift, d.a_multiplier, d.a_shift) -
                                          aligned(b, d.left_shift, d.b_multiplier, d.b_shift),
                                      d.output_multiplier, d.output_shift))
}
