/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying and filling bytes, sixteen at a time where the core can.
 */
#ifndef TINYML_MVE_BYTES_H
#define TINYML_MVE_BYTES_H

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

#else

static inline void copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    for (int32_t i = 0; i < count; ++i) to[i] = from[i];
}

static inline void fill_bytes(int8_t *to, int8_t value, int32_t count) {
    for (int32_t i = 0; i < count; ++i) to[i] = value;
}

#endif
#endif
