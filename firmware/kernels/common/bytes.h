/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying and filling bytes, sixteen at a time where the core can.
 */
#ifndef TINYML_BYTES_H
#define TINYML_BYTES_H

#include <stdint.h>

#include "select.h"

#if TML_USE_MVE

static inline void copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    if (count <= 0) return;
    __asm volatile("dlstp.8 lr, %[count]\n"
                   "1:\n"
                   "vldrb.8 q0, [%[from]], #16\n"
                   "vstrb.8 q0, [%[to]], #16\n"
                   "letp lr, 1b\n"
                   : [to] "+r"(to), [from] "+r"(from)
                   : [count] "r"(count)
                   : "lr", "q0", "memory");
}

static inline void fill_bytes(int8_t *to, int8_t value, int32_t count) {
    if (count <= 0) return;
    __asm volatile("vdup.8 q0, %[value]\n"
                   "dlstp.8 lr, %[count]\n"
                   "1:\n"
                   "vstrb.8 q0, [%[to]], #16\n"
                   "letp lr, 1b\n"
                   : [to] "+r"(to)
                   : [value] "r"(value), [count] "r"(count)
                   : "lr", "q0", "memory");
}

/* `count` bytes at distances of from_step to distances of to_step. */
static inline void move_bytes(int8_t *to, int32_t to_step, const int8_t *from, int32_t from_step,
                              int32_t count) {
    if (count <= 0) return;
    __asm volatile("movs r12, #0\n"
                   "vidup.u16 q0, r12, #1\n"
                   "vmul.i16 q1, q0, %[to_step]\n"
                   "vmul.i16 q0, q0, %[from_step]\n"
                   "dlstp.16 lr, %[count]\n"
                   "1:\n"
                   "vldrb.u16 q2, [%[from], q0]\n"
                   "vstrb.16 q2, [%[to], q1]\n"
                   "add %[from], %[from], %[from_step], lsl #3\n"
                   "add %[to], %[to], %[to_step], lsl #3\n"
                   "letp lr, 1b\n"
                   : [to] "+r"(to), [from] "+r"(from)
                   : [count] "r"(count), [to_step] "r"(to_step), [from_step] "r"(from_step)
                   : "r12", "lr", "q0", "q1", "q2", "cc", "memory");
}

#else

static inline void move_bytes(int8_t *to, int32_t to_step, const int8_t *from, int32_t from_step,
                              int32_t count) {
    for (int32_t i = 0; i < count; ++i) to[i * to_step] = from[i * from_step];
}

/* Whether whole words may be read and written there. */
static inline int words_at(const int8_t *a, const int8_t *b) {
#if TML_USE_DSP
    (void)a;
    (void)b;
    return 1;
#else
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
#endif
}

#if TML_USE_DSP
#define TML_WORDS 1 /* the alignment that words need */
#else
#define TML_WORDS 4
#endif

/* Ranges may overlap where they go to a lower address. */
static inline void copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    if (words_at(to, from)) {
        int8_t *words_to = __builtin_assume_aligned(to, TML_WORDS);
        const int8_t *words = __builtin_assume_aligned(from, TML_WORDS);
        int32_t four[4];
        for (; count >= 16; count -= 16, words += 16, words_to += 16) {
            __builtin_memcpy(four, words, 16);
            __builtin_memcpy(words_to, four, 16);
        }
        for (; count >= 4; count -= 4, words += 4, words_to += 4) {
            __builtin_memcpy(four, words, 4);
            __builtin_memcpy(words_to, four, 4);
        }
        to = words_to, from = words;
    }
    for (; count > 0; --count) *to++ = *from++;
}

static inline void fill_bytes(int8_t *to, int8_t value, int32_t count) {
    if (words_at(to, to)) {
        int8_t *words = __builtin_assume_aligned(to, TML_WORDS);
        const uint32_t four = (uint8_t)value * 0x01010101u;
        for (; count >= 4; count -= 4, words += 4) __builtin_memcpy(words, &four, 4);
        to = words;
    }
    for (; count > 0; --count) *to++ = value;
}

#endif
#endif
