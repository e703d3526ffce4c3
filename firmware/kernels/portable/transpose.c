/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

#define TRANSPOSE_LOOP(TYPE)                                                                       \
    const uint16_t *dims = shape->output_dims;                                                     \
    const uint32_t *stride = shape->input_stride;                                                  \
    for (uint32_t i0 = 0; i0 < dims[0]; ++i0) {                                                    \
        for (uint32_t i1 = 0; i1 < dims[1]; ++i1) {                                                \
            for (uint32_t i2 = 0; i2 < dims[2]; ++i2) {                                            \
                const TYPE *in = input + i0 * stride[0] + i1 * stride[1] + i2 * stride[2];         \
                for (uint32_t i3 = 0; i3 < dims[3]; ++i3, in += stride[3]) {                       \
                    *output++ = *in;                                                               \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

void tml_transpose_s8(const tml_transpose_t *shape, const int8_t *input, int8_t *output) {
    TRANSPOSE_LOOP(int8_t)
}

void tml_transpose_s16(const tml_transpose_t *shape, const int16_t *input, int16_t *output) {
    TRANSPOSE_LOOP(int16_t)
}

void tml_transpose_s32(const tml_transpose_t *shape, const int32_t *input, int32_t *output) {
    TRANSPOSE_LOOP(int32_t)
}
