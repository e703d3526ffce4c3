/* SPDX-License-Identifier: Apache-2.0 */
#include "quads_s16.h"

/* Weights of four outputs, interleaved by words: bytes 0 2 and 1 3 of a word are those of two
 * neighbouring inputs each. */
void tml_dsp_quads_s16(const int8_t *weights, const int16_t *input, const int16_t *end,
                       const quad_ends_t *ends, int16_t *output, int32_t quads);

#if TML_USE_DSP

/* r0 weights, r1 input, r2 its end, r3 a pair of weights, r4-r7 sums, r8-r11 four words of
 * weights, r12 and lr pairs of inputs; on the stack input, ends, nine registers, output,
 * quads. Four inputs cost 18 instructions for 16 products. */
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

#define FINISH(sum, multiplier)                                                                    \
    "smmulr " sum ", " sum ", " multiplier "\n"                                                    \
    "ssat " sum ", #16, " sum "\n"

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_quads_s16,\"ax\",%progbits\n"
      ".global tml_dsp_quads_s16\n"
      ".type tml_dsp_quads_s16, %function\n"
      ".thumb_func\n"
      "tml_dsp_quads_s16:\n"
      "push {r4-r11, lr}\n"
      "push {r1, r3}\n"
      "ldr r12, [sp, #48]\n"
      "cmp r12, #0\n"
      "ble 3f\n"
      "1:\n"
      "ldm r3!, {r4, r5, r6, r7}\n"
      "str r3, [sp, #4]\n"
      "2:\n"
      FOUR_INPUTS
      FOUR_INPUTS
      "cmp r1, r2\n"
      "bne 2b\n"
      "ldrd r1, r3, [sp]\n"
      "ldrd r12, lr, [sp, #44]\n"
      "ldm r3!, {r8, r9, r10, r11}\n"
      FINISH("r4", "r8")
      FINISH("r5", "r9")
      FINISH("r6", "r10")
      FINISH("r7", "r11")
      "pkhbt r4, r4, r5, lsl #16\n"
      "pkhbt r6, r6, r7, lsl #16\n"
      "str r4, [r12], #4\n"
      "str r6, [r12], #4\n"
      "subs lr, lr, #1\n"
      "strd r12, lr, [sp, #44]\n"
      "bne 1b\n"
      "3:\n"
      "add sp, sp, #8\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_quads_s16, . - tml_dsp_quads_s16\n");
// clang-format on

#else

void tml_dsp_quads_s16(const int8_t *weights, const int16_t *input, const int16_t *end,
                       const quad_ends_t *ends, int16_t *output, int32_t quads) {
    for (; quads > 0; --quads, ++ends, output += QUAD) {
        int32_t sums[QUAD] = {ends->bias[0], ends->bias[1], ends->bias[2], ends->bias[3]};
        for (const int16_t *in = input; in != end; in += 4) {
            const pair_t first = load_word(in), second = load_word(in + 2);
            for (int i = 0; i < QUAD; ++i, weights += 4) {
                const int32_t four = load_word(weights);
                sums[i] = dual_multiply(even_bytes(four), first, sums[i]);
                sums[i] = dual_multiply(odd_bytes(four), second, sums[i]);
            }
        }
        quad_store(sums, ends, output);
    }
}

#endif

void tml_conv2d_s16_dsp(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output, void *scratch) {
    conv2d_quads_s16(shape, data, input, output, (int16_t *)scratch, tml_dsp_quads_s16);
}
