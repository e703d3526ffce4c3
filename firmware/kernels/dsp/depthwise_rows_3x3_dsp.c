/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_dsp.h"
#include "requantise.h"

#if TML_USE_DSP

/* r0-r2 rows, r3 channel, r4-r7 sums, r8 weights (0, 1), r9 weights (1, 2), r10-r12 inputs,
 * lr output. On the stack: from 0 on depthwise_rows_t, whose rows, output, output_rows and channels
 * follow what is done; 48 the channel's first rows; 60 its output; 64 output_rows; 68 the outputs
 * that are left in the row. Of a kernel row, one output takes a dual multiplication and a single
 * one. Four outputs take 63 instructions with stride 1: 1.75 for each of nine taps. */

// clang-format off
#define WEIGHTS(row) "ldrd r8, r9, [r3, #16 + 8 * " row "]\n"

/* Words w0 w1 w2; outputs start at w0.low, w0.high, w1.low, w1.high. */
#define FOUR_BY_ONE(pointer, row, s0, s1, s2, s3)                                                  \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "], #8\n"                                                           \
    "ldr r12, [" pointer "]\n"                                                                     \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlatb r5, r10, r8, " s1 "\n"                                                                 \
    "smlad r6, r11, r8, " s2 "\n"                                                                  \
    "smlatb r7, r11, r8, " s3 "\n"                                                                 \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "smlad r5, r11, r9, r5\n"                                                                      \
    "smlabt r6, r12, r9, r6\n"                                                                     \
    "smlad r7, r12, r9, r7\n"

/* Tiles of three and two are the last of a row. */
#define THREE_BY_ONE(pointer, row, s0, s1, s2)                                                     \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "]\n"                                                               \
    "ldr r12, [" pointer ", #8]\n"                                                                 \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlatb r5, r10, r8, " s1 "\n"                                                                 \
    "smlad r6, r11, r8, " s2 "\n"                                                                  \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "smlad r5, r11, r9, r5\n"                                                                      \
    "smlabt r6, r12, r9, r6\n"

#define TWO_BY_ONE(pointer, row, s0, s1)                                                           \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "]\n"                                                               \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlatb r5, r10, r8, " s1 "\n"                                                                 \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "smlad r5, r11, r9, r5\n"

/* Words w0 .. w4; output k starts at wk.low. */
#define FOUR_BY_TWO(pointer, row, s0, s1, s2, s3)                                                  \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "], #8\n"                                                           \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlad r5, r11, r8, " s1 "\n"                                                                  \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "ldrd r10, r11, [" pointer "], #8\n"                                                           \
    "ldr r12, [" pointer "]\n"                                                                     \
    "smlabt r5, r10, r9, r5\n"                                                                     \
    "smlad r6, r10, r8, " s2 "\n"                                                                  \
    "smlad r7, r11, r8, " s3 "\n"                                                                  \
    "smlabt r6, r11, r9, r6\n"                                                                     \
    "smlabt r7, r12, r9, r7\n"

#define THREE_BY_TWO(pointer, row, s0, s1, s2)                                                     \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "]\n"                                                               \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlad r5, r11, r8, " s1 "\n"                                                                  \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "ldrd r10, r11, [" pointer ", #8]\n"                                                           \
    "smlabt r5, r10, r9, r5\n"                                                                     \
    "smlad r6, r10, r8, " s2 "\n"                                                                  \
    "smlabt r6, r11, r9, r6\n"

#define TWO_BY_TWO(pointer, row, s0, s1)                                                           \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "]\n"                                                               \
    "ldr r12, [" pointer ", #8]\n"                                                                 \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlad r5, r11, r8, " s1 "\n"                                                                  \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "smlabt r5, r12, r9, r5\n"

#define REQUANTISE(sum)                                                                            \
    "add r11, r10, " sum ", asr #31\n"                                                             \
    "smmlar " sum ", " sum ", r8, r11\n"                                                           \
    "asr " sum ", " sum ", r9\n"                                                                   \
    "ssat " sum ", #8, " sum "\n"

