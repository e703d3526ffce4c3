/* SPDX-License-Identifier: Apache-2.0
 *
 * Which keys attention looks at.
 */
#ifndef TINYML_ATTENDED_KEYS_H
#define TINYML_ATTENDED_KEYS_H

#include "tinyml/kernels.h"

/* The keys up to the last one that is no padding; those behind it cost nothing. */
static inline uint32_t attended_keys(const tml_attention_t *shape, const int32_t *ids) {
    uint32_t used = shape->keys;
    while (used > 0 && ids[used - 1] == shape->padding) --used;
    return used;
}

#endif
