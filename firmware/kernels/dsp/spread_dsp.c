/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_dsp.h"
#include "simd.h"

#if TML_USE_DSP

/* r0 pixels, r1 step, r2 r4 r5 r6 planes, r7 padding, r8 r9 two pixels, lr twos left. */
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

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_spread_four,\"ax\",%progbits\n"
      ".global tml_dsp_spread_four\n"
      ".type tml_dsp_spread_four, %function\n"
      ".thumb_func\n"
      "tml_dsp_spread_four:\n"
      "push {r4-r11, lr}\n"
      "add r4, r2, r3\n"
      "add r5, r4, r3\n"
      "add r6, r5, r3\n"
      "ldrd r7, r8, [sp, #36]\n"
      "cmp r8, #0\n"
      "beq 1f\n"
      "mov r8, r7\n"
      "ldr r9, [r0]\n"
      "add r0, r0, r1\n"
      SPREAD
      "1:\n"
      "ldr lr, [sp, #44]\n"
      "cmp lr, #0\n"
      "beq 3f\n"
      "2:\n"
      "ldr r8, [r0]\n"
      "ldr r9, [r0, r1]\n"
      "add r0, r0, r1, lsl #1\n"
      SPREAD
      "subs lr, lr, #1\n"
      "bne 2b\n"
      "3:\n"
      "ldr r9, [sp, #48]\n"
      "cmp r9, #0\n"
      "beq 4f\n"
      "ldr r8, [r0]\n"
      "mov r9, r7\n"
      SPREAD
      "4:\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_spread_four, . - tml_dsp_spread_four\n");
// clang-format on

#else

void tml_dsp_spread_four(const int8_t *from, int32_t step, int16_t *to, int32_t plane,
                         int32_t padding, int32_t left, int32_t twos, int32_t right) {
    const int32_t count = 2 * (left + twos) + right;
    for (int32_t x = 0; x < ((count + 1) & ~1); ++x) {
        const int is_padding = (x == 0 && left) || x == count;
        const int32_t four = is_padding ? padding : load_word(from + (x - left) * step);
        for (int32_t c = 0; c < 4; ++c) to[c * (plane / 2) + x] = (int8_t)(four >> (8 * c));
    }
}

#endif
