/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"
#include "simd.h"

/* Products of four rows of weights, interleaved by words, with inputs up to `end`, a positive
 * multiple of 8: bytes 0 2 and 1 3 of a word are the weights of two neighbouring inputs each. */
const int8_t *tml_dsp_dot_s16_4x1(const int8_t *weights, const int16_t *input, const int16_t *end,
                                  int32_t sums[4]);

#if TML_USE_DSP

/* r0 weights, r1 input, r2 its end, r3 a pair of weights, r4-r7 sums, r8-r11 four words of
 * weights, r12 and lr pairs of inputs. Four inputs cost 18 instructions for 16 products. */
// clang-format off
#define OUTPUT(sum, word)                                                                          \
    "sxtb16 r3, " word "\n"                                                                        \
    "sxtb16 " word ", " word ", ror #8\n"                                                          \
    "smlad " sum ", r3, r12, " sum "\n"                                                            \
    "smlad " sum ", " word ", lr, " sum "\n"

#define FOUR_INPUTS                                                                                \
    "ldrd r12, lr, [r1], #8\n"                                                                     \
    "ldm r0!, {r8, r9, r10, r11}\n"                                                                \
    OUTPUT("r4", "r8")                                                                             \
    OUTPUT("r5", "r9")                                                                             \
    OUTPUT("r6", "r10")                                                                            \
    OUTPUT("r7", "r11")

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_dot_s16_4x1,\"ax\",%progbits\n"
      ".global tml_dsp_dot_s16_4x1\n"
      ".type tml_dsp_dot_s16_4x1, %function\n"
      ".thumb_func\n"
      "tml_dsp_dot_s16_4x1:\n"
      "push {r3-r11, lr}\n"
      "mov r4, #0\n"
      "mov r5, #0\n"
      "mov r6, #0\n"
      "mov r7, #0\n"
      "1:\n"
      FOUR_INPUTS
      FOUR_INPUTS
      "cmp r1, r2\n"
      "bne 1b\n"
      "pop {r3}\n"
      "stm r3, {r4, r5, r6, r7}\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_dot_s16_4x1, . - tml_dsp_dot_s16_4x1\n");
// clang-format on

#else

const int8_t *tml_dsp_dot_s16_4x1(const int8_t *weights, const int16_t *input, const int16_t *end,
                                  int32_t sums[4]) {
    for (int i = 0; i < 4; ++i) sums[i] = 0;
    for (; input != end; input += 4) {
        const pair_t first = load_word(input), second = load_word(input + 2);
        for (int i = 0; i < 4; ++i, weights += 4) {
            const int32_t four = load_word(weights);
            sums[i] = dual_multiply(even_bytes(four), first, sums[i]);
            sums[i] = dual_multiply(odd_bytes(four), second, sums[i]);
        }
    }
    return weights;
}

#endif

void tml_fully_connected_s16_dsp(const tml_fully_connected_t *shape, const void *data,
                                 const int16_t *input, int16_t *output) {
    fully_connected_quads_s16(shape, data, input, output, tml_dsp_dot_s16_4x1);
}
