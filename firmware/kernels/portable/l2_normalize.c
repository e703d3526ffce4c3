/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_l2_normalize_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                         int8_t *output) {
    const int32_t zero_point = *(const int32_t *)data;
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->depth, output += shape->depth) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < shape->depth; ++i) {
            const int32_t x = input[i] - zero_point;
            sum += (uint32_t)(x * x);
        }
        const tml_root_t root = tml_inverse_square_root((int32_t)sum);
        for (uint32_t i = 0; i < shape->depth; ++i) {
            const int32_t scaled =
                tml_requantise(input[i] - zero_point, root.multiplier, root.shift + 7);
            output[i] = (int8_t)tml_clamp(scaled, INT8_MIN, INT8_MAX);
        }
    }
}
