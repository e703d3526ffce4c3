/* SPDX-License-Identifier: Apache-2.0
 *
 * A learner: its state, one sample through it, one update.
 */
#include "internal.h"
#include "learn_bytes.h"

enum { AVERAGE_STEPS = 32, WATCH_FROM = 8 };

/* Losses beyond this multiple of what an ignorant answer costs are divergence. */
static const float DIVERGED_TIMES = 8.0f;
/* Page-Hinkley: ten errors more than the mean rate plus 5 points would bring. */
static const float DRIFT_TOLERANCE = 0.05f, DRIFT_THRESHOLD = 10.0f;
static const float LARGEST_DRIFT_VALUE = 4.0f;
static const float SMALLEST_SCALE = 1e-6f; /* of squared targets */

tml_learn_state_t *tml_learn_state(const tml_learn_t *learner) {
    return (tml_learn_state_t *)(void *)learner->state;
}

float *learn_weights(const tml_learn_t *learner) {
    return (float *)(void *)(learner->state + sizeof(tml_learn_state_t));
}

const float *tml_learn_weights(const tml_learn_t *learner) {
    return learn_weights(learner);
}

float *learn_velocity(const tml_learn_t *learner) {
    const tml_learn_model_t *model = learner->model;
    return model->has_momentum ? learn_weights(learner) + model->weight_count : NULL;
}

tml_moments_t tml_learn_statistics(const tml_learn_t *learner) {
    const tml_learn_model_t *model = learner->model;
    if (model->standardise == TML_STANDARDISE_OFF) return (tml_moments_t){0};
    float *mean = learn_weights(learner) + model->weight_count * (model->has_momentum ? 2u : 1u);
    return (tml_moments_t){model->inputs, tml_learn_state(learner)->statistics_count, mean,
                           mean + model->inputs};
}

void tml_learn_set_statistics(tml_learn_t *learner, uint32_t count, tml_learn_standardise_t mode) {
    tml_learn_state_t *state = tml_learn_state(learner);
    if (learner->model->standardise == TML_STANDARDISE_OFF) return;
    state->statistics_count = count;
    state->standardise = mode;
}

static void export_values(const tml_learn_layer_t *layer, float *weights) {
    if (layer->row_count) {
        memcpy(weights + layer->weights_at, layer->weights + layer->row_first * layer->row_length,
               layer->row_count * layer->row_length * sizeof *weights);
    }
    if (layer->bias_count) {
        memcpy(weights + layer->bias_at, layer->bias + layer->bias_first,
               layer->bias_count * sizeof *weights);
    }
}

static void export_weights(tml_learn_t *learner) {
    const tml_learn_model_t *model = learner->model;
    const uint32_t copies = model->has_momentum ? 2u : 1u;
    memset(learn_weights(learner), 0, copies * model->weight_count * sizeof(float));
    for (uint32_t i = 0; i < model->layer_count; ++i) {
        export_values(&model->layers[i], learn_weights(learner));
    }
}

void learn_reset(tml_learn_t *learner) {
    const tml_learn_model_t *model = learner->model;
    memset(learner->state, 0, model->state_bytes);
    tml_learn_state_t *state = tml_learn_state(learner);
    state->outputs = model->outputs;
    state->standardise = model->standardise;
    state->drift.tolerance = DRIFT_TOLERANCE;
    state->drift.threshold = DRIFT_THRESHOLD;
    export_weights(learner);
}

tml_learn_status_t tml_learn_init(tml_learn_t *learner, const tml_learn_model_t *model,
                                  uint8_t *state, uint8_t *work) {
    if (((uintptr_t)state | (uintptr_t)work) % 16u) return TML_LEARN_BAD_ARGUMENT;
    *learner = (tml_learn_t){.model = model,
                             .state = state,
                             .work = work,
                             .rate = model->rate,
                             .momentum = model->momentum};
    learn_reset(learner);
    return TML_LEARN_OK;
}

