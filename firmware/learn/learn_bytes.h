/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory functions that every compiler expects of its environment; freestanding ones bring no
 * <string.h>.
 */
#ifndef TINYML_LEARN_BYTES_H
#define TINYML_LEARN_BYTES_H

#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memmove(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);

#endif
