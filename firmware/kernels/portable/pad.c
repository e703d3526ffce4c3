/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

static int inside(uint32_t position, uint32_t before, uint32_t size) {
    return position >= before && position - before < size;
}

#define PAD_LOOP(TYPE)                                                                             \
    const TYPE value = (TYPE)((const tml_pad_data_t *)data)->value;                                \
    uint32_t dims[4];                                                                              \
    for (int i = 0; i < 4; ++i) {                                                                  \
        dims[i] = (uint32_t)shape->before[i] + shape->input_dims[i] + shape->after[i];             \
    }                                                                                              \
    /* The input is read once from start to end. */                                                \
    for (uint32_t i0 = 0; i0 < dims[0]; ++i0) {                                                    \
        const int in0 = inside(i0, shape->before[0], shape->input_dims[0]);                        \
        for (uint32_t i1 = 0; i1 < dims[1]; ++i1) {                                                \
            const int in1 = in0 && inside(i1, shape->before[1], shape->input_dims[1]);             \
            for (uint32_t i2 = 0; i2 < dims[2]; ++i2) {                                            \
                const int in2 = in1 && inside(i2, shape->before[2], shape->input_dims[2]);         \
                for (uint32_t i3 = 0; i3 < dims[3]; ++i3) {                                        \
                    const int in3 = in2 && inside(i3, shape->before[3], shape->input_dims[3]);     \
                    *output++ = in3 ? *input++ : value;                                            \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

void tml_pad_s8(const tml_pad_t *shape, const void *data, const int8_t *input, int8_t *output) {
    PAD_LOOP(int8_t)
}

void tml_pad_s16(const tml_pad_t *shape, const void *data, const int16_t *input, int16_t *output) {
    PAD_LOOP(int16_t)
}

void tml_pad_s32(const tml_pad_t *shape, const void *data, const int32_t *input, int32_t *output) {
    PAD_LOOP(int32_t)
}
