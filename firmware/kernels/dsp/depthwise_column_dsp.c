/* SPDX-License-Identifier: Apache-2.0
 *
 * A depthwise convolution along one column: a sequence of rows of channels.
 */
#include "clamp.h"
#include "requantise.h"
#include "window.h"

/* How four neighbouring channels begin and end. */
typedef struct {
    int32_t bias[4]; /* input zero point folded in */
    int32_t multiplier[4];
    int8_t shift[4];
} quad_requantisation_t;

/* Adds to the sums of channels 0 2 1 3: input rows, `step` bytes apart, times weights up to `end`,
 * a word each. */
void tml_dsp_column_4(const int8_t *input, int32_t step, const int8_t *weights, const int8_t *end,
                      int32_t sums[4]);

#if TML_USE_DSP

/* r0 input, r1 step, r2 weights, r3 their end, r4-r7 sums, r8 and r9 channels, r10 and r11
 * weights as pairs. A tap costs 14 instructions for 4 products. */
// clang-format off
__asm(".syntax unified\n"
      ".thumb\n"
      ".section .text.tml_dsp_column_4,\"ax\",%progbits\n"
      ".global tml_dsp_column_4\n"
      ".type tml_dsp_column_4, %function\n"
      ".thumb_func\n"
      "tml_dsp_column_4:\n"
      "push {r4-r11}\n"
      "ldr r12, [sp, #32]\n"
      "ldm r12, {r4, r5, r6, r7}\n"
      "1:\n"
      "ldr r9, [r0]\n"
      "ldr r11, [r2], #4\n"
      "add r0, r0, r1\n"
      "sxtb16 r8, r9\n"
      "sxtb16 r10, r11\n"
      "sxtb16 r9, r9, ror #8\n"
      "sxtb16 r11, r11, ror #8\n"
      "smlabb r4, r8, r10, r4\n"
      "smlatt r5, r8, r10, r5\n"
      "smlabb r6, r9, r11, r6\n"
      "smlatt r7, r9, r11, r7\n"
      "cmp r2, r3\n"
      "bne 1b\n"
      "stm r12, {r4, r5, r6, r7}\n"
      "pop {r4-r11}\n"
      "bx lr\n"
      ".size tml_dsp_column_4, . - tml_dsp_column_4\n");
// clang-format on

#else

void tml_dsp_column_4(const int8_t *input, int32_t step, const int8_t *weights, const int8_t *end,
                      int32_t sums[4]) {
    static const uint8_t channel[4] = {0, 2, 1, 3};
    for (; weights != end; weights += 4, input += step) {
        for (int i = 0; i < 4; ++i) sums[i] += input[channel[i]] * weights[channel[i]];
    }
}

#endif

/* Four channels of taps [tap, tap_end) of a run of rows. */
static inline void taps(const int8_t *input, int32_t step, const int8_t *weights, int32_t tap,
                        int32_t tap_end, int32_t sums[4]) {
    if (tap < tap_end) {
        tml_dsp_column_4(input, step, weights + 4 * tap, weights + 4 * tap_end, sums);
    }
}

void tml_depthwise_column_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end) {
    static const uint8_t channel[4] = {0, 2, 1, 3};
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const quad_requantisation_t *first = (const quad_requantisation_t *)(header + 1);
    const int32_t channels = shape->input_c, kernel = shape->kernel_h, ring = shape->input_ring;
    const int32_t constant = 2 * header->output_zero_point + 1;
    const int8_t zero = (int8_t)header->input_zero_point;
    const int8_t padding[4] = {zero, zero, zero, zero};
    for (int32_t y = y_begin; y < y_end; ++y) {
        window_span_t v =
            window_span(y, shape->stride_h, shape->pad_top, 1, kernel, shape->input_h);
        if (v.begin >= v.end) v.begin = v.end = kernel; /* nothing but padding */
        /* Rows of the window up to where the ring begins again, and from there on. */
        const int32_t row = (v.origin + v.begin) % ring;
        const int32_t wrap = v.begin + ring - row < v.end ? v.begin + ring - row : v.end;
        const int8_t *from = input + row * channels, *again = input;
        const int8_t *weights = (const int8_t *)(first + channels / 4);
        int8_t *to = window_output_row(shape, output, y);
        for (const quad_requantisation_t *q = first; q != first + channels / 4; ++q) {
            int32_t sums[4];
            for (int i = 0; i < 4; ++i) sums[i] = q->bias[channel[i]];
            taps(padding, 0, weights, 0, v.begin, sums);
            taps(from, channels, weights, v.begin, wrap, sums);
            taps(again, channels, weights, wrap, v.end, sums);
            taps(padding, 0, weights, v.end, kernel, sums);
            for (int i = 0; i < 4; ++i) {
                const int32_t c = channel[i], shift = q->shift[c];
                to[c] = (int8_t)requantised(sums[i], q->multiplier[c], shift,
                                            rounding_constant(constant, shift));
            }
            from += 4;
            again += 4;
            to += 4;
            weights += 4 * kernel;
        }
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
