/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

/* The two pixels beside a position, and the weight of the second of them in 1/1024. Positions
 * before the first pixel give that pixel a negative distance, as TFLite-Micro has it. */
typedef struct {
    int32_t lower, upper, distance;
} neighbours_t;

static inline neighbours_t neighbours(int32_t at, int32_t size) {
    neighbours_t n;
    /* C rounds towards zero; below zero both are 0. */
    n.lower = at > 0 ? at / 1024 : 0;
    n.upper = (at + 1023) / 1024;
    n.upper = n.upper < size - 1 ? n.upper : size - 1;
    n.distance = at - 1024 * n.lower;
    return n;
}

void tml_resize_bilinear_s8(const tml_resize_t *shape, const int8_t *input, int8_t *output) {
    const int32_t channels = shape->channels, row = shape->input_w * channels;
    for (int32_t y = 0; y < shape->output_h; ++y) {
        const neighbours_t v = neighbours(y * shape->scale_h + shape->offset_h, shape->input_h);
        const int8_t *upper_row = input + v.lower * row, *lower_row = input + v.upper * row;
        for (int32_t x = 0; x < shape->output_w; ++x) {
            const neighbours_t h = neighbours(x * shape->scale_w + shape->offset_w, shape->input_w);
            const int32_t left = h.lower * channels, right = h.upper * channels;
            for (int32_t c = 0; c < channels; ++c) {
                const int32_t above =
                    upper_row[left + c] * (1024 - h.distance) + upper_row[right + c] * h.distance;
                const int32_t below =
                    lower_row[left + c] * (1024 - h.distance) + lower_row[right + c] * h.distance;
                const int32_t sum = above * (1024 - v.distance) + below * v.distance;
                *output++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
            }
        }
    }
}
