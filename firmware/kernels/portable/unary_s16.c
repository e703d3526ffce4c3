/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_logistic_s16(const tml_table_t *shape, const void *data, const void *sigmoid,
                      const int16_t *input, int16_t *output) {
    const int32_t multiplier = ((const int32_t *)data)[0], shift = ((const int32_t *)data)[1];
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t position = lookup_position(input[i], multiplier, shift);
        output[i] = lookup_sigmoid(position, (const uint16_t *)sigmoid);
    }
}

void tml_tanh_s16(const tml_table_t *shape, const void *data, const void *sigmoid,
                  const int16_t *input, int16_t *output) {
    const int32_t multiplier = ((const int32_t *)data)[0], shift = ((const int32_t *)data)[1];
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t position = lookup_position(input[i], multiplier, shift);
        output[i] = lookup_tanh(position, (const uint16_t *)sigmoid);
    }
}

void tml_leaky_relu_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                        int16_t *output) {
    const int32_t *d = (const int32_t *)data;
    const int32_t multiplier = d[0], shift = d[1], below_multiplier = d[2], below_shift = d[3];
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t x = input[i] >= 0 ? tml_requantise(input[i], multiplier, shift)
                                        : tml_requantise(input[i], below_multiplier, below_shift);
        output[i] = (int16_t)tml_clamp(x, INT16_MIN, INT16_MAX);
    }
}

void tml_abs_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                 int16_t *output) {
    const int32_t multiplier = ((const int32_t *)data)[0], shift = ((const int32_t *)data)[1];
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t size = input[i] < 0 ? -input[i] : input[i];
        output[i] = (int16_t)tml_clamp(tml_requantise(size, multiplier, shift), 0, INT16_MAX);
    }
}

void tml_rsqrt_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                   int16_t *output) {
    const int32_t multiplier = ((const int32_t *)data)[0], shift = ((const int32_t *)data)[1];
    for (uint32_t i = 0; i < shape->count; ++i) {
        int32_t root = INT16_MAX;
        if (input[i] > 0) {
            const tml_root_t r = tml_inverse_square_root(input[i]);
            const int32_t fine = tml_requantise(1, r.multiplier, r.shift + 20);
            root = tml_clamp(tml_requantise(fine, multiplier, shift), INT16_MIN, INT16_MAX);
        }
        output[i] = (int16_t)root;
    }
}
