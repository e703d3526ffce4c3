/* SPDX-License-Identifier: Apache-2.0 */
#include "simd.h"
#include "tinyml/kernels.h"

static inline int8_t larger(int8_t a, int8_t b) {
    return a > b ? a : b;
}

void tml_reduce_max_s8(const tml_reduce_t *shape, const int8_t *input, int8_t *output) {
    const uint32_t rows = shape->rows, count = shape->count, channels = shape->channels;
    for (uint32_t r = 0; r < rows; ++r, input += count * channels, output += channels) {
        uint32_t c = 0;
        for (; c + 4 <= channels; c += 4) {
            const int8_t *in = input + c, *const end = in + count * channels;
#if TML_USE_DSP
            int32_t four = load_word(in);
            for (; in != end; in += channels) four = larger_bytes(four, load_word(in));
            store_word(output + c, four);
#else
            int8_t max0 = INT8_MIN, max1 = INT8_MIN, max2 = INT8_MIN, max3 = INT8_MIN;
            for (; in != end; in += channels) {
                max0 = larger(in[0], max0);
                max1 = larger(in[1], max1);
                max2 = larger(in[2], max2);
                max3 = larger(in[3], max3);
            }
            output[c] = max0;
            output[c + 1] = max1;
            output[c + 2] = max2;
            output[c + 3] = max3;
#endif
        }
        for (; c < channels; ++c) {
            int8_t largest = INT8_MIN;
            const int8_t *in = input + c, *const end = in + count * channels;
            for (; in != end; in += channels) largest = larger(*in, largest);
            output[c] = largest;
        }
    }
}
