/* SPDX-License-Identifier: Apache-2.0 */
#include "aligned.h"

void tml_dsp_add(const int8_t *wide, const int8_t *fine, int8_t *output, uint32_t count,
                 const tml_add_dsp_data_t *d);

#if TML_USE_DSP

/* r0 wide, r1 fine, r2 output, r3 count, r4 .. r11 the record in the order r8 wide offset, r4 fine
 * offset, r5 multiplier, r6 shift, r7 constant, r9 output multiplier, r10 shift, r11 constant:
 * with two to compute in, all registers. An output takes 16 instructions. */
// clang-format off
__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_add,\"ax\",%progbits\n"
      ".global tml_dsp_add\n"
      ".type tml_dsp_add, %function\n"
      ".thumb_func\n"
      "tml_dsp_add:\n"
      "push {r4-r11, lr}\n"
      "ldr r12, [sp, #36]\n"
      "ldr r8, [r12], #4\n"
      "ldm r12, {r4, r5, r6, r7, r9, r10, r11}\n"
      "cbz r3, 2f\n"
      "1:\n"
      "ldrsb r12, [r1], #1\n"
      "add r12, r4, r12, lsl #21\n"
      "add lr, r7, r12, asr #31\n"
      "smmlar r12, r12, r5, lr\n"
      "asr r12, r12, r6\n"
      "ldrsb lr, [r0], #1\n"
      "add r12, r12, r8\n"
      "add r12, r12, lr, lsl #19\n"
      "add lr, r11, r12, asr #31\n"
      "lsl r12, r12, #1\n"
      "smmlar r12, r12, r9, lr\n"
      "asr r12, r12, r10\n"
      "ssat r12, #8, r12\n"
      "strb r12, [r2], #1\n"
      "subs r3, r3, #1\n"
      "bne 1b\n"
      "2:\n"
      "pop {r4-r11, pc}\n"
      ".size tml_dsp_add, . - tml_dsp_add\n");
// clang-format on

#else

void tml_dsp_add(const int8_t *wide, const int8_t *fine, int8_t *output, uint32_t count,
                 const tml_add_dsp_data_t *d) {
    for (uint32_t i = 0; i < count; ++i) {
        const int32_t x = d->fine_offset + fine[i] * (1 << 21);
        const int32_t biased = d->fine_constant + (x >> 31);
        const int32_t aligned =
            multiply_high_rounded(x, d->fine_multiplier, biased) >> d->fine_shift;
        const int32_t sum = d->wide_offset + wide[i] * (1 << 19) + aligned;
        output[i] =
            (int8_t)requantised(sum, d->output_multiplier, d->output_shift, d->output_constant);
    }
}

#endif

/* One input a row's every element has. */
static __attribute__((noinline)) void add_rows(const tml_add_dsp_t *shape, const void *data,
                                               const int8_t *wide, const int8_t *fine,
                                               int8_t *output) {
    ALIGNED_LOOP(int8_t, 19, saturate_int8(ALIGNED_OUTPUT(x + y)))
}

void tml_add_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                    const int8_t *fine, int8_t *output) {
    const tml_add_dsp_data_t *d = (const tml_add_dsp_data_t *)data;
    const tml_add_dsp_t s = *shape; /* a copy: bytes may alias anything */
    int8_t *to = output;
    if (!s.wide_along || !s.fine_along) {
        add_rows(shape, data, wide, fine, output);
    } else {
        for (uint32_t r = 0; r < s.repeats; ++r, to += s.period) {
            tml_dsp_add(wide, fine, to, s.period, d);
            wide += s.wide_step;
            fine += s.fine_step;
        }
    }
    if (d->output_min == INT8_MIN && d->output_max == INT8_MAX) return;
    clamp_bytes(output, (int32_t)(s.repeats * s.period), d->output_min, d->output_max);
}
