/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums of products of neighbouring elements, for kernels whose operands lie as they are.
 */
#ifndef TINYML_DOT_H
#define TINYML_DOT_H

#include "simd.h"

/* Functions of their own, so that their loops have all registers. */
#define DOT_FUNCTION static __attribute__((noinline, unused))

/* Of int8: at most 2**16 products. */
DOT_FUNCTION int32_t dot_s8(const int8_t *a, const int8_t *b, int32_t count) {
    int32_t sum = 0;
#if TML_USE_MVE
    if (count <= 0) return 0;
    __asm volatile("dlstp.8 lr, %[count]\n"
                   "1:\n"
                   "vldrb.8 q0, [%[a]], #16\n"
                   "vldrb.8 q1, [%[b]], #16\n"
                   "vmladava.s8 %[sum], q0, q1\n"
                   "letp lr, 1b\n"
                   : [sum] "+Te"(sum), [a] "+r"(a), [b] "+r"(b)
                   : [count] "r"(count)
                   : "lr", "q0", "q1", "memory");
    return sum;
#elif TML_USE_DSP
    for (; count >= 8; count -= 8, a += 8, b += 8) {
        const int32_t x = load_word(a), y = load_word(b);
        sum = dual_multiply(even_bytes(x), even_bytes(y), sum);
        sum = dual_multiply(odd_bytes(x), odd_bytes(y), sum);
        const int32_t u = load_word(a + 4), v = load_word(b + 4);
        sum = dual_multiply(even_bytes(u), even_bytes(v), sum);
        sum = dual_multiply(odd_bytes(u), odd_bytes(v), sum);
    }
    for (; count >= 4; count -= 4, a += 4, b += 4) {
        const int32_t x = load_word(a), y = load_word(b);
        sum = dual_multiply(even_bytes(x), even_bytes(y), sum);
        sum = dual_multiply(odd_bytes(x), odd_bytes(y), sum);
    }
#else
    for (; count >= 4; count -= 4, a += 4, b += 4) {
        sum += a[0] * b[0];
        sum += a[1] * b[1];
        sum += a[2] * b[2];
        sum += a[3] * b[3];
    }
#endif
    for (; count > 0; --count) sum += *a++ * *b++;
    return sum;
}

/* Of each of four rows, `step` bytes apart, with one vector. */
DOT_FUNCTION void dot_4_s8(const int8_t *rows, int32_t step, const int8_t *x, int32_t count,
                           int32_t sums[4]) {
#if TML_USE_DSP && !TML_USE_MVE
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (; count >= 4; count -= 4, rows += 4, x += 4) {
        const int32_t four = load_word(x);
        const pair_t even = even_bytes(four), odd = odd_bytes(four);
        const int8_t *row = rows;
        const int32_t a = load_word(row), b = load_word(row += step);
        const int32_t c = load_word(row += step), d = load_word(row += step);
        s0 = dual_multiply(odd_bytes(a), odd, dual_multiply(even_bytes(a), even, s0));
        s1 = dual_multiply(odd_bytes(b), odd, dual_multiply(even_bytes(b), even, s1));
        s2 = dual_multiply(odd_bytes(c), odd, dual_multiply(even_bytes(c), even, s2));
        s3 = dual_multiply(odd_bytes(d), odd, dual_multiply(even_bytes(d), even, s3));
    }
    for (; count > 0; --count, ++rows, ++x) {
        s0 += *x * rows[0];
        s1 += *x * rows[step];
        s2 += *x * rows[2 * step];
        s3 += *x * rows[3 * step];
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
#else
    for (int32_t k = 0; k < 4; ++k) sums[k] = dot_s8(rows + k * step, x, count);
#endif
}

enum { DOT_S16_RUN = 511 }; /* so many products of int16 and int8 fit 32 bits */

/* Of int16 and int8, of such a run. */
DOT_FUNCTION int32_t dot_run_s16_s8(const int16_t *x, const int8_t *w, int32_t count) {
    int32_t sum = 0;
#if TML_USE_DSP
    for (; count >= 8; count -= 8, x += 8, w += 8) {
        const int32_t a = load_word(x), b = load_word(x + 2), v = load_word(w);
        sum = dual_multiply(low_halves(a, b), even_bytes(v), sum);
        sum = dual_multiply(high_halves(a, b), odd_bytes(v), sum);
        const int32_t c = load_word(x + 4), d = load_word(x + 6), u = load_word(w + 4);
        sum = dual_multiply(low_halves(c, d), even_bytes(u), sum);
        sum = dual_multiply(high_halves(c, d), odd_bytes(u), sum);
    }
#else
    for (; count >= 4; count -= 4, x += 4, w += 4) {
        sum += x[0] * w[0];
        sum += x[1] * w[1];
        sum += x[2] * w[2];
        sum += x[3] * w[3];
    }
#endif
    for (; count > 0; --count) sum += *x++ * *w++;
    return sum;
}

/* Of int16 and int8. */
static inline int64_t dot_s16_s8(const int16_t *x, const int8_t *w, int32_t count) {
    int64_t sum = 0;
    for (; count > DOT_S16_RUN; count -= DOT_S16_RUN, x += DOT_S16_RUN, w += DOT_S16_RUN) {
        sum += dot_run_s16_s8(x, w, DOT_S16_RUN);
    }
    return sum + dot_run_s16_s8(x, w, count);
}

/* Of int16, exact. */
DOT_FUNCTION int64_t dot_s16(const int16_t *a, const int16_t *b, int32_t count) {
    int64_t sum = 0;
#if TML_USE_DSP
    for (; count >= 4; count -= 4, a += 4, b += 4) {
        sum = dual_multiply_long(load_word(a), load_word(b), sum);
        sum = dual_multiply_long(load_word(a + 2), load_word(b + 2), sum);
    }
#endif
    for (; count > 0; --count) sum += *a++ * *b++;
    return sum;
}

/* Of int16, modulo 2**32. */
static inline uint32_t dot_wrapping_s16(const int16_t *a, const int16_t *b, uint32_t count) {
    uint32_t sum = 0;
#if TML_USE_DSP
    for (; count >= 4; count -= 4, a += 4, b += 4) {
        sum = (uint32_t)dual_multiply(load_word(a), load_word(b), (int32_t)sum);
        sum = (uint32_t)dual_multiply(load_word(a + 2), load_word(b + 2), (int32_t)sum);
    }
#endif
    for (; count > 0; --count) sum += (uint32_t)(*a++ * *b++);
    return sum;
}

#endif
