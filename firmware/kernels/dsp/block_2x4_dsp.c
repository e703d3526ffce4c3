/* SPDX-License-Identifier: Apache-2.0 */
#include "block_dsp.h"
#include "requantise.h"

#if TML_USE_DSP

/* Fourteen registers hold: eight sums (r4-r7 of channel a, r8-r11 of b), two pairs of pixels (r2,
 * r3), the weights of a and b (r12, lr), and both pointers (r0 weights, r1 columns). The rest is
 * on the stack:
 *   0 columns  4 columns_end  8 record  12 where the loop is entered  16 weights (spilled)
 *   56 .. 68 outputs  72 twice_zero_plus_1  76 pairs
 * Four taps cost 26 instructions for 32 multiplications; the loop holds eight taps and is entered
 * in its middle when the number of fours is odd. */

// clang-format off
#define FOUR_TAPS                                                                                  \
    HALF_OF_FOUR_TAPS                                                                              \
    HALF_OF_FOUR_TAPS

#define HALF_OF_FOUR_TAPS                                                                          \
    "ldr lr, [r0], #4\n"                                                                           \
    "ldrd r2, r3, [r1], #8\n"                                                                      \
    "sxtb16 r12, lr\n"                                                                             \
    "sxtb16 lr, lr, ror #8\n"                                                                      \
    "smlad r4, r12, r2, r4\n"                                                                      \
    "smlad r5, r12, r3, r5\n"                                                                      \
    "smlad r8, lr, r2, r8\n"                                                                       \
    "smlad r9, lr, r3, r9\n"                                                                       \
    "ldrd r2, r3, [r1], #8\n"                                                                      \
    "smlad r6, r12, r2, r6\n"                                                                      \
    "smlad r7, r12, r3, r7\n"                                                                      \
    "smlad r10, lr, r2, r10\n"                                                                     \
    "smlad r11, lr, r3, r11\n"

/* r1 shift, lr constant, r0 free. */
#define REQUANTISE(sum, multiplier)                                                                \
    "add r0, lr, " sum ", asr #31\n"                                                               \
    "lsl " sum ", " sum ", #1\n"                                                                   \
    "smmlar " sum ", " sum ", " multiplier ", r0\n"                                                \
    "asr " sum ", " sum ", r1\n"                                                                   \
    "ssat " sum ", #8, " sum "\n"

#define STORE(pointer, a, b)                                                                       \
    "strb " a ", [" pointer "], #1\n"                                                              \
    "strb " b ", [" pointer "], #1\n"

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_block_2x4,\"ax\",%progbits\n"
      ".global tml_dsp_block_2x4\n"
      ".type tml_dsp_block_2x4, %function\n"
      ".thumb_func\n"
      ".balign 4\n"
      "tml_dsp_block_2x4:\n"
      "push {r4-r11, lr}\n"
      "sub sp, sp, #20\n"
      "strd r1, r2, [sp, #0]\n"
      "str r3, [sp, #8]\n"
      "sub r2, r2, r1\n"
      "tst r2, #32\n"
      "ite eq\n"
      "adreq r3, 2f + 1\n"
      "adrne r3, 3f + 1\n"
      "str r3, [sp, #12]\n"
      "1:\n"
      "ldr r12, [sp, #8]\n"
      "ldrd r4, r8, [r12], #8\n"
      "str r12, [sp, #8]\n"
      "mov r5, r4\n"
      "mov r6, r4\n"
      "mov r7, r4\n"
      "mov r9, r8\n"
      "mov r10, r8\n"
      "mov r11, r8\n"
      "ldr r1, [sp, #0]\n"
      "ldr pc, [sp, #12]\n"
      ".balign 4\n"
      "2:\n"
      FOUR_TAPS
      ".balign 4\n"
      "3:\n"
      FOUR_TAPS
      "ldr r2, [sp, #4]\n"
      "cmp r1, r2\n"
      "bne 2b\n"
      "str r0, [sp, #16]\n"
      "ldr r0, [sp, #8]\n"
      "ldm r0!, {r2, r3, r12}\n"
      "str r0, [sp, #8]\n"
      "ldr lr, [sp, #72]\n"
      "uxtb r1, r12\n"
      "lsl lr, lr, r1\n"
      "asr lr, lr, #1\n"
      REQUANTISE("r4", "r2")
      REQUANTISE("r5", "r2")
      REQUANTISE("r6", "r2")
      REQUANTISE("r7", "r2")
      "ldr lr, [sp, #72]\n"
      "uxtb r1, r12, ror #8\n"
      "lsl lr, lr, r1\n"
      "asr lr, lr, #1\n"
      REQUANTISE("r8", "r3")
      REQUANTISE("r9", "r3")
      REQUANTISE("r10", "r3")
      REQUANTISE("r11", "r3")
      "add r12, sp, #56\n"
      "ldm r12, {r0, r1, r2, r3}\n"
      STORE("r0", "r4", "r8")
      STORE("r1", "r5", "r9")
      STORE("r2", "r6", "r10")
      STORE("r3", "r7", "r11")
      "stm r12, {r0, r1, r2, r3}\n"
      "ldr r0, [sp, #16]\n"
      "ldr r12, [sp, #76]\n"
      "subs r12, r12, #1\n"
      "str r12, [sp, #76]\n"
      "bne 1b\n"
      "add sp, sp, #20\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_block_2x4, . - tml_dsp_block_2x4\n");
// clang-format on

#else

void tml_dsp_block_2x4(const int8_t *weights, const int16_t *columns, const int16_t *columns_end,
                       const void *record, int8_t *output0, int8_t *output1, int8_t *output2,
                       int8_t *output3, int32_t twice_zero_plus_1, int32_t pairs) {
    int8_t *outputs[4] = {output0, output1, output2, output3};
    const pair_requantisation_t *channels = (const pair_requantisation_t *)record;
    for (; pairs > 0; --pairs, ++channels) {
        int32_t sums[2][4];
        for (int p = 0; p < 4; ++p) {
            sums[0][p] = channels->bias[0];
            sums[1][p] = channels->bias[1];
        }
        for (const int16_t *x = columns; x < columns_end; x += 8, weights += 4) {
            const int32_t w = load_word(weights);
            for (int p = 0; p < 4; ++p) {
                const pair_t pixel = load_word(x + 2 * p);
                sums[0][p] = dual_multiply(even_bytes(w), pixel, sums[0][p]);
                sums[1][p] = dual_multiply(odd_bytes(w), pixel, sums[1][p]);
            }
        }
        for (int c = 0; c < 2; ++c) {
            const int32_t shift = channels->shift[c];
            const int32_t constant = rounding_constant(twice_zero_plus_1, shift);
            for (int p = 0; p < 4; ++p) {
                *outputs[p]++ =
                    (int8_t)requantised(sums[c][p], channels->multiplier[c], shift, constant);
            }
        }
    }
}

#endif
