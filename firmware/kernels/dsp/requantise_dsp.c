/* SPDX-License-Identifier: Apache-2.0 */
#include "requantise.h"
#include "tinyml/kernels.h"

#define REQUANTISE_LOOP(TYPE, SATURATE)                                                            \
    const tml_requantise_dsp_data_t d = *(const tml_requantise_dsp_data_t *)data;                  \
    for (uint32_t i = shape->count; i > 0; --i) {                                                  \
        const int32_t x = (int32_t)((uint32_t)(int32_t)*input++ << d.left) + d.offset;             \
        const int32_t biased = d.constant + ((x >> 31) & d.away);                                  \
        *output++ = (TYPE)SATURATE(multiply_high_rounded(x, d.multiplier, biased) >> d.right);     \
    }

void tml_requantise_s8_s16_dsp(const tml_table_t *shape, const void *data, const int8_t *input,
                               int16_t *output) {
    REQUANTISE_LOOP(int16_t, saturate_int16)
}

void tml_requantise_s16_s8_dsp(const tml_table_t *shape, const void *data, const int16_t *input,
                               int8_t *output) {
    REQUANTISE_LOOP(int8_t, saturate_int8)
}

void tml_requantise_s16_s16_dsp(const tml_table_t *shape, const void *data, const int16_t *input,
                                int16_t *output) {
    REQUANTISE_LOOP(int16_t, saturate_int16)
}
