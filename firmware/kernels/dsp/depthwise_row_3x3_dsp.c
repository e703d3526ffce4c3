/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_dsp.h"
#include "requantise.h"

#if TML_USE_DSP

/* r0-r2 rows, r3 channel, r4-r7 sums, r8 weights (0, 1), r9 weights (1, 2), r10-r12 inputs,
 * lr output; on the stack 0 the channel's rows, 12 the outputs that are left, from 52 on the
 * arguments. Of a kernel row, one output takes a dual
 * multiplication and a single one.
 * Four outputs take 72 instructions with stride 1: 18 each, 2 for each of nine taps. */

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

#define TWO_BY_ONE(pointer, row, s0, s1)                                                           \
    WEIGHTS(row)                                                                                   \
    "ldr r11, [" pointer ", #4]\n"                                                                 \
    "ldr r10, [" pointer "], #4\n"                                                                 \
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

#define TWO_BY_TWO(pointer, row, s0, s1)                                                           \
    WEIGHTS(row)                                                                                   \
    "ldrd r10, r11, [" pointer "], #8\n"                                                           \
    "ldr r12, [" pointer "]\n"                                                                     \
    "smlad r4, r10, r8, " s0 "\n"                                                                  \
    "smlad r5, r11, r8, " s1 "\n"                                                                  \
    "smlabt r4, r11, r9, r4\n"                                                                     \
    "smlabt r5, r12, r9, r5\n"

#define REQUANTISE(sum)                                                                            \
    "add r11, r10, " sum ", asr #31\n"                                                             \
    "lsl " sum ", " sum ", #1\n"                                                                   \
    "smmlar " sum ", " sum ", r8, r11\n"                                                           \
    "asr " sum ", " sum ", r9\n"                                                                   \
    "ssat " sum ", #8, " sum "\n"

#define STORE(sum)                                                                                 \
    "strb " sum ", [lr]\n"                                                                         \
    "add lr, lr, r12\n"

#define ROW_FUNCTION(name, FOUR, TWO)                                                              \
    ".section .text." name ",\"ax\",%progbits\n"                                                   \
    ".global " name "\n"                                                                           \
    ".type " name ", %function\n"                                                                  \
    ".thumb_func\n"                                                                                \
    name ":\n"                                                                                     \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, sp, #16\n"                                                                            \
    "0:\n"                                                                                         \
    "stm sp, {r0, r1, r2}\n"                                                                       \
    "ldr lr, [sp, #52]\n"                                                                          \
    "ldr r8, [sp, #56]\n"                                                                          \
    "subs r8, r8, #4\n"                                                                            \
    "blt 2f\n"                                                                                     \
    "1:\n"                                                                                         \
    "str r8, [sp, #12]\n"                                                                          \
    "ldr r7, [r3]\n"                                                                               \
    FOUR("r0", "0", "r7", "r7", "r7", "r7")                                                        \
    FOUR("r1", "1", "r4", "r5", "r6", "r7")                                                        \
    FOUR("r2", "2", "r4", "r5", "r6", "r7")                                                        \
    "ldrd r8, r9, [r3, #4]\n"                                                                      \
    "ldr r10, [r3, #12]\n"                                                                         \
    "ldr r12, [sp, #60]\n"                                                                         \
    REQUANTISE("r4") STORE("r4")                                                                   \
    REQUANTISE("r5") STORE("r5")                                                                   \
    REQUANTISE("r6") STORE("r6")                                                                   \
    REQUANTISE("r7") STORE("r7")                                                                   \
    "ldr r8, [sp, #12]\n"                                                                          \
    "subs r8, r8, #4\n"                                                                            \
    "bge 1b\n"                                                                                     \
    "2:\n"                                                                                         \
    "adds r8, r8, #4\n"                                                                            \
    "beq 4f\n"                                                                                     \
    "3:\n"                                                                                         \
    "str r8, [sp, #12]\n"                                                                          \
    "ldr r5, [r3]\n"                                                                               \
    TWO("r0", "0", "r5", "r5")                                                                     \
    TWO("r1", "1", "r4", "r5")                                                                     \
    TWO("r2", "2", "r4", "r5")                                                                     \
    "ldrd r8, r9, [r3, #4]\n"                                                                      \
    "ldr r10, [r3, #12]\n"                                                                         \
    "ldr r12, [sp, #60]\n"                                                                         \
    REQUANTISE("r4") STORE("r4")                                                                   \
    REQUANTISE("r5")                                                                               \
    "ldr r8, [sp, #12]\n"                                                                          \
    "subs r8, r8, #2\n"                                                                            \
    "blt 4f\n"                                                                                     \
    STORE("r5")                                                                                    \
    "bne 3b\n"                                                                                     \
    "4:\n"                                                                                         \
    "ldrd r8, r9, [sp, #64]\n"                                                                     \
    "subs r9, r9, #1\n"                                                                            \
    "beq 5f\n"                                                                                     \
    "str r9, [sp, #68]\n"                                                                          \
    "ldm sp, {r0, r1, r2}\n"                                                                       \
    "add r0, r0, r8\n"                                                                             \
    "add r1, r1, r8\n"                                                                             \
    "add r2, r2, r8\n"                                                                             \
    "add r3, r3, #40\n"                                                                            \
    "ldr lr, [sp, #52]\n"                                                                          \
    "add lr, lr, #1\n"                                                                             \
    "str lr, [sp, #52]\n"                                                                          \
    "b 0b\n"                                                                                       \
    "5:\n"                                                                                         \
    "add sp, sp, #16\n"                                                                            \
    "pop {r4-r11, pc}\n"                                                                           \
    ".size " name ", . - " name "\n"

__asm(".syntax unified\n.thumb\n"
      ROW_FUNCTION("tml_dsp_depthwise_row_3x3_1", FOUR_BY_ONE, TWO_BY_ONE)
      ROW_FUNCTION("tml_dsp_depthwise_row_3x3_2", FOUR_BY_TWO, TWO_BY_TWO));
// clang-format on

#else

static void rows_3x3(const int16_t *const rows[3], const depthwise_channel_t *channel,
                     int8_t *output, int32_t count, int32_t step, int32_t plane, int32_t channels,
                     int32_t stride) {
    for (int32_t c = 0; c < channels; ++c, ++output) {
        const pair_t *weights = (const pair_t *)(channel + 1);
        for (int32_t x = 0; x < count; ++x) {
            int32_t sum = channel->bias;
            for (int i = 0; i < 3; ++i) {
                const int16_t *from = rows[i] + c * (plane / 2) + stride * x;
                sum = dual_multiply(load_word(from), weights[2 * i], sum);
                sum = multiply_low_high(from[2], weights[2 * i + 1], sum);
            }
            output[x * step] =
                (int8_t)requantised(sum, channel->multiplier, channel->shift, channel->constant);
        }
        channel = (const depthwise_channel_t *)(const void *)(weights + 6);
    }
}

void tml_dsp_depthwise_row_3x3_1(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                                 const depthwise_channel_t *channel, int8_t *output, int32_t count,
                                 int32_t step, int32_t plane, int32_t channels) {
    const int16_t *const rows[3] = {row0, row1, row2};
    rows_3x3(rows, channel, output, count, step, plane, channels, 1);
}

void tml_dsp_depthwise_row_3x3_2(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                                 const depthwise_channel_t *channel, int8_t *output, int32_t count,
                                 int32_t step, int32_t plane, int32_t channels) {
    const int16_t *const rows[3] = {row0, row1, row2};
    rows_3x3(rows, channel, output, count, step, plane, channels, 2);
}

#endif
