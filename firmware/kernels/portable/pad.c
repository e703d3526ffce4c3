/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

static int inside(uint32_t position, uint32_t before, uint32_t size) {
    return position >= before && position - before < size;
}

static inline int8_t *filled_s8(int8_t *to, int8_t value, int32_t count) {
    fill_bytes(to, value, count);
    return to + count;
}

static inline int16_t *filled_s16(int16_t *to, int16_t value, int32_t count) {
    for (; count > 0; --count) *to++ = value;
    return to;
}

static inline int32_t *filled_s32(int32_t *to, int32_t value, int32_t count) {
    for (; count > 0; --count) *to++ = value;
    return to;
}

/* Row by row: the input is read once from start to end. */
#define PAD_LOOP(TYPE, FILLED)                                                                     \
    const TYPE value = (TYPE)((const tml_pad_data_t *)data)->value;                                \
    const tml_pad_t s = *shape; /* a copy: bytes may alias anything */                             \
    uint32_t dims[3];                                                                              \
    for (int i = 0; i < 3; ++i) dims[i] = (uint32_t)s.before[i] + s.input_dims[i] + s.after[i];    \
    const int32_t length = s.input_dims[3], row = s.before[3] + length + s.after[3];               \
    for (uint32_t i0 = 0; i0 < dims[0]; ++i0) {                                                    \
        const int in0 = inside(i0, s.before[0], s.input_dims[0]);                                  \
        for (uint32_t i1 = 0; i1 < dims[1]; ++i1) {                                                \
            const int in1 = in0 && inside(i1, s.before[1], s.input_dims[1]);                       \
            for (uint32_t i2 = 0; i2 < dims[2]; ++i2) {                                            \
                if (!in1 || !inside(i2, s.before[2], s.input_dims[2])) {                           \
                    output = FILLED(output, value, row);                                           \
                    continue;                                                                      \
                }                                                                                  \
                output = FILLED(output, value, s.before[3]);                                       \
                copy_bytes((int8_t *)output, (const int8_t *)input,                                \
                           length *(int32_t)sizeof(TYPE));                                         \
                input += length;                                                                   \
                output = FILLED(output + length, value, s.after[3]);                               \
            }                                                                                      \
        }                                                                                          \
    }

void tml_pad_s8(const tml_pad_t *shape, const void *data, const int8_t *input, int8_t *output) {
    PAD_LOOP(int8_t, filled_s8)
}

void tml_pad_s16(const tml_pad_t *shape, const void *data, const int16_t *input, int16_t *output) {
    PAD_LOOP(int16_t, filled_s16)
}

void tml_pad_s32(const tml_pad_t *shape, const void *data, const int32_t *input, int32_t *output) {
    PAD_LOOP(int32_t, filled_s32)
}
