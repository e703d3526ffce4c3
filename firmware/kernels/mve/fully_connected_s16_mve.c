/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"
#include "select.h"

#if TML_USE_MVE
#include <arm_mve.h>

/* Products of four rows of weights, interleaved by eights, with one row of inputs. */
static inline const int8_t *four_dots(const int8_t *weights, const int16_t *input,
                                      const int16_t *end, int32_t sums[4]) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (; input != end; input += 8, weights += 32) {
        const int16x8_t x = vldrhq_s16(input);
        s0 = vmladavaq_s16(s0, x, vldrbq_s16(weights));
        s1 = vmladavaq_s16(s1, x, vldrbq_s16(weights + 8));
        s2 = vmladavaq_s16(s2, x, vldrbq_s16(weights + 16));
        s3 = vmladavaq_s16(s3, x, vldrbq_s16(weights + 24));
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return weights;
}

#else

static const int8_t *four_dots(const int8_t *weights, const int16_t *input, const int16_t *end,
                               int32_t sums[4]) {
    for (int i = 0; i < 4; ++i) sums[i] = 0;
    for (; input != end; input += 8) {
        for (int i = 0; i < 4; ++i) {
            for (int k = 0; k < 8; ++k) sums[i] += input[k] * *weights++;
        }
    }
    return weights;
}

#endif

void tml_fully_connected_s16_mve(const tml_fully_connected_t *shape, const void *data,
                                 const int16_t *input, int16_t *output) {
    fully_connected_quads_s16(shape, data, input, output, four_dots);
}
