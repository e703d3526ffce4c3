/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses on the network's last linear outputs, with PyTorch's definitions: cross_entropy,
 * mse_loss and binary_cross_entropy_with_logits, reduction "mean".
 */
#include "tinyml/learn_kernels.h"

static float highest(const float *values, uint32_t count) {
    float best = values[0];
    for (uint32_t i = 1; i < count; ++i) best = values[i] > best ? values[i] : best;
    return best;
}

void tml_learn_outputs(tml_learn_loss_t loss, const float *logits, float *output, uint32_t count) {
    if (loss == TML_LOSS_CROSS_ENTROPY) {
        const float best = highest(logits, count);
        float sum = 0.0f;
        for (uint32_t i = 0; i < count; ++i) {
            output[i] = tml_expf(logits[i] - best);
            sum += output[i];
        }
        for (uint32_t i = 0; i < count; ++i) output[i] /= sum;
        return;
    }
    for (uint32_t i = 0; i < count; ++i) {
        output[i] = loss == TML_LOSS_BCE ? tml_sigmoidf(logits[i]) : logits[i];
    }
}

static float cross_entropy(const float *logits, const float *output, int32_t label, float *delta,
                           uint32_t count) {
    const float best = highest(logits, count);
    float sum = 0.0f, others = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
        sum += tml_expf(logits[i] - best);
        if (i != (uint32_t)label) others += output[i];
        delta[i] = output[i];
    }
    /* The label's output less 1, without the cancellation when it is close to 1. */
    delta[label] = -others;
    return tml_logf(sum) + (best - logits[label]);
}

static float squared_error(const float *output, const float *target, float *delta, uint32_t count) {
    float total = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
        const float error = output[i] - target[i];
        total += error * error;
        delta[i] = 2.0f * error / (float)count;
    }
    return total / (float)count;
}

static float binary_cross_entropy(const float *logits, const float *output, const float *target,
                                  float *delta, uint32_t count) {
    float total = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
        const float x = logits[i];
        /* max(x, 0) - x t + log(1 + exp(-|x|)) */
        total += (x > 0.0f ? x : 0.0f) - x * target[i] + tml_logf(1.0f + tml_expf(-tml_absf(x)));
        /* output - target, without cancellation at targets of 1. */
        const float rest = tml_sigmoidf(-x);
        delta[i] = ((1.0f - target[i]) * output[i] - target[i] * rest) / (float)count;
    }
    return total / (float)count;
}

float tml_learn_loss(tml_learn_loss_t loss, const float *logits, const float *output,
                     const tml_learn_target_t *target, float *delta, uint32_t count) {
    switch (loss) {
    case TML_LOSS_CROSS_ENTROPY:
        return cross_entropy(logits, output, target->label, delta, count);
    case TML_LOSS_MSE:
        return squared_error(output, target->values, delta, count);
    case TML_LOSS_BCE:
    default:
        return binary_cross_entropy(logits, output, target->values, delta, count);
    }
}
