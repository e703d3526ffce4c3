/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "clamp.h"
#include "requantise.h"

/* How four neighbouring outputs begin and end. */
typedef struct {
    int32_t bias[4]; /* input zero point folded in */
    int32_t multiplier[4];
    int8_t shift[4];
} quad_requantisation_t;

/* Adds to the sums of four outputs over input .. input_end, a positive multiple of 8 bytes. Returns
 * the weights that follow. Each four inputs meet four words: a0 b0 a2 b2, a1 b1 a3 b3, and c and d
 * alike. */
const int8_t *tml_dsp_dot_4x1(const int8_t *weights, const int8_t *input, const int8_t *input_end,
                              int32_t sums[4]);

#if TML_USE_DSP

/* r0 weights, r1 input, r2 its end, r3 and r12 inputs as pairs, r4-r7 sums, r8-r11 four words of
 * weights, lr a pair of them. */
// clang-format off
#define TWO_CHANNELS(sum_a, sum_b, word, pair)                                                     \
    "sxtb16 lr, " word "\n"                                                                        \
    "sxtb16 " word ", " word ", ror #8\n"                                                          \
    "smlad " sum_a ", lr, " pair ", " sum_a "\n"                                                   \
    "smlad " sum_b ", " word ", " pair ", " sum_b "\n"

#define FOUR_INPUTS                                                                                \
    "ldr r3, [r1], #4\n"                                                                           \
    "ldm r0!, {r8, r9, r10, r11}\n"                                                                \
    "sxtb16 r12, r3, ror #8\n"                                                                     \
    "sxtb16 r3, r3\n"                                                                              \
    TWO_CHANNELS("r4", "r5", "r8", "r3")                                                           \
    TWO_CHANNELS("r4", "r5", "r9", "r12")                                                          \
    TWO_CHANNELS("r6", "r7", "r10", "r3")                                                          \
    TWO_CHANNELS("r6", "r7", "r11", "r12")

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_dot_4x1,\"ax\",%progbits\n"
      ".global tml_dsp_dot_4x1\n"
      ".type tml_dsp_dot_4x1, %function\n"
      ".thumb_func\n"
      "tml_dsp_dot_4x1:\n"
      "push {r3-r11, lr}\n"
      "ldm r3, {r4, r5, r6, r7}\n"
      "1:\n"
      FOUR_INPUTS
      FOUR_INPUTS
      "cmp r1, r2\n"
      "bne 1b\n"
      "pop {r3}\n"
      "stm r3, {r4, r5, r6, r7}\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_dot_4x1, . - tml_dsp_dot_4x1\n");
// clang-format on

#else

const int8_t *tml_dsp_dot_4x1(const int8_t *weights, const int8_t *input, const int8_t *input_end,
                              int32_t sums[4]) {
    for (; input != input_end; input += 4, weights += 16) {
        const int32_t x = load_word(input);
        const pair_t pairs[2] = {even_bytes(x), odd_bytes(x)};
        for (int word = 0; word < 4; ++word) {
            const int32_t w = load_word(weights + 4 * word);
            int32_t *two = sums + (word & 2);
            two[0] = dual_multiply(even_bytes(w), pairs[word & 1], two[0]);
            two[1] = dual_multiply(odd_bytes(w), pairs[word & 1], two[1]);
        }
    }
    return weights;
}

#endif

static inline int8_t finished(const quad_requantisation_t *channels, int32_t c, int32_t sum,
                              int32_t twice_zero_plus_1) {
    const int32_t shift = channels->shift[c];
    return (int8_t)requantised(sum, channels->multiplier[c], shift,
                               rounding_constant(twice_zero_plus_1, shift));
}

void tml_fully_connected_s8_dsp(const tml_fully_connected_t *shape, const void *data,
                                const int8_t *input, int8_t *output, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const quad_requantisation_t *first = (const quad_requantisation_t *)(header + 1);
    const int32_t length = (shape->inputs + 7) & ~7;
    const int32_t zero = 2 * header->output_zero_point + 1;
    const int32_t low = header->output_min, high = header->output_max;
    for (int32_t r = 0; r < shape->rows; ++r, input += shape->inputs) {
        const int8_t *row = input;
        if (length != shape->inputs) {
            int8_t *copy = (int8_t *)scratch;
            copy_bytes(copy, input, shape->inputs);
            for (int32_t i = shape->inputs; i < length; ++i) copy[i] = 0;
            row = copy;
        }
        const quad_requantisation_t *channels = first;
        const int8_t *weights = (const int8_t *)(first + (shape->outputs + 3) / 4);
        for (int32_t left = shape->outputs; left > 0; left -= 4, ++channels) {
            int32_t sums[4] = {channels->bias[0], channels->bias[1], channels->bias[2],
                               channels->bias[3]};
            weights = tml_dsp_dot_4x1(weights, row, row + length, sums);
            if (left >= 4) {
                output[0] = finished(channels, 0, sums[0], zero);
                output[1] = finished(channels, 1, sums[1], zero);
                output[2] = finished(channels, 2, sums[2], zero);
                output[3] = finished(channels, 3, sums[3], zero);
                output += 4;
                continue;
            }
            for (int32_t c = 0; c < left; ++c) *output++ = finished(channels, c, sums[c], zero);
        }
    }
    if (low == INT8_MIN && high == INT8_MAX) return;
    const int32_t count = shape->rows * shape->outputs;
    clamp_bytes(output - count, count, low, high);
}
