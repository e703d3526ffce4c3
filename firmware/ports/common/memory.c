/* SPDX-License-Identifier: Apache-2.0
 *
 * The four functions that a freestanding compiler may call on its own.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memmove(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

void *memcpy(void *restrict target, const void *restrict source, size_t size) {
    uint8_t *to = target;
    const uint8_t *from = source;
    while (size--) *to++ = *from++;
    return target;
}

void *memmove(void *target, const void *source, size_t size) {
    uint8_t *to = target;
    const uint8_t *from = source;
    if ((uintptr_t)to <= (uintptr_t)from) return memcpy(target, source, size);
    while (size--) to[size] = from[size];
    return target;
}

void *memset(void *target, int value, size_t size) {
    uint8_t *to = target;
    while (size--) *to++ = (uint8_t)value;
    return target;
}

int memcmp(const void *a, const void *b, size_t size) {
    const uint8_t *x = a, *y = b;
    for (; size; --size, ++x, ++y) {
        if (*x != *y) return *x < *y ? -1 : 1;
    }
    return 0;
}
