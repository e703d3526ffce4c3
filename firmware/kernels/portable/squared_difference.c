/* SPDX-License-Identifier: Apache-2.0 */
#include "broadcast.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

static inline int32_t square_of_difference(const tml_add_data_t *d, int32_t a, int32_t b) {
    a = tml_requantise(tml_shift_left(a, d->left_shift), d->a_multiplier, d->a_shift);
    b = tml_requantise(tml_shift_left(b, d->left_shift), d->b_multiplier, d->b_shift);
    const uint32_t difference = (uint32_t)a - (uint32_t)b;
    return tml_requantise((int32_t)(difference * difference), d->output_multiplier,
                          d->output_shift);
}

void tml_squared_difference_s8(const tml_broadcast_t *shape, const void *data,
                               const int8_t *a_input, const int8_t *b_input, int8_t *output) {
    const tml_add_data_t d = *(const tml_add_data_t *)data;
    TML_BROADCAST_LOOP(int8_t, shape, d, a_input, b_input, output, square_of_difference(&d, a, b))
}

void tml_squared_difference_s16(const tml_broadcast_t *shape, const void *data,
                                const int16_t *a_input, const int16_t *b_input, int16_t *output) {
    const tml_add_data_t d = *(const tml_add_data_t *)data;
    TML_BROADCAST_LOOP(int16_t, shape, d, a_input, b_input, output, square_of_difference(&d, a, b))
}
