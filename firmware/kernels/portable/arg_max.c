/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

#define ARG_LOOP(BETTER)                                                                           \
    for (uint32_t r = 0; r < shape->rows; ++r, input += shape->depth) {                            \
        uint32_t best = 0;                                                                         \
        for (uint32_t i = 1; i < shape->depth; ++i) {                                              \
            if (input[i] BETTER input[best]) best = i;                                             \
        }                                                                                          \
        *output++ = (int32_t)best;                                                                 \
    }

void tml_arg_max_s8(const tml_softmax_t *shape, const int8_t *input, int32_t *output) {
    ARG_LOOP(>)
}

void tml_arg_min_s8(const tml_softmax_t *shape, const int8_t *input, int32_t *output) {
    ARG_LOOP(<)
}
