/* SPDX-License-Identifier: Apache-2.0
 *
 * Trained weights in and out, whole or as quantised changes.
 */
#include "internal.h"
#include "learn_bytes.h"

static bool in_range(const tml_learn_t *learner, uint32_t first, uint32_t count) {
    const uint32_t all = learner->model->weight_count;
    return first <= all && count <= all - first;
}

tml_learn_status_t tml_learn_get(const tml_learn_t *learner, uint32_t first, uint32_t count,
                                 float *values) {
    if (!in_range(learner, first, count)) return TML_LEARN_BAD_ARGUMENT;
    memcpy(values, learn_weights(learner) + first, count * sizeof *values);
    return TML_LEARN_OK;
}

/* New weights are no step of this learning: nothing measured on the old ones holds. */
static void restart(tml_learn_t *learner, uint32_t first, uint32_t count) {
    float *velocity = learn_velocity(learner);
    if (velocity) memset(velocity + first, 0, count * sizeof *velocity);
    tml_learn_state(learner)->losses = 0;
    tml_drift_clear(&tml_learn_state(learner)->drift);
}

tml_learn_status_t tml_learn_set(tml_learn_t *learner, uint32_t first, uint32_t count,
                                 const float *values) {
    if (!in_range(learner, first, count)) return TML_LEARN_BAD_ARGUMENT;
    for (uint32_t i = 0; i < count; ++i) {
        if (!tml_finite(values[i])) return TML_LEARN_BAD_INPUT;
    }
    memcpy(learn_weights(learner) + first, values, count * sizeof *values);
    restart(learner, first, count);
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_get_delta_s8(const tml_learn_t *learner, const float *reference,
                                          uint32_t first, uint32_t count, int8_t *delta,
                                          float *scale) {
    if (!in_range(learner, first, count)) return TML_LEARN_BAD_ARGUMENT;
    const float *weights = learn_weights(learner) + first;
    float largest = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
        const float size = tml_absf(weights[i] - reference[i]);
        if (!tml_finite(size)) return TML_LEARN_BAD_INPUT;
        if (size > largest) largest = size;
    }
    *scale = largest / 127.0f;
    for (uint32_t i = 0; i < count; ++i) {
        const float change = weights[i] - reference[i];
        const float steps = *scale > 0.0f ? change / *scale : 0.0f;
        const int32_t nearest = (int32_t)(steps + (steps < 0.0f ? -0.5f : 0.5f));
        delta[i] = (int8_t)(nearest > 127 ? 127 : nearest < -127 ? -127 : nearest);
    }
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_add_delta_s8(tml_learn_t *learner, uint32_t first, uint32_t count,
                                          const int8_t *delta, float scale) {
    if (!in_range(learner, first, count)) return TML_LEARN_BAD_ARGUMENT;
    /* The largest step bounds all of them. */
    if (!tml_finite(scale) || !tml_finite(128.0f * scale)) return TML_LEARN_BAD_INPUT;
    float *weights = learn_weights(learner) + first;
    for (uint32_t i = 0; i < count; ++i) {
        if (!tml_finite(weights[i] + scale * (float)delta[i])) return TML_LEARN_BAD_INPUT;
    }
    for (uint32_t i = 0; i < count; ++i) weights[i] += scale * (float)delta[i];
    restart(learner, first, count);
    return TML_LEARN_OK;
}
