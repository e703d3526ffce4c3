/* SPDX-License-Identifier: Apache-2.0 */
#include "masked_softmax.h"

#include "tinyml/kernels.h"

void tml_masked_softmax_s8_s16(const tml_masked_softmax_t *shape, const void *data,
                               const int8_t *input, const int32_t *ids, int16_t *output) {
    const int32_t *exponentials = (const int32_t *)data;
    for (uint32_t r = 0; r < shape->rows; ++r) {
        masked_softmax_row(exponentials, input, ids, shape->padding, shape->keys, output);
        input += shape->keys;
        output += shape->keys;
    }
}
