/* SPDX-License-Identifier: Apache-2.0
 *
 * The dual 16-bit multiplications of Armv7E-M and later (SMLAD and friends) on int8 data. Cores
 * without them compute the same in plain C: slower, but the generated code of one target runs on
 * every other, this machine included.
 */
#ifndef TINYML_DSP_SIMD_H
#define TINYML_DSP_SIMD_H

#include <stdint.h>

#include "select.h"

/* Two int16 values in a word. */
typedef int32_t pair_t;

static inline int32_t load_word(const void *p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return word;
}

static inline void store_word(void *p, int32_t word) {
    __builtin_memcpy(p, &word, sizeof word);
}

static inline pair_t make_pair(int32_t low, int32_t high) {
    return (pair_t)(((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16));
}

static inline int32_t low_of(pair_t a) {
    return (int16_t)a;
}

static inline int32_t high_of(pair_t a) {
    return a >> 16;
}

#if TML_USE_DSP

/* Bytes 0 and 2 of a word, extended to a pair. */
static inline pair_t even_bytes(int32_t four) {
    pair_t result;
    __asm("sxtb16 %0, %1" : "=r"(result) : "r"(four));
    return result;
}

/* Bytes 1 and 3 of a word, extended to a pair. */
static inline pair_t odd_bytes(int32_t four) {
    pair_t result;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(four));
    return result;
}

/* sum + bytes 0 and 2 of a word, a pair plus a pair. */
static inline pair_t add_even_bytes(pair_t sum, int32_t four) {
    pair_t result;
    __asm("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sum), "r"(four));
    return result;
}

/* sum + bytes 1 and 3 of a word, a pair plus a pair. */
static inline pair_t add_odd_bytes(pair_t sum, int32_t four) {
    pair_t result;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sum), "r"(four));
    return result;
}

/* a - b, pairs. */
static inline pair_t subtract_pairs(pair_t a, pair_t b) {
    pair_t result;
    __asm("ssub16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* The larger of each of four bytes. */
static inline int32_t larger_bytes(int32_t a, int32_t b) {
    int32_t result;
    __asm("ssub8 %0, %1, %2\n"
          "sel %0, %1, %2"
          : "=&r"(result)
          : "r"(a), "r"(b));
    return result;
}

/* The smaller of each of four bytes. */
static inline int32_t smaller_bytes(int32_t a, int32_t b) {
    int32_t result;
    __asm("ssub8 %0, %1, %2\n"
          "sel %0, %2, %1"
          : "=&r"(result)
          : "r"(a), "r"(b));
    return result;
}

/* The low halves of two words side by side: low from a, high from b. */
static inline int32_t low_halves(int32_t a, int32_t b) {
    int32_t result;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* The high halves of two words side by side: low from a, high from b. */
static inline int32_t high_halves(int32_t a, int32_t b) {
    int32_t result;
    __asm("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(b), "r"(a));
    return result;
}

/* sum + a.low * b.low + a.high * b.high */
static inline int32_t dual_multiply(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum + a.low * b.low */
static inline int32_t multiply_low_low(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlabb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum + a.high * b.high */
static inline int32_t multiply_high_high(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlatt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The same in 64 bits. */
static inline int64_t dual_multiply_long(pair_t a, pair_t b, int64_t sum) {
    __asm("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* sum + a.low * b.high */
static inline int32_t multiply_low_high(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum + a.high * b.low */
static inline int32_t multiply_high_low(pair_t a, pair_t b, int32_t sum) {
    int32_t result;
    __asm("smlatb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum + the high word of a * b, rounded. */
static inline int32_t multiply_high_rounded(int32_t a, int32_t b, int32_t sum) {
    int32_t result;
    __asm("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

static inline int32_t saturate_int8(int32_t x) {
    int32_t result;
    __asm("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return result;
}

static inline int32_t saturate_int16(int32_t x) {
    int32_t result;
    __asm("ssat %0, #16, %1" : "=r"(result) : "r"(x));
    return result;
}

/* 2 * x, at most 2**31 - 1. */
static inline int32_t doubled(int32_t x) {
    int32_t result;
    __asm("qadd %0, %1, %1" : "=r"(result) : "r"(x));
    return result;
}

/* The larger of each of two halves. */
static inline pair_t larger_halves(pair_t a, pair_t b) {
    pair_t result;
    __asm("ssub16 %0, %1, %2\n"
          "sel %0, %1, %2"
          : "=&r"(result)
          : "r"(a), "r"(b));
    return result;
}

/* The smaller of each of two halves. */
static inline pair_t smaller_halves(pair_t a, pair_t b) {
    pair_t result;
    __asm("ssub16 %0, %1, %2\n"
          "sel %0, %2, %1"
          : "=&r"(result)
          : "r"(a), "r"(b));
    return result;
}

#else

static inline int32_t wrapping_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline pair_t even_bytes(int32_t four) {
    return make_pair((int8_t)four, (int8_t)(four >> 16));
}

static inline pair_t odd_bytes(int32_t four) {
    return even_bytes(four >> 8);
}

static inline int32_t low_halves(int32_t a, int32_t b) {
    return make_pair(a, b);
}

static inline int32_t high_halves(int32_t a, int32_t b) {
    return make_pair(a >> 16, b >> 16);
}

static inline int32_t dual_multiply(pair_t a, pair_t b, int32_t sum) {
    return wrapping_add(wrapping_add(sum, low_of(a) * low_of(b)), high_of(a) * high_of(b));
}

static inline int32_t multiply_low_low(pair_t a, pair_t b, int32_t sum) {
    return wrapping_add(sum, low_of(a) * low_of(b));
}

static inline int32_t multiply_high_high(pair_t a, pair_t b, int32_t sum) {
    return wrapping_add(sum, high_of(a) * high_of(b));
}

static inline int32_t multiply_low_high(pair_t a, pair_t b, int32_t sum) {
    return wrapping_add(sum, low_of(a) * high_of(b));
}

static inline int32_t multiply_high_low(pair_t a, pair_t b, int32_t sum) {
    return wrapping_add(sum, high_of(a) * low_of(b));
}

static inline int32_t multiply_high_rounded(int32_t a, int32_t b, int32_t sum) {
    return wrapping_add(sum, (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32));
}

static inline int32_t saturate_int8(int32_t x) {
    return x < INT8_MIN ? INT8_MIN : x > INT8_MAX ? INT8_MAX : x;
}

static inline int32_t doubled(int32_t x) {
    return x >= 1 << 30 ? INT32_MAX : x * 2;
}

static inline int32_t saturate_int16(int32_t x) {
    return x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x;
}

#endif
#endif