tml_learn_pass_t learn_pass(const tml_learn_t *learner, tml_learn_mode_t mode) {
    const tml_learn_model_t *model = learner->model;
    float *memory = (float *)(void *)(learner->work + model->float_offset);
    return (tml_learn_pass_t){
        .mode = mode,
        .memory = memory,
        .weights = learn_weights(learner),
        .velocity = learn_velocity(learner),
        .row = memory + model->row_at,
        .rate = learner->rate,
        .momentum = learner->momentum,
        .outputs = tml_learn_state(learner)->outputs,
    };
}

static float *part(const tml_learn_t *learner, uint32_t at) {
    return (float *)(void *)(learner->work + learner->model->float_offset) + at;
}

const float *tml_learn_output(const tml_learn_t *learner) {
    return part(learner, learner->model->output_at);
}

int8_t *tml_learn_input_s8(const tml_learn_t *learner) {
    const tml_model_t *backbone = learner->model->backbone;
    return backbone ? (int8_t *)learner->work + backbone->inputs[0].offset : NULL;
}

static int8_t quantised(float real, const tml_io_t *io) {
    const float scaled = real / io->scale;
    if (scaled > 512.0f) return 127;
    if (scaled < -512.0f) return -128;
    const int32_t nearest = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f)) + io->zero_point;
    return (int8_t)(nearest > 127 ? 127 : nearest < -128 ? -128 : nearest);
}

static void run_backbone(const tml_learn_t *learner, const float *input) {
    const tml_learn_model_t *model = learner->model;
    const tml_model_t *backbone = model->backbone;
    if (input) {
        int8_t *to = tml_learn_input_s8(learner);
        for (uint32_t i = 0; i < model->inputs; ++i) {
            to[i] = quantised(input[i], &backbone->inputs[0]);
        }
    }
    backbone->run(learner->work, backbone->weights);
    const tml_io_t *io = &backbone->outputs[0];
    const int8_t *from = (const int8_t *)learner->work + io->offset;
    float *features = part(learner, model->features_at);
    for (uint32_t i = 0; i < model->features; ++i) {
        features[i] = (float)(from[i] - io->zero_point) * io->scale;
    }
}

tml_learn_status_t learn_features(const tml_learn_t *learner, const float *input) {
    const tml_learn_model_t *model = learner->model;
    const bool standardised = tml_learn_state(learner)->statistics_count > 1;
    if (!input) {
        /* Integers have no NaN; but only a backbone takes them, and as they are. */
        if (!model->backbone || standardised) return TML_LEARN_BAD_INPUT;
        run_backbone(learner, NULL);
        return TML_LEARN_OK;
    }
    for (uint32_t i = 0; i < model->inputs; ++i) {
        if (!tml_finite(input[i])) return TML_LEARN_BAD_INPUT;
    }
    if (model->backbone) {
        run_backbone(learner, input);
        return TML_LEARN_OK;
    }
    float *features = part(learner, model->features_at);
    if (standardised) {
        const tml_moments_t moments = tml_learn_statistics(learner);
        tml_moments_standardise(&moments, input, features);
    } else {
        memmove(features, input, model->inputs * sizeof *features);
    }
    return TML_LEARN_OK;
}

tml_learn_status_t learn_check_target(const tml_learn_t *learner,
                                      const tml_learn_target_t *target) {
    const uint32_t outputs = tml_learn_state(learner)->outputs;
    const tml_learn_loss_t loss = learner->model->loss;
    if (loss == TML_LOSS_CROSS_ENTROPY) {
        const bool known = target->label >= 0 && (uint32_t)target->label < outputs;
        return known ? TML_LEARN_OK : TML_LEARN_BAD_TARGET;
    }
    if (!target->values) return TML_LEARN_BAD_TARGET;
    for (uint32_t i = 0; i < outputs; ++i) {
        const float value = target->values[i];
        const bool fits =
            tml_finite(value) && (loss != TML_LOSS_BCE || (value >= 0.0f && value <= 1.0f));
        if (!fits) return TML_LEARN_BAD_TARGET;
    }
    return TML_LEARN_OK;
}

void learn_forward(const tml_learn_t *learner, const tml_learn_pass_t *pass) {
    const tml_learn_model_t *model = learner->model;
    model->forward(pass);
    tml_learn_outputs(model->loss, part(learner, model->logits_at), part(learner, model->output_at),
                      pass->outputs);
}

