/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

/* The zero point is added after the clamp, where it cannot overflow. */
#define REQUANTISE_LOOP(TYPE, LOW, HIGH)                                                           \
    const tml_requantise_data_t d = *(const tml_requantise_data_t *)data;                          \
    const int32_t zero = d.output_zero_point;                                                      \
    for (uint32_t i = 0; i < shape->count; ++i) {                                                  \
        const int32_t x = tml_requantise(input[i] - d.input_zero_point, d.multiplier, d.shift);    \
        output[i] = (TYPE)(tml_clamp(x, (LOW)-zero, (HIGH)-zero) + zero);                          \
    }

void tml_requantise_s8_s16(const tml_table_t *shape, const void *data, const int8_t *input,
                           int16_t *output) {
    REQUANTISE_LOOP(int16_t, INT16_MIN, INT16_MAX)
}

void tml_requantise_s16_s8(const tml_table_t *shape, const void *data, const int16_t *input,
                           int8_t *output) {
    REQUANTISE_LOOP(int8_t, INT8_MIN, INT8_MAX)
}

void tml_requantise_s16_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                            int16_t *output) {
    REQUANTISE_LOOP(int16_t, INT16_MIN, INT16_MAX)
}

void tml_requantise_s16_s32(const tml_table_t *shape, const void *data, const int16_t *input,
                            int32_t *output) {
    const tml_requantise_data_t d = *(const tml_requantise_data_t *)data;
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t x = tml_requantise(input[i] - d.input_zero_point, d.multiplier, d.shift);
        output[i] = x + d.output_zero_point;
    }
}

void tml_requantise_s8_s32(const tml_table_t *shape, const void *data, const int8_t *input,
                           int32_t *output) {
    const tml_requantise_data_t d = *(const tml_requantise_data_t *)data;
    for (uint32_t i = 0; i < shape->count; ++i) {
        const int32_t x = tml_requantise(input[i] - d.input_zero_point, d.multiplier, d.shift);
        output[i] = x + d.output_zero_point;
    }
}

void tml_requantise_s8_u8(const tml_table_t *shape, const void *data, const int8_t *input,
                          uint8_t *output) {
    REQUANTISE_LOOP(uint8_t, 0, UINT8_MAX)
}

void tml_requantise_u8_s8(const tml_table_t *shape, const void *data, const uint8_t *input,
                          int8_t *output) {
    REQUANTISE_LOOP(int8_t, INT8_MIN, INT8_MAX)
}
