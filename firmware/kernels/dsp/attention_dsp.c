/* SPDX-License-Identifier: Apache-2.0 */
#include "attention_dsp.h"
#include "attended_keys.h"
#include "masked_softmax.h"
#include "simd.h"

enum { COLUMNS = 8 };

/* The query less its zero point, which takes nine bits, as attention_dsp.h wants it. Returns its
 * sum. */
static int32_t widen_query(const int8_t *query, int32_t zero, uint32_t depth, int16_t *to) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < depth; k += 4, query += 4, to += 4) {
        to[0] = (int16_t)(query[0] - zero);
        to[1] = (int16_t)(query[2] - zero);
        to[2] = (int16_t)(query[1] - zero);
        to[3] = (int16_t)(query[3] - zero);
        sum += to[0] + to[1] + to[2] + to[3];
    }
    return sum;
}

static int32_t one_score(const int16_t *query, const int8_t *key, uint32_t depth) {
    int32_t sum = 0;
    for (const int8_t *const end = key + depth; key != end; key += 4, query += 4) {
        const int32_t four = load_word(key);
        sum = dual_multiply(load_word(query), even_bytes(four), sum);
        sum = dual_multiply(load_word(query + 2), odd_bytes(four), sum);
    }
    return sum;
}

/* Weights times keys. An odd key comes first: the others are pairs. */
static void context(const tml_attention_t *shape, const tml_attention_data_t *d,
                    const int16_t *weights, uint32_t used, const int8_t *keys, int16_t *output) {
    static const uint8_t column[COLUMNS] = {0, 2, 1, 3, 4, 6, 5, 7};
    const uint32_t depth = shape->depth, odd = used & 1;
    int32_t total = 0;
    for (uint32_t j = 0; j < used; ++j) total += weights[j];
    const int32_t offset = total * d->key_zero_point;
    for (uint32_t k = 0; k < depth; k += COLUMNS, output += COLUMNS) {
        int32_t sums[COLUMNS];
        for (uint32_t c = 0; c < COLUMNS; ++c) {
            sums[c] = (odd ? weights[0] * keys[k + column[c]] : 0) - offset;
        }
        if (used > odd) {
            tml_dsp_columns_8(weights + odd, weights + used, keys + odd * depth + k, depth, sums);
        }
        for (uint32_t c = 0; c < COLUMNS; ++c) {
            const int32_t scaled =
                tml_requantise_wide(sums[c], d->context_multiplier, d->context_shift);
            output[column[c]] = (int16_t)tml_clamp(scaled, INT16_MIN, INT16_MAX);
        }
    }
}

void tml_attention_s8_s16_dsp(const tml_attention_t *shape, const void *data, const int8_t *query,
                              const int8_t *keys, const int32_t *ids, int16_t *output,
                              void *scratch) {
    const tml_attention_data_t *d = (const tml_attention_data_t *)data;
    const uint32_t depth = shape->depth, used = attended_keys(shape, ids);
    int16_t *const wide = (int16_t *)scratch;
    int16_t *const weights = wide + depth + (used & 1); /* pairs are whole words */
    int8_t *const scores = (int8_t *)(wide + depth + shape->keys + 1);
    for (uint32_t r = 0; r < shape->queries; ++r, query += depth, output += depth) {
        const int32_t offset =
            widen_query(query, d->query_zero_point, depth, wide) * d->key_zero_point;
        const int8_t *key = keys;
        for (uint32_t j = 0; j < used;) {
            int32_t sums[4];
            const uint32_t count = used - j >= 4 ? 4 : 1;
            if (count == 4) {
                tml_dsp_scores_4(wide, key, depth, sums);
            } else {
                sums[0] = one_score(wide, key, depth);
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
