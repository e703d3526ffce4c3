/* SPDX-License-Identifier: Apache-2.0 */
#include "attention_dsp.h"
#include "simd.h"

#if TML_USE_DSP

// clang-format off
#define KEY(sum)                                                                                   \
    "sxtb16 r11, r10\n"                                                                            \
    "sxtb16 r10, r10, ror #8\n"                                                                    \
    "smlad " sum ", r11, r8, " sum "\n"                                                            \
    "smlad " sum ", r10, r9, " sum "\n"

#define FOUR_VALUES                                                                                \
    "ldrd r8, r9, [r0], #8\n"                                                                      \
    "ldr r10, [r1, r2]\n"                                                                          \
    KEY("r5")                                                                                      \
    "ldr r10, [r1, r2, lsl #1]\n"                                                                  \
    KEY("r6")                                                                                      \
    "ldr r10, [r1, r12]\n"                                                                         \
    KEY("r7")                                                                                      \
    "ldr r10, [r1], #4\n"                                                                          \
    KEY("r4")

/* r0 query, r1 first key, r2 depth, r12 three times depth, lr the first key's end, r4-r7 sums,
 * r8 and r9 pairs of the query. Four values cost 21 instructions for 16 products. */
__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_scores_4,\"ax\",%progbits\n"
      ".global tml_dsp_scores_4\n"
      ".type tml_dsp_scores_4, %function\n"
      ".thumb_func\n"
      "tml_dsp_scores_4:\n"
      "push {r3-r11, lr}\n"
      "add r12, r2, r2, lsl #1\n"
      "add lr, r1, r2\n"
      "mov r4, #0\n"
      "mov r5, #0\n"
      "mov r6, #0\n"
      "mov r7, #0\n"
      "1:\n"
      FOUR_VALUES
      FOUR_VALUES
      "cmp r1, lr\n"
      "bne 1b\n"
      "pop {r3}\n"
      "stm r3, {r4, r5, r6, r7}\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_scores_4, . - tml_dsp_scores_4\n");

#define WORD(s0, s1, s2, s3, half)                                                                 \
    "sxtb16 r1, lr\n"                                                                              \
    "sxtb16 lr, lr, ror #8\n"                                                                      \
    "smla" half "b " s0 ", r12, r1, " s0 "\n"                                                      \
    "smla" half "t " s1 ", r12, r1, " s1 "\n"                                                      \
    "smla" half "b " s2 ", r12, lr, " s2 "\n"                                                      \
    "smla" half "t " s3 ", r12, lr, " s3 "\n"

#define KEY_OF_EIGHT(half)                                                                         \
    "ldr lr, [r2, #4]\n"                                                                           \
    WORD("r8", "r9", "r10", "r11", half)                                                           \
    "ldr lr, [r2]\n"                                                                               \
    "add r2, r2, r3\n"                                                                             \
    WORD("r4", "r5", "r6", "r7", half)

/* r0 weights, r1 and lr pairs of a key, r2 keys, r3 depth, r4-r11 sums, r12 two weights; on the
 * stack 0 end of the weights. Two keys cost 37 instructions for 16 products. */
__asm(".section .text.tml_dsp_columns_8,\"ax\",%progbits\n"
      ".global tml_dsp_columns_8\n"
      ".type tml_dsp_columns_8, %function\n"
      ".thumb_func\n"
      "tml_dsp_columns_8:\n"
      "push {r1, r4-r11, lr}\n"
      "ldr r12, [sp, #40]\n"
      "ldm r12, {r4-r11}\n"
      "1:\n"
      "ldr r12, [r0], #4\n"
      "cmp r12, #0\n"
      "beq 3f\n"
      KEY_OF_EIGHT("b")
      KEY_OF_EIGHT("t")
      "2:\n"
      "ldr r1, [sp]\n"
      "cmp r0, r1\n"
      "bne 1b\n"
      "ldr r12, [sp, #40]\n"
      "stm r12, {r4-r11}\n"
      "pop {r1, r4-r11, pc}\n"
      "3:\n"
      "add r2, r2, r3, lsl #1\n"
      "b 2b\n"
      ".size tml_dsp_columns_8, . - tml_dsp_columns_8\n");
// clang-format on

#else

void tml_dsp_scores_4(const int16_t *query, const int8_t *keys, uint32_t depth, int32_t sums[4]) {
    for (int i = 0; i < 4; ++i) {
        sums[i] = 0;
        for (uint32_t k = 0; k < depth; k += 4, keys += 4) {
            const int32_t four = load_word(keys);
            sums[i] = dual_multiply(even_bytes(four), load_word(query + k), sums[i]);
            sums[i] = dual_multiply(odd_bytes(four), load_word(query + k + 2), sums[i]);
        }
    }
}

void tml_dsp_columns_8(const int16_t *weights, const int16_t *end, const int8_t *keys,
                       uint32_t depth, int32_t sums[8]) {
    for (; weights != end; weights += 2, keys += 2 * depth) {
        const pair_t both = load_word(weights);
        for (uint32_t c = 0; c < 8; c += 4) {
            const int32_t first = load_word(keys + c), second = load_word(keys + depth + c);
            const pair_t pairs[4] = {even_bytes(first), odd_bytes(first), even_bytes(second),
                                     odd_bytes(second)};
            for (uint32_t i = 0; i < 2; ++i) {
                int32_t *two = sums + c + 2 * i;
                two[0] = multiply_low_low(both, pairs[i], two[0]);
                two[1] = multiply_low_high(both, pairs[i], two[1]);
                two[0] = multiply_high_low(both, pairs[2 + i], two[0]);
                two[1] = multiply_high_high(both, pairs[2 + i], two[1]);
            }
        }
    }
}

#endif
