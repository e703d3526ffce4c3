/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"

/* Weights of four outputs, interleaved by eights. */
#if TML_USE_MVE
#include <arm_mve.h>

static void dots(const int8_t *weights, const int16_t *input, const int16_t *end,
                 const quad_ends_t *ends, int16_t *output, int32_t quads) {
    for (; quads > 0; --quads, ++ends, output += QUAD) {
        int32_t s0 = ends->bias[0], s1 = ends->bias[1], s2 = ends->bias[2], s3 = ends->bias[3];
        for (const int16_t *in = input; in != end; in += 8, weights += 32) {
            const int16x8_t x = vldrhq_s16(in);
            s0 = vmladavaq_s16(s0, x, vldrbq_s16(weights));
            s1 = vmladavaq_s16(s1, x, vldrbq_s16(weights + 8));
            s2 = vmladavaq_s16(s2, x, vldrbq_s16(weights + 16));
            s3 = vmladavaq_s16(s3, x, vldrbq_s16(weights + 24));
        }
        const int32_t sums[QUAD] = {s0, s1, s2, s3};
        quad_store(sums, ends, output);
    }
}

#else

static void dots(const int8_t *weights, const int16_t *input, const int16_t *end,
                 const quad_ends_t *ends, int16_t *output, int32_t quads) {
    for (; quads > 0; --quads, ++ends, output += QUAD) {
        int32_t sums[QUAD] = {ends->bias[0], ends->bias[1], ends->bias[2], ends->bias[3]};
        for (const int16_t *in = input; in != end; in += 8) {
            for (int i = 0; i < QUAD; ++i) {
                for (int k = 0; k < 8; ++k) sums[i] += in[k] * *weights++;
            }
        }
        quad_store(sums, ends, output);
    }
}

#endif

void tml_conv2d_s16_mve(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output, void *scratch) {
    conv2d_quads_s16(shape, data, input, output, (int16_t *)scratch, dots);
}