#define FINISH                                                                                     \
    "ldrd r8, r9, [r3, #4]\n"                                                                      \
    "ldr r10, [r3, #12]\n"                                                                         \
    "ldr r12, [sp, #28]\n"

#define ROWS_FUNCTION(name, FOUR, THREE, TWO)                                                      \
    ".section .text." name ",\"ax\",%progbits\n"                                                   \
    ".global " name "\n"                                                                           \
    ".type " name ", %function\n"                                                                  \
    ".thumb_func\n"                                                                                \
    name ":\n"                                                                                     \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, sp, #76\n"                                                                            \
    "mov r12, r0\n"                                                                                \
    "ldm r12, {r0-r11}\n"                                                                          \
    "stm sp, {r0-r11}\n"                                                                           \
    "add r12, sp, #48\n"                                                                           \
    "mov lr, r6\n"                                                                                 \
    "stm r12, {r0, r1, r2, lr}\n"                                                                  \
    "str r10, [sp, #64]\n"                                                                         \
    "mov r3, r5\n"                                                                                 \
    "0:\n"                                                                                         \
    "ldr r8, [sp, #36]\n"                                                                          \
    "subs r8, r8, #4\n"                                                                            \
    "blt 2f\n"                                                                                     \
    "1:\n"                                                                                         \
    "str r8, [sp, #68]\n"                                                                          \
    "ldr r7, [r3]\n"                                                                               \
    FOUR("r0", "0", "r7", "r7", "r7", "r7")                                                        \
    FOUR("r1", "1", "r4", "r5", "r6", "r7")                                                        \
    FOUR("r2", "2", "r4", "r5", "r6", "r7")                                                        \
    FINISH                                                                                         \
    REQUANTISE("r4")                                                                               \
    REQUANTISE("r5")                                                                               \
    REQUANTISE("r6")                                                                               \
    REQUANTISE("r7")                                                                               \
    "strb r4, [lr]\n"                                                                             \
    "strb r5, [lr, r12]\n"                                                                        \
    "add lr, lr, r12, lsl #1\n"                                                                   \
    "strb r6, [lr]\n"                                                                             \
    "strb r7, [lr, r12]\n"                                                                        \
    "add lr, lr, r12, lsl #1\n"                                                                   \
    "ldr r8, [sp, #68]\n"                                                                          \
    "subs r8, r8, #4\n"                                                                            \
    "bge 1b\n"                                                                                     \
    "2:\n"                                                                                         \
    "adds r8, r8, #2\n"                                                                            \
    "bgt 3f\n"                                                                                     \
    "adds r4, r8, #2\n"                                                                            \
    "beq 4f\n"                                                                                     \
    "str r8, [sp, #68]\n"                                                                          \
    "ldr r5, [r3]\n"                                                                               \
    TWO("r0", "0", "r5", "r5")                                                                     \
    TWO("r1", "1", "r4", "r5")                                                                     \
    TWO("r2", "2", "r4", "r5")                                                                     \
    FINISH                                                                                         \
    REQUANTISE("r4")                                                                               \
    "strb r4, [lr]\n"                                                                              \
                                                                   \
    "ldr r11, [sp, #68]\n"                                                                         \
    "cmp r11, #0\n"                                                                                \
    "blt 4f\n"                                                                                     \
    REQUANTISE("r5")                                                                               \
    "strb r5, [lr, r12]\n"                                                                         \
    "b 4f\n"                                                                                       \
    "3:\n"                                                                                         \
    "ldr r6, [r3]\n"                                                                               \
    THREE("r0", "0", "r6", "r6", "r6")                                                             \
    THREE("r1", "1", "r4", "r5", "r6")                                                             \
    THREE("r2", "2", "r4", "r5", "r6")                                                             \
    FINISH                                                                                         \
    REQUANTISE("r4")                                                                               \
    REQUANTISE("r5")                                                                               \
    REQUANTISE("r6")                                                                               \
    "strb r4, [lr]\n"                                                                             \
    "strb r5, [lr, r12]\n"                                                                        \
    "strb r6, [lr, r12, lsl #1]\n"                                                                \
    "4:\n"                                                                                         \
    "ldr r8, [sp, #40]\n"                                                                          \
    "subs r8, r8, #1\n"                                                                            \
    "beq 5f\n"                                                                                     \
    "str r8, [sp, #40]\n"                                                                          \
    "ldm sp, {r0, r1, r2, r9}\n"                                                                   \
    "add r0, r0, r9\n"                                                                             \
    "add r1, r1, r9\n"                                                                             \
    "add r2, r2, r9\n"                                                                             \
    "stm sp, {r0, r1, r2}\n"                                                                       \
    "ldr lr, [sp, #24]\n"                                                                          \
    "ldr r9, [sp, #32]\n"                                                                          \
    "add lr, lr, r9\n"                                                                             \
    "str lr, [sp, #24]\n"                                                                          \
    "b 0b\n"                                                                                       \
    "5:\n"                                                                                         \
    "ldr r8, [sp, #44]\n"                                                                          \
    "subs r8, r8, #1\n"                                                                            \
    "beq 6f\n"                                                                                     \
    "str r8, [sp, #44]\n"                                                                          \
    "ldr r9, [sp, #16]\n"                                                                          \
    "add r12, sp, #48\n"                                                                           \
    "ldm r12, {r0, r1, r2, lr}\n"                                                                  \
    "add r0, r0, r9\n"                                                                             \
    "add r1, r1, r9\n"                                                                             \
    "add r2, r2, r9\n"                                                                             \
    "add lr, lr, #1\n"                                                                             \
    "stm r12, {r0, r1, r2, lr}\n"                                                                  \
    "stm sp, {r0, r1, r2}\n"                                                                       \
    "str lr, [sp, #24]\n"                                                                          \
    "ldr r10, [sp, #64]\n"                                                                         \
    "str r10, [sp, #40]\n"                                                                         \
    "add r3, r3, #40\n"                                                                            \
    "b 0b\n"                                                                                       \
    "6:\n"                                                                                         \
    "add sp, sp, #76\n"                                                                            \
    "pop {r4-r11, pc}\n"                                                                           \
    ".size " name ", . - " name "\n"

