/* SPDX-License-Identifier: Apache-2.0 */
#include "block_mve.h"

#if TML_USE_MVE

/* r0 pixel, r1 weights of the quad, r2 output, r3 pixels left, r4 r6 r8 r10 sums, r5 and r7 run
 * over input and weights, r9 taps, r11 input step, r12 channels; q4 multipliers, q5 shifts, q6
 * constants; on the stack 0 block, 4 quads left, 8 output of the quad, 12 output step.
 * Sixteen taps cost 10 instructions for 64 multiplications, four outputs 20 more. */
// clang-format off
/* q0 sums. */
#define FINISH_AND_STORE                                                                           \
    "vqrdmulh.s32 q1, q0, q4\n"                                                                    \
    "vshr.s32 q2, q0, #31\n"                                                                       \
    "vadd.i32 q1, q1, q6\n"                                                                        \
    "vadd.i32 q1, q1, q2\n"                                                                        \
    "vshl.s32 q1, q1, q5\n"                                                                        \
    "vqmovnb.s32 q0, q1\n"                                                                         \
    "vqmovnb.s16 q0, q0\n"                                                                         \
    "vstrb.32 q0, [r2]\n"

#define CHANNEL(sum)                                                                               \
    "vldrb.8 q1, [r7], #16\n"                                                                      \
    "vmladava.s8 " sum ", q0, q1\n"

__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_mve_block_4x1,\"ax\",%progbits\n"
      ".global tml_mve_block_4x1\n"
      ".type tml_mve_block_4x1, %function\n"
      ".thumb_func\n"
      "tml_mve_block_4x1:\n"
      "push {r4-r11, lr}\n"
      "vpush {d8-d13}\n"
      "sub sp, sp, #16\n"
      "ldr r1, [r0, #0]\n"
      "ldr r12, [r0, #4]\n"
      "ldr r2, [r0, #12]\n"
      "ldr r11, [r0, #16]\n"
      "ldr r4, [r0, #20]\n"
      "ldr r9, [r0, #28]\n"
      "ldr r3, [r0, #32]\n"
      "strd r0, r3, [sp, #0]\n"
      "strd r2, r4, [sp, #8]\n"
      "1:\n"
      "ldr r5, [sp, #0]\n"
      "ldr r0, [r5, #8]\n"
      "ldr r3, [r5, #24]\n"
      "ldr r2, [sp, #8]\n"
      "vldrw.32 q4, [r12, #16]\n"
      "vldrw.32 q5, [r12, #32]\n"
      "vldrw.32 q6, [r12, #48]\n"
      "2:\n"
      "ldrd r4, r6, [r12, #0]\n"
      "ldrd r8, r10, [r12, #8]\n"
      "mov r5, r0\n"
      "mov r7, r1\n"
      "dlstp.8 lr, r9\n"
      "3:\n"
      "vldrb.8 q0, [r5], #16\n"
      CHANNEL("r4")
      CHANNEL("r6")
      CHANNEL("r8")
      CHANNEL("r10")
      "letp lr, 3b\n"
      "vmov q0[2], q0[0], r4, r8\n"
      "vmov q0[3], q0[1], r6, r10\n"
      FINISH_AND_STORE
      "ldr r5, [sp, #12]\n"
      "add r2, r2, r5\n"
      "add r0, r0, r11\n"
      "subs r3, r3, #1\n"
      "bne 2b\n"
      "mov r1, r7\n"
      "add r12, r12, #64\n"
      "ldrd r4, r5, [sp, #4]\n"
      "add r5, r5, #4\n"
      "subs r4, r4, #1\n"
      "strd r4, r5, [sp, #4]\n"
      "bne 1b\n"
      "add sp, sp, #16\n"
      "vpop {d8-d13}\n"
      "pop {r4-r11, pc}\n"
      ".size tml_mve_block_4x1, . - tml_mve_block_4x1\n");

/* Up to sixteen taps, all of which can be read: the weights of a quad stay in q3 and q7 and two
 * registers below. r0 pixel, r2 output, r9 weights, r11 input step, r12 channels, r1 output step,
 * lr pixels. Four outputs take 21 instructions. */
__asm(".section .text.tml_mve_block_4x1_short,\"ax\",%progbits\n"
      ".global tml_mve_block_4x1_short\n"
      ".type tml_mve_block_4x1_short, %function\n"
      ".thumb_func\n"
      "tml_mve_block_4x1_short:\n"
      "push {r3-r11, lr}\n"
      "vpush {d8-d15}\n"
      "ldrd r9, r12, [r0, #0]\n"
      "ldr r3, [r0, #12]\n"
      "ldrd r11, r1, [r0, #16]\n"
      "ldr r7, [r0, #32]\n"
      "1:\n"
      "vldrw.32 q4, [r12, #16]\n"
      "vldrw.32 q5, [r12, #32]\n"
      "vldrw.32 q6, [r12, #48]\n"
      "vldrw.32 q3, [r9, #0]\n"
      "vldrw.32 q7, [r9, #16]\n"
      "ldr lr, [r0, #24]\n"
      "ldr r5, [r0, #8]\n"
      "mov r2, r3\n"
      "dls lr, lr\n"
      "2:\n"
      "vldrb.8 q0, [r5]\n"
      "vldrw.32 q1, [r9, #32]\n"
      "vldrw.32 q2, [r9, #48]\n"
      "vmladav.s8 r4, q0, q3\n"
      "vmladav.s8 r6, q0, q7\n"
      "vmladav.s8 r8, q0, q1\n"
      "vmladav.s8 r10, q0, q2\n"
      "vldrw.32 q1, [r12]\n"
      "vmov q0[2], q0[0], r4, r8\n"
      "vmov q0[3], q0[1], r6, r10\n"
      "vadd.i32 q0, q0, q1\n"
      FINISH_AND_STORE
      "add r5, r5, r11\n"
      "add r2, r2, r1\n"
      "le lr, 2b\n"
      "add r12, r12, #64\n"
      "add r9, r9, #64\n"
      "add r3, r3, #4\n"
      "subs r7, r7, #1\n"
      "bne 1b\n"
      "vpop {d8-d15}\n"
      "pop {r3-r11, pc}\n"
      ".size tml_mve_block_4x1_short, . - tml_mve_block_4x1_short\n");
// clang-format on

#else

void tml_mve_block_4x1_short(const mve_block_t *block) {
    tml_mve_block_4x1(block);
}

void tml_mve_block_4x1(const mve_block_t *block) {
    const int32_t lines = (block->taps + 15) / 16;
    for (int32_t q = 0; q < block->quads; ++q) {
        const quad_t *channels = block->channels + q;
        const int8_t *weights = block->weights + q * lines * 64;
        for (int32_t p = 0; p < block->pixels; ++p) {
            const int8_t *input = block->input + p * block->input_step;
            int8_t *output = block->output + p * block->output_step + 4 * q;
            for (int32_t c = 0; c < 4; ++c) {
                int32_t sum = channels->bias[c];
                for (int32_t k = 0; k < block->taps; ++k) {
                    sum += input[k] * weights[k / 16 * 64 + c * 16 + k % 16];
                }
                output[c] = (int8_t)requantised(sum, channels->multiplier[c],
                                                -channels->left_shift[c], channels->constant[c]);
            }
        }
    }
}

#endif
