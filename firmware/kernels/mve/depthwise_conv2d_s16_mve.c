/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"

#if TML_USE_MVE
#include <arm_mve.h>

static void four_channels(const quad_taps_t *taps, const quad_ends_t *ends, int16_t *output) {
    int32x4_t sum = vldrwq_s32(ends->bias);
    const int16_t *row = taps->input;
    const int8_t *of_row = taps->weights;
    for (int32_t i = taps->rows; i > 0; --i) {
        const int16_t *x = row;
        const int8_t *weights = of_row;
        for (int32_t j = taps->columns; j > 0; --j, x += taps->column_step, weights += QUAD) {
            sum = vaddq_s32(sum, vmulq_s32(vldrhq_s32(x), vldrbq_s32(weights)));
        }
        row += taps->row_step;
        of_row += taps->weight_step;
    }
    const int32x4_t x = vrmulhq_s32(sum, vldrwq_s32(ends->multiplier));
    vstrhq_s32(output, vmovlbq_s16(vqmovnbq_s32(vdupq_n_s16(0), x)));
}

#else

static void four_channels(const quad_taps_t *taps, const quad_ends_t *ends, int16_t *output) {
    int32_t sums[QUAD] = {ends->bias[0], ends->bias[1], ends->bias[2], ends->bias[3]};
    for (int32_t i = 0; i < taps->rows; ++i) {
        for (int32_t j = 0; j < taps->columns; ++j) {
            const int16_t *x = taps->input + i * taps->row_step + j * taps->column_step;
            const int8_t *weights = taps->weights + i * taps->weight_step + j * QUAD;
            for (int32_t c = 0; c < QUAD; ++c) sums[c] += x[c] * weights[c];
        }
    }
    quad_store(sums, ends, output);
}

#endif

void tml_depthwise_conv2d_s16_mve(const tml_window_t *shape, const void *data, const int16_t *input,
                                  int16_t *output) {
    depthwise_quads_s16(shape, data, input, output, four_channels);
}
