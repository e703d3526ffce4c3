/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_mve.h"
#include "requantise.h"

#if TML_USE_MVE
#include <arm_mve.h>

static inline int32x4_t finished(int32x4_t sum, const mve_lanes_t *channels, int vector) {
    const int32x4_t high = vqrdmulhq_s32(sum, vldrwq_s32(channels->multiplier[vector]));
    const int32x4_t biased =
        vaddq_s32(vldrwq_s32(channels->constant[vector]), vshrq_n_s32(sum, 31));
    return vshlq_s32(vaddq_s32(high, biased), vldrwq_s32(channels->left_shift[vector]));
}

void tml_mve_depthwise_row(const mve_lanes_t *channels, const int8_t *const *inputs, int32_t at,
                           int32_t input_step, int32_t taps, int8_t *output, int32_t output_step,
                           int32_t places, int32_t lanes) {
    const mve_pred16_t stored = vctp8q((uint32_t)lanes);
    const int8_t *const *const end = inputs + taps;
    for (; places > 0; --places, at += input_step, output += output_step) {
        int32x4_t s0 = vldrwq_s32(channels->bias[0]), s1 = vldrwq_s32(channels->bias[1]);
        int32x4_t s2 = vldrwq_s32(channels->bias[2]), s3 = vldrwq_s32(channels->bias[3]);
        const int8_t *w = (const int8_t *)(channels + 1);
        for (const int8_t *const *tap = inputs; tap != end; tap += 2, w += 32) {
            /* Two products fit 16 bits: weights are at least -127. */
            const int8x16_t x0 = vldrbq_s8(tap[0] + at), w0 = vldrbq_s8(w);
            const int8x16_t x1 = vldrbq_s8(tap[1] + at), w1 = vldrbq_s8(w + 16);
            const int16x8_t even = vaddq_s16(vmullbq_int_s8(x0, w0), vmullbq_int_s8(x1, w1));
            const int16x8_t odd = vaddq_s16(vmulltq_int_s8(x0, w0), vmulltq_int_s8(x1, w1));
            s0 = vaddq_s32(s0, vmovlbq_s16(even));
            s1 = vaddq_s32(s1, vmovlbq_s16(odd));
            s2 = vaddq_s32(s2, vmovltq_s16(even));
            s3 = vaddq_s32(s3, vmovltq_s16(odd));
        }
        s0 = finished(s0, channels, 0);
        s1 = finished(s1, channels, 1);
        s2 = finished(s2, channels, 2);
        s3 = finished(s3, channels, 3);
        const int16x8_t even = vqmovntq_s32(vqmovnbq_s32(vuninitializedq_s16(), s0), s2);
        const int16x8_t odd = vqmovntq_s32(vqmovnbq_s32(vuninitializedq_s16(), s1), s3);
        const int8x16_t all = vqmovntq_s16(vqmovnbq_s16(vuninitializedq_s8(), even), odd);
        vstrbq_p_s8(output, all, stored);
    }
}

#else

void tml_mve_depthwise_row(const mve_lanes_t *channels, const int8_t *const *inputs, int32_t at,
                           int32_t input_step, int32_t taps, int8_t *output, int32_t output_step,
                           int32_t places, int32_t lanes) {
    const int8_t *weights = (const int8_t *)(channels + 1);
    for (; places > 0; --places, at += input_step, output += output_step) {
        for (int32_t lane = 0; lane < lanes; ++lane) {
            const int32_t vector = lane & 3, place = lane >> 2;
            int32_t sum = channels->bias[vector][place];
            for (int32_t t = 0; t < taps; ++t) {
                sum += inputs[t][at + lane] * weights[16 * t + lane];
            }
            output[lane] = (int8_t)requantised(sum, channels->multiplier[vector][place],
                                               -channels->left_shift[vector][place],
                                               channels->constant[vector][place]);
        }
    }
}

#endif
