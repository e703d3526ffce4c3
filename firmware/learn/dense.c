/* SPDX-License-Identifier: Apache-2.0
 *
 * One row of a dense layer: the weights of one output.
 */
#include "tinyml/learn_kernels.h"

void tml_learn_dense_row(const tml_learn_layer_t *layer, const float *weights, float bias,
                         const float *input, uint32_t row, float *output) {
    const uint32_t length = layer->row_length;
    for (uint32_t p = 0; p < layer->positions; ++p, input += length) {
        float sum = bias;
        for (uint32_t i = 0; i < length; ++i) sum += weights[i] * input[i];
        output[p * layer->channels + row] = sum;
    }
}

void tml_learn_dense_delta(const tml_learn_layer_t *layer, const float *weights, const float *delta,
                           uint32_t row, float *delta_in) {
    const uint32_t length = layer->row_length;
    for (uint32_t p = 0; p < layer->positions; ++p, delta_in += length) {
        const float d = delta[p * layer->channels + row];
        for (uint32_t i = 0; i < length; ++i) delta_in[i] += d * weights[i];
    }
}

void tml_learn_dense_gradient(const tml_learn_layer_t *layer, const float *input,
                              const float *delta, uint32_t row, float *gradient) {
    const uint32_t length = layer->row_length;
    for (uint32_t p = 0; p < layer->positions; ++p, input += length) {
        const float d = delta[p * layer->channels + row];
        for (uint32_t i = 0; i < length; ++i) gradient[i] += d * input[i];
    }
}
