/* SPDX-License-Identifier: Apache-2.0
 *
 * The device side of FedTiny (arXiv 2212.01977): gradients of pruned weights, and statistics of
 * what a folded batch normalisation sees.
 */
#include "internal.h"
#include "learn_bytes.h"

static const float EPSILON = 1e-5f; /* batch normalisation's */

uint32_t tml_learn_capture_bytes(const tml_learn_model_t *model, uint32_t layer, uint32_t samples) {
    if (layer >= model->layer_count) return 0;
    const tml_learn_layer_t *l = &model->layers[layer];
    const uint32_t one = l->input_count + l->positions * l->channels;
    return (uint32_t)sizeof(float) * samples * one;
}

uint32_t tml_learn_channels(const tml_learn_model_t *model, uint32_t layer) {
    return layer < model->layer_count ? model->layers[layer].channels : 0;
}

static bool is_pruned(const tml_learn_t *learner, uint32_t weight) {
    return !(learner->mask[weight / 8] >> (weight % 8) & 1);
}

/* Input and delta of the layer for each sample, back to back; how many there were. */
static uint32_t capture(tml_learn_t *learner, const tml_learn_layer_t *layer,
                        const tml_learn_stream_t *stream, uint32_t samples, float *input,
                        float *memory) {
    const uint32_t deltas = layer->positions * layer->channels;
    uint32_t taken = 0;
    for (uint32_t s = 0; s < samples; ++s) {
        tml_learn_target_t target = {0};
        if (stream->next(stream->context, input, &target) != 0) break;
        if (learn_check_target(learner, &target) != TML_LEARN_OK) continue;
        if (learn_features(learner, input) != TML_LEARN_OK) continue;
        tml_learn_pass_t pass = learn_pass(learner, TML_PASS_CAPTURE);
        pass.layer = layer;
        pass.input = memory + taken * (layer->input_count + deltas);
        pass.delta = pass.input + layer->input_count;
        memset(pass.delta, 0, deltas * sizeof *pass.delta);
        learn_forward(learner, &pass);
        if (!tml_finite(learn_loss(learner, &target))) continue;
        learner->model->backward(&pass);
        ++taken;
    }
    return taken;
}

tml_learn_status_t tml_learn_top_gradients(tml_learn_t *learner, uint32_t layer,
                                           const tml_learn_stream_t *stream, uint32_t samples,
                                           float *input, void *memory, uint32_t memory_bytes,
                                           tml_learn_heap_t *heap) {
    const tml_learn_model_t *model = learner->model;
    if (layer >= model->layer_count || !learner->mask) return TML_LEARN_BAD_ARGUMENT;
    if (memory_bytes < tml_learn_capture_bytes(model, layer, samples)) return TML_LEARN_MEMORY;
    const tml_learn_layer_t *l = &model->layers[layer];
    const uint32_t taken = capture(learner, l, stream, samples, input, memory);
    if (taken == 0) return TML_LEARN_END;
    const uint32_t deltas = l->positions * l->channels;
    float *row = learn_pass(learner, TML_PASS_CAPTURE).row;
    for (uint32_t r = 0; r < l->row_count; ++r) {
        memset(row, 0, l->row_length * sizeof *row);
        const float *one = memory;
        for (uint32_t s = 0; s < taken; ++s, one += l->input_count + deltas) {
            tml_learn_row_gradient(l, one, one + l->input_count, l->row_first + r, row);
        }
        for (uint32_t i = 0; i < l->row_length; ++i) {
            const uint32_t weight = l->weights_at + r * l->row_length + i;
            if (is_pruned(learner, weight)) {
                tml_learn_heap_push(heap, weight, row[i] / (float)taken);
            }
        }
    }
    return taken < samples ? TML_LEARN_END : TML_LEARN_OK;
}

tml_learn_status_t tml_learn_collect(tml_learn_t *learner, uint32_t layer,
                                     const tml_learn_stream_t *stream, uint32_t samples,
                                     float *input, tml_moments_t *moments) {
    const tml_learn_model_t *model = learner->model;
    if (layer >= model->layer_count || moments->features != model->layers[layer].channels) {
        return TML_LEARN_BAD_ARGUMENT;
    }
    for (uint32_t s = 0; s < samples; ++s) {
        tml_learn_target_t target = {0};
        if (stream->next(stream->context, input, &target) != 0) return TML_LEARN_END;
        if (learn_features(learner, input) != TML_LEARN_OK) continue;
        tml_learn_pass_t pass = learn_pass(learner, TML_PASS_CAPTURE);
        pass.layer = &model->layers[layer];
        pass.moments = moments;
        learn_forward(learner, &pass);
    }
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_renormalise(tml_learn_t *learner, uint32_t layer,
                                         const tml_moments_t *moments, const float *gamma,
                                         const float *beta) {
    const tml_learn_model_t *model = learner->model;
    if (layer >= model->layer_count) return TML_LEARN_BAD_ARGUMENT;
    const tml_learn_layer_t *l = &model->layers[layer];
    const bool whole = l->row_count == l->rows && l->bias_count == l->channels;
    if (!whole || moments->features != l->channels || moments->count == 0) {
        return TML_LEARN_BAD_ARGUMENT;
    }
    float *weights = learn_weights(learner);
    for (uint32_t c = 0; c < l->channels; ++c) {
        const float variance = moments->m2[c] / (float)moments->count;
        const float scale = gamma[c] / tml_sqrtf(variance + EPSILON);
        float *bias = weights + l->bias_at + c;
        *bias = (*bias - moments->mean[c]) * scale + beta[c];
        /* A channel is a row, but for depthwise layers, where it is a column. */
        const bool columns = l->kind == TML_LEARN_DEPTHWISE;
        const uint32_t count = columns ? l->rows : l->row_length;
        float *w = weights + l->weights_at + (columns ? c : c * l->row_length);
        for (uint32_t i = 0; i < count; ++i, w += columns ? l->row_length : 1) *w *= scale;
    }
    return TML_LEARN_OK;
}
