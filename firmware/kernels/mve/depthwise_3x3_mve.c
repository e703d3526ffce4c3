/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_mve.h"
#include "requantise.h"

#if TML_USE_MVE

/* r0-r8 the nine taps, r9 record of the group, r10 output, r11 record, lr lanes left; q4-q7 sums of
 * lanes 0 mod 4, 1, 2, 3. On the stack: 0 inputs (filled in anew), then the arguments.
 * The products of two taps fit 16 bits: weights are at least -127. A group takes 134
 * instructions: 8.4 for each of sixteen outputs, 0.93 for each of nine taps. */
// clang-format off
#define FIRST(tap, weights)                                                                        \
    "vldrb.8 q0, [" tap "], #16\n"                                                                 \
    "vldrw.32 q1, [r9, #" weights "]\n"                                                            \
    "vmullb.s8 q2, q0, q1\n"                                                                       \
    "vmullt.s8 q0, q0, q1\n"

/* Adds to q2 and q0. */
#define SECOND(tap, weights)                                                                       \
    "vldrb.8 q1, [" tap "], #16\n"                                                                 \
    "vldrw.32 q3, [r9, #" weights "]\n"                                                            \
    "vmullb.s8 q3, q1, q3\n"                                                                       \
    "vadd.i16 q2, q2, q3\n"                                                                        \
    "vldrw.32 q3, [r9, #" weights "]\n"                                                            \
    "vmullt.s8 q3, q1, q3\n"                                                                       \
    "vadd.i16 q0, q0, q3\n"

#define WIDEN                                                                                      \
    "vmovlb.s16 q1, q2\n"                                                                          \
    "vadd.i32 q4, q4, q1\n"                                                                        \
    "vmovlt.s16 q2, q2\n"                                                                          \
    "vadd.i32 q6, q6, q2\n"                                                                        \
    "vmovlb.s16 q1, q0\n"                                                                          \
    "vadd.i32 q5, q5, q1\n"                                                                        \
    "vmovlt.s16 q0, q0\n"                                                                          \
    "vadd.i32 q7, q7, q0\n"

#define REQUANTISE(sum, multiplier, shift, constant)                                               \
    "vldrw.32 q0, [r9, #" multiplier "]\n"                                                         \
    "vldrw.32 q1, [r9, #" constant "]\n"                                                           \
    "vqrdmulh.s32 q0, " sum ", q0\n"                                                               \
    "vshr.s32 " sum ", " sum ", #31\n"                                                             \
    "vadd.i32 q0, q0, q1\n"                                                                        \
    "vldrw.32 q1, [r9, #" shift "]\n"                                                              \
    "vadd.i32 " sum ", " sum ", q0\n"                                                              \
    "vshl.s32 " sum ", " sum ", q1\n"

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_mve_depthwise_3x3,\"ax\",%progbits\n"
      ".global tml_mve_depthwise_3x3\n"
      ".type tml_mve_depthwise_3x3, %function\n"
      ".thumb_func\n"
      "tml_mve_depthwise_3x3:\n"
      "push {r4-r11, lr}\n"
      "vpush {d8-d15}\n"
      "mov r11, r0\n"
      "mov r10, r3\n"
      "sub sp, sp, #4\n"
      "ldr lr, [sp, #112]\n"
      "add r9, lr, #15\n"
      "bic r9, r9, #15\n"
      "sub r2, r2, r9\n"
      "str r2, [sp, #0]\n"
      "ldr r3, [sp, #104]\n"
      "sub r3, r3, r9\n"
      "str r3, [sp, #104]\n"
      "ldm r1, {r0, r1, r2, r3, r4, r5, r6, r7, r8}\n"
      "1:\n"
      "mov r9, r11\n"
      "dlstp.8 lr, lr\n"
      "2:\n"
      "vldrw.32 q4, [r9, #0]\n"
      "vldrw.32 q5, [r9, #16]\n"
      "vldrw.32 q6, [r9, #32]\n"
      "vldrw.32 q7, [r9, #48]\n"
      FIRST("r0", "256") SECOND("r1", "272") WIDEN
      FIRST("r2", "288") SECOND("r3", "304") WIDEN
      FIRST("r4", "320") SECOND("r5", "336") WIDEN
      FIRST("r6", "352") SECOND("r7", "368") WIDEN
      FIRST("r8", "384") WIDEN
      REQUANTISE("q4", "64", "128", "192")
      REQUANTISE("q5", "80", "144", "208")
      REQUANTISE("q6", "96", "160", "224")
      REQUANTISE("q7", "112", "176", "240")
      "vqmovnb.s32 q4, q4\n"
      "vqmovnt.s32 q4, q6\n"
      "vqmovnb.s32 q5, q5\n"
      "vqmovnt.s32 q5, q7\n"
      "vqmovnb.s16 q4, q4\n"
      "vqmovnt.s16 q4, q5\n"
      "vstrb.8 q4, [r10], #16\n"
      "add r9, r9, #416\n"
      "letp lr, 2b\n"
      "ldr r9, [sp, #108]\n"
      "subs r9, r9, #1\n"
      "beq 4f\n"
      "str r9, [sp, #108]\n"
      "ldr r9, [sp, #104]\n"
      "add r10, r10, r9\n"
      "ldr lr, [sp, #112]\n"
      "ldr r9, [sp, #0]\n"
      "cmp r9, #0\n"
      "beq 1b\n"
      "add r0, r0, r9\n"
      "add r1, r1, r9\n"
      "add r2, r2, r9\n"
      "add r3, r3, r9\n"
      "add r4, r4, r9\n"
      "add r5, r5, r9\n"
      "add r6, r6, r9\n"
      "add r7, r7, r9\n"
      "add r8, r8, r9\n"
      "b 1b\n"
      "4:\n"
      "add sp, sp, #4\n"
      "vpop {d8-d15}\n"
      "pop {r4-r11, pc}\n"
      ".size tml_mve_depthwise_3x3, . - tml_mve_depthwise_3x3\n");
// clang-format on

#else

void tml_mve_depthwise_3x3(const void *record, const int8_t *const inputs[9], int32_t input_step,
                           int8_t *output, int32_t output_step, int32_t places, int32_t lanes) {
    for (int32_t at = 0; places > 0; --places, at += input_step, output += output_step) {
        for (int32_t lane = 0; lane < lanes; ++lane) {
            const mve_lanes_t *channels =
                (const mve_lanes_t *)(const void *)((const int8_t *)record + lane / 16 * 416);
            const int8_t *weights = (const int8_t *)(channels + 1) + lane % 16;
            const int32_t vector = lane & 3, place = lane % 16 / 4;
            int32_t sum = channels->bias[vector][place];
            for (int32_t t = 0; t < 9; ++t) sum += inputs[t][at + lane] * weights[16 * t];
            output[lane] = (int8_t)requantised(sum, channels->multiplier[vector][place],
                                               -channels->left_shift[vector][place],
                                               channels->constant[vector][place]);
        }
    }
}

#endif
