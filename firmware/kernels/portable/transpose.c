/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

#define TRANSPOSE_LOOP(TYPE)                                                                       \
    const tml_transpose_t s = *shape; /* a copy: bytes may alias anything */                       \
    const uint32_t step = s.input_stride[3], length = s.output_dims[3];                            \
    for (uint32_t i0 = 0; i0 < s.output_dims[0]; ++i0) {                                           \
        for (uint32_t i1 = 0; i1 < s.output_dims[1]; ++i1) {                                       \
            const TYPE *row = input + i0 * s.input_stride[0] + i1 * s.input_stride[1];             \
            for (uint32_t i2 = s.output_dims[2]; i2 > 0; --i2, row += s.input_stride[2]) {         \
                if (step == 1) {                                                                   \
                    copy_bytes((int8_t *)output, (const int8_t *)row,                              \
                               (int32_t)(length * sizeof(TYPE)));                                  \
                    output += length;                                                              \
                    continue;                                                                      \
                }                                                                                  \
                const TYPE *in = row;                                                              \
                uint32_t left = length;                                                            \
                for (; left >= 4; left -= 4, output += 4) {                                        \
                    output[0] = *in;                                                               \
                    in += step;                                                                    \
                    output[1] = *in;                                                               \
                    in += step;                                                                    \
                    output[2] = *in;                                                               \
                    in += step;                                                                    \
                    output[3] = *in;                                                               \
                    in += step;                                                                    \
                }                                                                                  \
                for (; left > 0; --left, in += step) *output++ = *in;                              \
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
