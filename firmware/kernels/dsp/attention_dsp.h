/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner products of attention.
 */
#ifndef TINYML_ATTENTION_DSP_H
#define TINYML_ATTENTION_DSP_H

#include <stdint.h>

/* Products of a query with four keys that lie `depth` bytes apart, a positive multiple of 8.
 * query: for each four values the pairs 0 2 and 1 3. */
void tml_dsp_scores_4(const int16_t *query, const int8_t *keys, uint32_t depth, int32_t sums[4]);

/* Adds weights times eight columns of keys to the sums of columns 0 2 1 3 and 4 6 5 7. Weights are
 * pairs up to `end`, whole words, at least one. */
void tml_dsp_columns_8(const int16_t *weights, const int16_t *end, const int8_t *keys,
                       uint32_t depth, int32_t sums[8]);

#endif
