/* SPDX-License-Identifier: Apache-2.0
 *
 * The requantisation of kernels by itself: as their tiles do, four pixels of a channel follow each
 * load of its multiplier, shift and rounding constant.
 */
#include "requantise.h"

typedef struct {
    int32_t multiplier;
    int32_t shift;
    int32_t constant;
} channel_t;

void bench_requantise(const int32_t *sums, const channel_t *channels, int32_t channel_count,
                      int32_t pixels, int8_t *output);

/* sums: by tile of four pixels, then channel, then pixel. */
void bench_requantise(const int32_t *sums, const channel_t *channels, int32_t channel_count,
                      int32_t pixels, int8_t *output) {
    for (; pixels > 0; pixels -= 4, output += 3 * channel_count) {
        for (int32_t c = 0; c < channel_count; ++c, ++output) {
            const channel_t channel = channels[c];
            int8_t *to = output;
#pragma GCC unroll 4
            for (int32_t i = 0; i < 4; ++i, to += channel_count) {
                *to = (int8_t)requantised(*sums++, channel.multiplier, channel.shift,
                                          channel.constant);
            }
        }
    }
}
