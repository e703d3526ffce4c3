/* SPDX-License-Identifier: Apache-2.0 */
#include "attended_keys.h"
#include "masked_softmax.h"
#include "select.h"

#if TML_USE_MVE
#include <arm_mve.h>

/* Products of the query, and of ones, with four keys: sum of (query - zero) * key. */
static inline void four_dots(const int8_t *query, int32_t zero, const int8_t *key, uint32_t depth,
                             int32_t sums[4]) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    for (uint32_t k = 0; k < depth; k += 16, key += 16) {
        const int8x16_t q = vldrbq_s8(query + k);
        int8x16_t x = vldrbq_s8(key);
        s0 = vmladavaq_s8(s0, q, x);
        t0 = vaddvaq_s8(t0, x);
        x = vldrbq_s8(key + depth);
        s1 = vmladavaq_s8(s1, q, x);
        t1 = vaddvaq_s8(t1, x);
        x = vldrbq_s8(key + 2 * depth);
        s2 = vmladavaq_s8(s2, q, x);
        t2 = vaddvaq_s8(t2, x);
        x = vldrbq_s8(key + 3 * depth);
        s3 = vmladavaq_s8(s3, q, x);
        t3 = vaddvaq_s8(t3, x);
    }
    sums[0] = s0 - zero * t0;
    sums[1] = s1 - zero * t1;
    sums[2] = s2 - zero * t2;
    sums[3] = s3 - zero * t3;
}

static inline int32_t one_dot(const int8_t *query, int32_t zero, const int8_t *key,
                              uint32_t depth) {
    int32_t sum = 0, ones = 0;
    for (uint32_t k = 0; k < depth; k += 16) {
        const int8x16_t x = vldrbq_s8(key + k);
        sum = vmladavaq_s8(sum, vldrbq_s8(query + k), x);
        ones = vaddvaq_s8(ones, x);
    }
    return sum - zero * ones;
}

static int32_t sum_of(const int8_t *query, uint32_t depth) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < depth; k += 16) sum = vaddvaq_s8(sum, vldrbq_s8(query + k));
    return sum;
}

/* Sixteen columns of weights times keys. */
static inline void sixteen_columns(const int16_t *weights, uint32_t used, const int8_t *key,
                                   uint32_t depth, int32_t offset, int32_t sums[16]) {
    int32x4_t a = vdupq_n_s32(offset), b = a, c = a, d = a;
    for (uint32_t j = 0; j < used; ++j, key += depth) {
        const int32_t weight = weights[j];
        a = vmlaq_n_s32(a, vldrbq_s32(key), weight);
        b = vmlaq_n_s32(b, vldrbq_s32(key + 4), weight);
        c = vmlaq_n_s32(c, vldrbq_s32(key + 8), weight);
        d = vmlaq_n_s32(d, vldrbq_s32(key + 12), weight);
    }
    vstrwq_s32(sums, a);
    vstrwq_s32(sums + 4, b);
    vstrwq_s32(sums + 8, c);
    vstrwq_s32(sums + 12, d);
}

#else

static int32_t one_dot(const int8_t *query, int32_t zero, const int8_t *key, uint32_t depth) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < depth; ++k) sum += (query[k] - zero) * key[k];
    return sum;
}

static void four_dots(const int8_t *query, int32_t zero, const int8_t *key, uint32_t depth,
                      int32_t sums[4]) {
    for (int i = 0; i < 4; ++i, key += depth) sums[i] = one_dot(query, zero, key, depth);
}

static int32_t sum_of(const int8_t *query, uint32_t depth) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < depth; ++k) sum += query[k];
    return sum;
}

static void sixteen_columns(const int16_t *weights, uint32_t used, const int8_t *key,
                            uint32_t depth, int32_t offset, int32_t sums[16]) {
    for (uint32_t c = 0; c < 16; ++c) {
        sums[c] = offset;
        for (uint32_t j = 0; j < used; ++j) sums[c] += weights[j] * key[j * depth + c];
    }
}

#endif

static void context(const tml_attention_t *shape, const tml_attention_data_t *d,
                    const int16_t *weights, uint32_t used, const int8_t *keys, int16_t *output) {
    int32_t total = 0;
    for (uint32_t j = 0; j < used; ++j) total += weights[j];
    const int32_t offset = -total * d->key_zero_point;
    for (uint32_t k = 0; k < shape->depth; k += 16) {
        int32_t sums[16];
        sixteen_columns(weights, used, keys + k, shape->depth, offset, sums);
        for (uint32_t c = 0; c < 16; ++c) {
            const int32_t scaled =
                tml_requantise_wide(sums[c], d->context_multiplier, d->context_shift);
            *output++ = (int16_t)tml_clamp(scaled, INT16_MIN, INT16_MAX);
        }
    }
}

void tml_attention_s8_s16_mve(const tml_attention_t *shape, const void *data, const int8_t *query,
                              const int8_t *keys, const int32_t *ids, int16_t *output,
                              void *scratch) {
    const tml_attention_data_t *d = (const tml_attention_data_t *)data;
    const uint32_t depth = shape->depth, used = attended_keys(shape, ids);
    int16_t *const weights = (int16_t *)scratch;
    int8_t *const scores = (int8_t *)(weights + shape->keys);
    for (uint32_t r = 0; r < shape->queries; ++r, query += depth, output += depth) {
        const int32_t zero = d->query_zero_point;
        const int32_t offset = (sum_of(query, depth) - (int32_t)depth * zero) * d->key_zero_point;
        const int8_t *key = keys;
        for (uint32_t j = 0; j < used;) {
            int32_t sums[4];
            const uint32_t count = used - j >= 4 ? 4 : 1;
            if (count == 4) {
                four_dots(query, zero, key, depth, sums);
            } else {
                sums[0] = one_dot(query, zero, key, depth);
            }
            key += count * depth;
            for (uint32_t i = 0; i < count; ++i) {
                const int32_t scaled =
                    tml_requantise(sums[i] - offset, d->score_multiplier, d->score_shift);
                scores[j++] = (int8_t)tml_clamp(scaled + d->score_zero_point, INT8_MIN, INT8_MAX);
            }
        }
        masked_softmax_row(d->exponentials, scores, ids, shape->padding, shape->keys, weights);
        context(shape, d, weights, used, keys, output);
    }
}
