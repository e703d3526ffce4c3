/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/kernels.h"

void tml_move_rows(int8_t *to, const int8_t *from, uint32_t bytes) {
    uint32_t i = 0;
    if ((((uintptr_t)to | (uintptr_t)from) & 3u) == 0) {
        int8_t *aligned_to = __builtin_assume_aligned(to, 4);
        const int8_t *aligned_from = __builtin_assume_aligned(from, 4);
        for (; i + 16 <= bytes; i += 16) {
            int32_t words[4];
            __builtin_memcpy(words, aligned_from + i, sizeof words);
            __builtin_memcpy(aligned_to + i, words, sizeof words);
        }
    }
    for (; i < bytes; ++i) to[i] = from[i];
}
