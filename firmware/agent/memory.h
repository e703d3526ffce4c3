/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent takes of a C library; a freestanding port supplies these four.
 */
#ifndef TINYML_AGENT_MEMORY_H
#define TINYML_AGENT_MEMORY_H

#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memmove(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

#endif
