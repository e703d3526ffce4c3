/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementwise functions. Derivatives are taken from outputs, so inputs need not be kept.
 */
#include "learn_bytes.h"
#include "tinyml/learn_kernels.h"

void tml_learn_activate(tml_learn_activation_t kind, const float *input, float *output,
                        uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        const float x = input[i];
        switch (kind) {
        case TML_RELU:
            output[i] = x > 0.0f ? x : 0.0f;
            break;
        case TML_RELU6:
            output[i] = x > 6.0f ? 6.0f : x > 0.0f ? x : 0.0f;
            break;
        case TML_TANH:
            output[i] = tml_tanhf(x);
            break;
        case TML_SIGMOID:
            output[i] = tml_sigmoidf(x);
            break;
        }
    }
}

static float slope(tml_learn_activation_t kind, float y) {
    switch (kind) {
    case TML_RELU:
        return y > 0.0f ? 1.0f : 0.0f;
    case TML_RELU6:
        return y > 0.0f && y < 6.0f ? 1.0f : 0.0f;
    case TML_TANH:
        return 1.0f - y * y;
    case TML_SIGMOID:
    default:
        return y * (1.0f - y);
    }
}

void tml_learn_activate_backward(tml_learn_activation_t kind, const float *output,
                                 const float *delta, float *delta_in, uint32_t count,
                                 bool accumulate) {
    for (uint32_t i = 0; i < count; ++i) {
        const float part = delta[i] * slope(kind, output[i]);
        delta_in[i] = accumulate ? delta_in[i] + part : part;
    }
}

void tml_learn_add(const float *a, const float *b, float *output, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) output[i] = a[i] + b[i];
}

void tml_learn_pass_on(const float *delta, float *delta_in, uint32_t count, bool accumulate) {
    if (!accumulate) {
        memmove(delta_in, delta, count * sizeof *delta);
        return;
    }
    for (uint32_t i = 0; i < count; ++i) delta_in[i] += delta[i];
}