float learn_loss(const tml_learn_t *learner, const tml_learn_target_t *target) {
    const tml_learn_model_t *model = learner->model;
    return tml_learn_loss(model->loss, part(learner, model->logits_at),
                          part(learner, model->output_at), target, part(learner, model->delta_at),
                          tml_learn_state(learner)->outputs);
}

tml_learn_status_t tml_learn_predict(const tml_learn_t *learner, const float *input,
                                     float *output) {
    const tml_learn_status_t status = learn_features(learner, input);
    if (status != TML_LEARN_OK) return status;
    const tml_learn_pass_t pass = learn_pass(learner, TML_PASS_UPDATE);
    learn_forward(learner, &pass);
    if (output) memcpy(output, tml_learn_output(learner), pass.outputs * sizeof *output);
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_gradient(const tml_learn_t *learner, const float *input,
                                      const tml_learn_target_t *target, float *gradient,
                                      float *loss) {
    tml_learn_status_t status = learn_check_target(learner, target);
    if (status == TML_LEARN_OK) status = learn_features(learner, input);
    if (status != TML_LEARN_OK) return status;
    tml_learn_pass_t pass = learn_pass(learner, TML_PASS_GRADIENT);
    pass.gradient = gradient;
    learn_forward(learner, &pass);
    const float value = learn_loss(learner, target);
    if (loss) *loss = value;
    learner->model->backward(&pass);
    return TML_LEARN_OK;
}

static void hold_mask(const tml_learn_t *learner) {
    if (!learner->mask) return;
    float *weights = learn_weights(learner), *velocity = learn_velocity(learner);
    for (uint32_t i = 0; i < learner->model->weight_count; ++i) {
        if (learner->mask[i / 8] >> (i % 8) & 1) continue;
        weights[i] = 0.0f;
        if (velocity) velocity[i] = 0.0f;
    }
}

/* Takes a raw sample into the statistics, as the mode says. */
static tml_learn_status_t take_statistics(tml_learn_t *learner, const float *input) {
    tml_learn_state_t *state = tml_learn_state(learner);
    if (state->standardise == TML_STANDARDISE_OFF) return TML_LEARN_OK;
    if (!input) return TML_LEARN_BAD_INPUT;
    tml_moments_t moments = tml_learn_statistics(learner);
    for (uint32_t i = 0; i < moments.features; ++i) {
        if (!tml_finite(input[i])) return TML_LEARN_BAD_INPUT;
    }
    const uint32_t window = learner->model->window;
    const bool fades = state->standardise == TML_STANDARDISE_EMA;
    const bool warming =
        state->standardise != TML_STANDARDISE_FROZEN && moments.count < (fades ? 2u : window);
    if (!warming && learner->outlier_limit > 0.0f &&
        tml_moments_distance(&moments, input) > learner->outlier_limit) {
        return TML_LEARN_GUARDED;
    }
    if (warming || fades) {
        tml_moments_add(&moments, input, fades ? window : 0);
        state->statistics_count = moments.count;
    }
    if (!fades && state->standardise == TML_STANDARDISE_WARMUP && moments.count >= window) {
        state->standardise = TML_STANDARDISE_FROZEN;
    }
    return warming ? TML_LEARN_WARMING : TML_LEARN_OK;
}

static float average(float mean, float value, uint32_t count) {
    return mean + (value - mean) / (float)(count < AVERAGE_STEPS ? count : AVERAGE_STEPS);
}

/* What an answer costs that knows nothing. */
static float ignorant_loss(const tml_learn_t *learner) {
    const tml_learn_state_t *state = tml_learn_state(learner);
    switch (learner->model->loss) {
    case TML_LOSS_CROSS_ENTROPY:
        return tml_logf((float)(state->outputs > 1 ? state->outputs : 2));
    case TML_LOSS_BCE:
        return 0.6931472f;
    case TML_LOSS_MSE:
    default:
        return state->target_square > SMALLEST_SCALE ? state->target_square : SMALLEST_SCALE;
    }
}

static bool diverged(const tml_learn_t *learner, float loss, const tml_learn_target_t *target) {
    tml_learn_state_t *state = tml_learn_state(learner);
    if (!tml_finite(loss)) return true;
    if (state->losses < UINT32_MAX) ++state->losses;
    /* The first loss owes nothing to the rate. A squared error may be small by chance, and grows
     * beyond every bound when it diverges: there the mean of a few is taken. */
    const uint32_t first = learner->model->loss == TML_LOSS_MSE ? WATCH_FROM : 1;
    if (state->losses <= first) {
        state->first_loss = average(state->first_loss, loss, state->losses);
    }
    if (learner->model->loss == TML_LOSS_MSE) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < state->outputs; ++i) sum += target->values[i] * target->values[i];
        state->target_square =
            average(state->target_square, sum / (float)state->outputs, state->losses);
    }
    state->loss = average(state->loss, loss, state->losses);
    const float ignorant = ignorant_loss(learner);
    const float usual = state->first_loss > ignorant ? state->first_loss : ignorant;
    return state->losses >= WATCH_FROM && state->loss > DIVERGED_TIMES * usual;
}

