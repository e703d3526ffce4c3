/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_reduce_min_s8(const tml_reduce_t *shape, const int8_t *input, int8_t *output) {
    const uint32_t channels = shape->channels;
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->count * channels) {
        for (uint32_t c = 0; c < channels; ++c) {
            int8_t smallest = INT8_MAX;
            for (uint32_t i = 0; i < shape->count; ++i) {
                const int8_t x = input[i * channels + c];
                smallest = x < smallest ? x : smallest;
            }
            *output++ = smallest;
        }
    }
}
