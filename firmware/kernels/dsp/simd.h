/* SPDX-License-Identifier: Apache-2.0
 *
 * The dual 16-bit multiplications of Armv7E-M and later (SMLAD and friends) on int8 data.
 *
 * Extending a word of four int8 values gives two words of two int16 each: lanes 0 and 2, and
 * lanes 1 and 3. Both operands are extended alike, so lanes meet their partners.
 */
#ifndef TINYML_DSP_SIMD_H
#define TINYML_DSP_SIMD_H

#include "matmul.h"

/* Two int16 values in a word. */
typedef int32_t pair_t;

static inline int32_t load_four(const int8_t *p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return word;
}

/* The same value in both halves. */
static inline pair_t both(int32_t value) {
    return (pair_t)(((uint32_t)value & 0xFFFFu) | ((uint32_t)value << 16));
}

static inline pair_t even_lanes(int32_t four) {
    pair_t result;
    __asm("sxtb16 %0, %1" : "=r"(result) : "r"(four));
    return result;
}

static inline pair_t odd_lanes(int32_t four) {
    pair_t result;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(four));
    return result;
}

static inline pair_t even_lanes_plus(pair_t offset, int32_t four) {
    pair_t result;
    __asm("sxtab16 %0, %1, %2" : "=r"(result) : "r"(offset), "r"(four));
    return result;
}

static inline pair_t odd_lanes_plus(pair_t offset, int32_t four) {
    pair_t result;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(offset), "r"(four));
    return result;
}

/* sum + a.low * b.low + a.high * b.high */
static inline int32_t dual_multiply(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

static inline int32_t multiply_low(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlabb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

static inline int32_t multiply_high(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlatt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum += dot(x - zero, w) for one row of inputs and one of weights. */
static inline int32_t dot_1x1(const int8_t *x, const int8_t *w, int32_t length, int32_t zero,
                              int32_t sum) {
    const pair_t offset = both(-zero);
    for (; length >= 4; length -= 4, x += 4, w += 4) {
        const int32_t xs = load_four(x), ws = load_four(w);
        sum = dual_multiply(even_lanes_plus(offset, xs), even_lanes(ws), sum);
        sum = dual_multiply(odd_lanes_plus(offset, xs), odd_lanes(ws), sum);
    }
    for (; length > 0; --length) sum += (*x++ - zero) * *w++;
    return sum;
}

/* Two rows of inputs against two rows of weights: each extended word serves twice. */
static inline void dot_2x2(const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1,
                           int32_t length, int32_t zero, int32_t sums[4]) {
    const pair_t offset = both(-zero);
    int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
    for (; length >= 4; length -= 4, x0 += 4, x1 += 4, w0 += 4, w1 += 4) {
        const int32_t a0 = load_four(x0), a1 = load_four(x1);
        const int32_t b0 = load_four(w0), b1 = load_four(w1);
        const pair_t a0e = even_lanes_plus(offset, a0), a1e = even_lanes_plus(offset, a1);
        const pair_t b0e = even_lanes(b0), b1e = even_lanes(b1);
        s00 = dual_multiply(a0e, b0e, s00);
        s01 = dual_multiply(a0e, b1e, s01);
        s10 = dual_multiply(a1e, b0e, s10);
        s11 = dual_multiply(a1e, b1e, s11);
        const pair_t a0o = odd_lanes_plus(offset, a0), a1o = odd_lanes_plus(offset, a1);
        const pair_t b0o = odd_lanes(b0), b1o = odd_lanes(b1);
        s00 = dual_multiply(a0o, b0o, s00);
        s01 = dual_multiply(a0o, b1o, s01);
        s10 = dual_multiply(a1o, b0o, s10);
        s11 = dual_multiply(a1o, b1o, s11);
    }
    for (; length > 0; --length) {
        const int32_t a0 = *x0++ - zero, a1 = *x1++ - zero;
        const int32_t b0 = *w0++, b1 = *w1++;
        s00 += a0 * b0;
        s01 += a0 * b1;
        s10 += a1 * b0;
        s11 += a1 * b1;
    }
    sums[0] = s00;
    sums[1] = s01;
    sums[2] = s10;
    sums[3] = s11;
}

/* The outputs of one or two rows of inputs for all rows of weights. With one row, x1 = x0 and
 * output1 is null. */
static inline void matmul_rows(const matmul_record_t *record, const int8_t *x0, const int8_t *x1,
                               int32_t length, int32_t outputs, int8_t *output0, int8_t *output1) {
    const int32_t zero = record->header.input_zero_point;
    const int8_t *w = record->weights;
    int32_t c = 0;
    if (output1) {
        for (; c + 2 <= outputs; c += 2, w += 2 * length) {
            int32_t sums[4] = {record->bias[c], record->bias[c + 1], record->bias[c],
                               record->bias[c + 1]};
            dot_2x2(x0, x1, w, w + length, length, zero, sums);
            output0[c] = matmul_finish(record, (size_t)c, sums[0]);
            output0[c + 1] = matmul_finish(record, (size_t)c + 1, sums[1]);
            output1[c] = matmul_finish(record, (size_t)c, sums[2]);
            output1[c + 1] = matmul_finish(record, (size_t)c + 1, sums[3]);
        }
    }
    for (; c < outputs; ++c, w += length) {
        const int32_t bias = record->bias[c];
        output0[c] = matmul_finish(record, (size_t)c, dot_1x1(x0, w, length, zero, bias));
        if (output1) {
            output1[c] = matmul_finish(record, (size_t)c, dot_1x1(x1, w, length, zero, bias));
        }
    }
}

#endif
