/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_dsp.h"
#include "simd.h"

#if TML_USE_DSP

/* r0 pixels, r1 step, r2 r4 r5 r6 planes, r3 spread_t, r7 - r12 pixels, lr words of two pixels
 * left; on the stack rows left. */
// clang-format off
#define SPREAD                                                                                     \
    "pkhbt r10, r8, r9, lsl #16\n"                                                                 \
    "pkhtb r11, r9, r8, asr #16\n"                                                                 \
    "sxtb16 r12, r10\n"                                                                            \
    "str r12, [r2], #4\n"                                                                          \
    "sxtb16 r10, r10, ror #8\n"                                                                    \
    "str r10, [r4], #4\n"                                                                          \
    "sxtb16 r12, r11\n"                                                                            \
    "str r12, [r5], #4\n"                                                                          \
    "sxtb16 r11, r11, ror #8\n"                                                                    \
    "str r11, [r6], #4\n"

/* Two channels of four pixels: words of the first two and of the last two, which are lost. */
#define STORE_FOUR(first, last, plane_a, plane_b)                                                  \
    "sxtb16 r11, " first "\n"                                                                      \
    "sxtb16 r7, " last "\n"                                                                        \
    "strd r11, r7, [" plane_a "], #8\n"                                                            \
    "sxtb16 " first ", " first ", ror #8\n"                                                        \
    "sxtb16 " last ", " last ", ror #8\n"                                                          \
    "strd " first ", " last ", [" plane_b "], #8\n"

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_spread_four,\"ax\",%progbits\n"
      ".global tml_dsp_spread_four\n"
      ".type tml_dsp_spread_four, %function\n"
      ".thumb_func\n"
      "tml_dsp_spread_four:\n"
      "push {r3-r11, lr}\n"
      "mov r3, r2\n"
      "mov r2, r1\n"
      "ldrd r1, r6, [r3]\n"
      "add r4, r2, r6\n"
      "add r5, r4, r6\n"
      "add r6, r5, r6\n"
      "0:\n"
      "ldrd r8, lr, [r3, #12]\n"
      "cmp r8, #0\n"
      "beq 1f\n"
      "ldr r8, [r3, #8]\n"
      "ldr r9, [r0]\n"
      "add r0, r0, r1\n"
      SPREAD
      "1:\n"
      "subs lr, lr, #2\n"
      "blt 6f\n"
      "2:\n"
      "ldr r8, [r0]\n"
      "ldr r9, [r0, r1]\n"
      "add r0, r0, r1, lsl #1\n"
      "ldr r10, [r0]\n"
      "ldr r11, [r0, r1]\n"
      "add r0, r0, r1, lsl #1\n"
      "pkhbt r12, r8, r9, lsl #16\n"
      "pkhtb r8, r9, r8, asr #16\n"
      "pkhbt r9, r10, r11, lsl #16\n"
      "pkhtb r10, r11, r10, asr #16\n"
      STORE_FOUR("r12", "r9", "r2", "r4")
      STORE_FOUR("r8", "r10", "r5", "r6")
      "subs lr, lr, #2\n"
      "bge 2b\n"
      "6:\n"
      "adds lr, lr, #2\n"
      "beq 3f\n"
      "ldr r8, [r0]\n"
      "ldr r9, [r0, r1]\n"
      "add r0, r0, r1, lsl #1\n"
      SPREAD
      "3:\n"
      "ldr r9, [r3, #20]\n"
      "cmp r9, #0\n"
      "beq 4f\n"
      "ldr r8, [r0]\n"
      "add r0, r0, r1\n"
      "ldr r9, [r3, #8]\n"
      SPREAD
      "4:\n"
      "ldr r8, [sp]\n"
      "subs r8, r8, #1\n"
      "beq 5f\n"
      "str r8, [sp]\n"
      "ldrd r8, r9, [r3, #24]\n"
      "add r0, r0, r8\n"
      "add r2, r2, r9\n"
      "add r4, r4, r9\n"
      "add r5, r5, r9\n"
      "add r6, r6, r9\n"
      "b 0b\n"
      "5:\n"
      "pop {r3-r11, pc}\n"
      ".size tml_dsp_spread_four, . - tml_dsp_spread_four\n");
// clang-format on

#else

void tml_dsp_spread_four(const int8_t *from, int16_t *to, const spread_t *s, int32_t rows) {
    const int32_t pixels = s->left + 2 * s->twos + s->right;
    const int32_t words = s->left + s->twos + s->right;
    for (int32_t y = 0; y < rows; ++y) {
        for (int32_t x = 0; x < 2 * words; ++x) {
            const int is_padding = (x == 0 && s->left) || x == pixels + s->left;
            const int32_t four =
                is_padding ? s->padding : load_word(from + (x - s->left) * s->step);
            for (int32_t c = 0; c < 4; ++c) {
                to[c * (s->plane / 2) + x] = (int8_t)((uint32_t)four >> (8 * c));
            }
        }
        from += pixels * s->step + s->gap;
        to += 2 * words + s->to_gap / 2;
    }
}

#endif