__asm(".syntax unified\n.thumb\n"
      ROWS_FUNCTION("tml_dsp_depthwise_rows_3x3_1", FOUR_BY_ONE, THREE_BY_ONE, TWO_BY_ONE)
      ROWS_FUNCTION("tml_dsp_depthwise_rows_3x3_2", FOUR_BY_TWO, THREE_BY_TWO, TWO_BY_TWO));
// clang-format on

#else

static void one_row(const int16_t *const rows[3], const depthwise_channel_t *channel,
                    int8_t *output, int32_t count, int32_t step, int32_t stride) {
    const pair_t *weights = (const pair_t *)(channel + 1);
    for (int32_t x = 0; x < count; ++x) {
        int32_t sum = channel->bias;
        for (int i = 0; i < 3; ++i) {
            const int16_t *from = rows[i] + stride * x;
            sum = dual_multiply(load_word(from), weights[2 * i], sum);
            sum = multiply_low_high(from[2], weights[2 * i + 1], sum);
        }
        output[x * step] =
            (int8_t)requantised_twice(sum, channel->multiplier, channel->shift, channel->constant);
    }
}

static void rows_3x3(const depthwise_rows_t *r, int32_t stride) {
    const depthwise_channel_t *channel = r->channel;
    for (int32_t c = 0; c < r->channels; ++c) {
        for (int32_t y = 0; y < r->output_rows; ++y) {
            const int32_t at = (c * r->plane + y * r->next_row) / 2;
            const int16_t *const rows[3] = {r->rows[0] + at, r->rows[1] + at, r->rows[2] + at};
            one_row(rows, channel, r->output + y * r->output_row + c, r->count, r->step, stride);
        }
        channel = (const depthwise_channel_t *)(const void *)((const pair_t *)(channel + 1) + 6);
    }
}

void tml_dsp_depthwise_rows_3x3_1(const depthwise_rows_t *rows) {
    rows_3x3(rows, 1);
}

void tml_dsp_depthwise_rows_3x3_2(const depthwise_rows_t *rows) {
    rows_3x3(rows, 2);
}

#endif
