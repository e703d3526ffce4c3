/* SPDX-License-Identifier: Apache-2.0 */
#include "attended_keys.h"
#include "masked_softmax.h"

static int32_t dot(const int8_t *query, int32_t zero, const int8_t *key, uint32_t depth) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < depth; ++k) sum += (query[k] - zero) * key[k];
    return sum;
}

void tml_attention_s8_s16(const tml_attention_t *shape, const void *data, const int8_t *query,
                          const int8_t *keys, const int32_t *ids, int16_t *output, void *scratch) {
    const tml_attention_data_t *d = (const tml_attention_data_t *)data;
    const uint32_t depth = shape->depth, used = attended_keys(shape, ids);
    int32_t *const sums = (int32_t *)scratch;
    int16_t *const weights = (int16_t *)(void *)(sums + depth);
    int8_t *const scores = (int8_t *)(weights + shape->keys);
    for (uint32_t r = 0; r < shape->queries; ++r, query += depth) {
        int32_t total = 0;
        for (uint32_t k = 0; k < depth; ++k) total += query[k] - d->query_zero_point;
        const int32_t offset = total * d->key_zero_point;
        for (uint32_t j = 0; j < used; ++j) {
            const int32_t sum = dot(query, d->query_zero_point, keys + j * depth, depth) - offset;
            const int32_t scaled = tml_requantise(sum, d->score_multiplier, d->score_shift);
            scores[j] = (int8_t)tml_clamp(scaled + d->score_zero_point, INT8_MIN, INT8_MAX);
        }
        masked_softmax_row(d->exponentials, scores, ids, shape->padding, shape->keys, weights);
        for (uint32_t k = 0; k < depth; ++k) sums[k] = 0;
        for (uint32_t j = 0; j < used; ++j) {
            const int32_t weight = weights[j];
            if (weight == 0) continue;
            const int8_t *key = keys + j * depth;
            for (uint32_t k = 0; k < depth; ++k) sums[k] += weight * (key[k] - d->key_zero_point);
        }
        for (uint32_t k = 0; k < depth; ++k) {
            const int32_t scaled =
                tml_requantise_wide(sums[k], d->context_multiplier, d->context_shift);
            *output++ = (int16_t)tml_clamp(scaled, INT16_MIN, INT16_MAX);
        }
    }
}