/* The saved state, or the exported weights with the statistics and classes of now. */
static void roll_back(tml_learn_t *learner) {
    if (!learner->storage || tml_learn_restore(learner, learner->storage) != TML_LEARN_OK) {
        export_weights(learner);
    }
    tml_learn_state_t *state = tml_learn_state(learner);
    state->losses = 0;
    tml_drift_clear(&state->drift);
}

static float error_of(const tml_learn_t *learner, const tml_learn_target_t *target, float loss) {
    if (learner->model->loss == TML_LOSS_MSE) {
        const float ratio = loss / ignorant_loss(learner);
        return ratio < LARGEST_DRIFT_VALUE ? ratio : LARGEST_DRIFT_VALUE;
    }
    return learn_is_correct(learner, target) ? 0.0f : 1.0f;
}

bool learn_is_correct(const tml_learn_t *learner, const tml_learn_target_t *target) {
    const float *output = tml_learn_output(learner);
    const uint32_t outputs = tml_learn_state(learner)->outputs;
    if (learner->model->loss == TML_LOSS_CROSS_ENTROPY) {
        for (uint32_t i = 0; i < outputs; ++i) {
            if (output[i] > output[target->label]) return false;
            if (output[i] == output[target->label] && i < (uint32_t)target->label) return false;
        }
        return true;
    }
    if (learner->model->loss == TML_LOSS_MSE) return false;
    for (uint32_t i = 0; i < outputs; ++i) {
        if ((output[i] > 0.5f) != (target->values[i] > 0.5f)) return false;
    }
    return true;
}

tml_learn_status_t tml_learn_step(tml_learn_t *learner, const float *input,
                                  const tml_learn_target_t *target, float *loss) {
    tml_learn_status_t status = learn_check_target(learner, target);
    if (status == TML_LEARN_OK) status = take_statistics(learner, input);
    if (status == TML_LEARN_OK) status = learn_features(learner, input);
    if (status != TML_LEARN_OK) return status;

    const tml_learn_pass_t pass = learn_pass(learner, TML_PASS_UPDATE);
    learn_forward(learner, &pass);
    const float value = learn_loss(learner, target);
    if (loss) *loss = value;
    if (learner->loss_limit > 0.0f && value > learner->loss_limit) return TML_LEARN_GUARDED;
    if (diverged(learner, value, target)) {
        roll_back(learner);
        return TML_LEARN_DIVERGED;
    }
    tml_learn_state_t *state = tml_learn_state(learner);
    if (tml_drift_add(&state->drift, error_of(learner, target, value))) ++state->drifts;
    learner->model->backward(&pass);
    hold_mask(learner);
    if (state->steps < UINT32_MAX) ++state->steps;
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_add_class(tml_learn_t *learner) {
    tml_learn_state_t *state = tml_learn_state(learner);
    if (learner->model->loss != TML_LOSS_CROSS_ENTROPY) return TML_LEARN_BAD_ARGUMENT;
    if (state->outputs >= learner->model->capacity) return TML_LEARN_FULL;
    ++state->outputs;
    /* A rise of the error is expected now. */
    state->losses = 0;
    tml_drift_clear(&state->drift);
    return TML_LEARN_OK;
}
