/* SPDX-License-Identifier: Apache-2.0
 *
 * Weighted layers, forward and backward, row by row.
 */
#include "learn_bytes.h"
#include "tinyml/learn_kernels.h"

/* Where a row is read: among the trained weights, or as exported. */
static const float *row_of(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                           uint32_t row) {
    const uint32_t trained = row - layer->row_first; /* wraps below the first */
    return trained < layer->row_count
               ? pass->weights + layer->weights_at + trained * layer->row_length
               : layer->weights + row * layer->row_length;
}

static float bias_of(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                     uint32_t channel) {
    const uint32_t trained = channel - layer->bias_first;
    return trained < layer->bias_count ? pass->weights[layer->bias_at + trained]
                                       : layer->bias[channel];
}

static uint32_t active_rows(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer) {
    return layer->is_output ? pass->outputs : layer->rows;
}

static void observe(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                    const float *output) {
    for (uint32_t p = 0; p < layer->positions; ++p, output += layer->channels) {
        tml_moments_add(pass->moments, output, 0);
    }
}

void tml_learn_forward(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                       const float *input, float *output) {
    if (layer->kind == TML_LEARN_DEPTHWISE) {
        for (uint32_t p = 0, i = 0; p < layer->positions; ++p) {
            for (uint32_t c = 0; c < layer->channels; ++c) output[i++] = bias_of(pass, layer, c);
        }
    }
    const uint32_t rows = active_rows(pass, layer);
    for (uint32_t r = 0; r < rows; ++r) {
        const float *weights = row_of(pass, layer, r);
        switch (layer->kind) {
        case TML_LEARN_DENSE:
            tml_learn_dense_row(layer, weights, bias_of(pass, layer, r), input, r, output);
            break;
        case TML_LEARN_CONV2D:
            tml_learn_conv2d_row(layer, weights, bias_of(pass, layer, r), input, r, output);
            break;
        case TML_LEARN_DEPTHWISE:
            tml_learn_depthwise_row(layer, weights, input, r, output);
            break;
        }
    }
    if (pass->moments && pass->layer == layer) observe(pass, layer, output);
}

void tml_learn_row_gradient(const tml_learn_layer_t *layer, const float *input, const float *delta,
                            uint32_t row, float *gradient) {
    switch (layer->kind) {
    case TML_LEARN_DENSE:
        tml_learn_dense_gradient(layer, input, delta, row, gradient);
        break;
    case TML_LEARN_CONV2D:
        tml_learn_conv2d_gradient(layer, input, delta, row, gradient);
        break;
    case TML_LEARN_DEPTHWISE:
        tml_learn_depthwise_gradient(layer, input, delta, row, gradient);
        break;
    }
}

static void row_delta(const tml_learn_layer_t *layer, const float *weights, const float *delta,
                      uint32_t row, float *delta_in) {
    switch (layer->kind) {
    case TML_LEARN_DENSE:
        tml_learn_dense_delta(layer, weights, delta, row, delta_in);
        break;
    case TML_LEARN_CONV2D:
        tml_learn_conv2d_delta(layer, weights, delta, row, delta_in);
        break;
    case TML_LEARN_DEPTHWISE:
        tml_learn_depthwise_delta(layer, weights, delta, row, delta_in);
        break;
    }
}

/* Hands over a piece of the gradient: weights [at, at + count). */
static void apply(const tml_learn_pass_t *pass, uint32_t at, const float *gradient,
                  uint32_t count) {
    if (pass->mode == TML_PASS_GRADIENT) {
        for (uint32_t i = 0; i < count; ++i) pass->gradient[at + i] += gradient[i];
        return;
    }
    float *weights = pass->weights + at;
    if (pass->velocity) {
        float *velocity = pass->velocity + at;
        for (uint32_t i = 0; i < count; ++i) {
            velocity[i] = pass->momentum * velocity[i] + gradient[i];
            weights[i] -= pass->rate * velocity[i];
        }
        return;
    }
    for (uint32_t i = 0; i < count; ++i) weights[i] -= pass->rate * gradient[i];
}

/* Plain SGD of a dense row seen once: no gradient in memory, one walk over the weights. */
static void fused_row(const float *restrict input, float *restrict weights,
                      float *restrict delta_in, uint32_t length, float delta, float rate) {
    const float step = rate * delta;
    if (!delta_in) {
        for (uint32_t i = 0; i < length; ++i) weights[i] -= step * input[i];
        return;
    }
    for (uint32_t i = 0; i < length; ++i) {
        const float old = weights[i];
        delta_in[i] += delta * old;
        weights[i] = old - step * input[i];
    }
}

static void update_biases(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                          const float *delta) {
    for (uint32_t i = 0; i < layer->bias_count; ++i) {
        const uint32_t channel = layer->bias_first + i;
        if (layer->is_output && channel >= pass->outputs) break;
        float gradient = 0.0f;
        for (uint32_t p = 0; p < layer->positions; ++p) {
            gradient += delta[p * layer->channels + channel];
        }
        apply(pass, layer->bias_at + i, &gradient, 1);
    }
}

void tml_learn_backward(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                        const float *input, const float *delta, float *delta_in, bool accumulate) {
    if (delta_in && !accumulate) memset(delta_in, 0, layer->input_count * sizeof *delta_in);
    const bool capture = pass->mode == TML_PASS_CAPTURE;
    if (capture && pass->layer == layer) {
        memcpy(pass->input, input, layer->input_count * sizeof *input);
        memcpy(pass->delta, delta, layer->positions * layer->channels * sizeof *delta);
    }
    const bool fused = layer->kind == TML_LEARN_DENSE && layer->positions == 1 &&
                       pass->mode == TML_PASS_UPDATE && !pass->velocity;
    const uint32_t rows = active_rows(pass, layer);
    for (uint32_t r = 0; r < rows; ++r) {
        const uint32_t trained = r - layer->row_first;
        const bool learns = !capture && trained < layer->row_count;
        const uint32_t at = layer->weights_at + trained * layer->row_length;
        if (learns && fused) {
            if (delta[r] == 0.0f) continue;
            fused_row(input, pass->weights + at, delta_in, layer->row_length, delta[r], pass->rate);
            continue;
        }
        /* The delta below comes from the old weights: before the update. */
        if (delta_in) row_delta(layer, row_of(pass, layer, r), delta, r, delta_in);
        if (!learns) continue;
        memset(pass->row, 0, layer->row_length * sizeof *pass->row);
        tml_learn_row_gradient(layer, input, delta, r, pass->row);
        apply(pass, at, pass->row, layer->row_length);
    }
    if (!capture) update_biases(pass, layer, delta);
}
