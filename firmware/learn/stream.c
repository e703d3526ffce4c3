/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning and testing on a stream of samples.
 */
#include "internal.h"

static void tally(const tml_learn_t *learner, const tml_learn_target_t *target, float loss,
                  tml_learn_result_t *result, uint32_t *tested) {
    ++*tested;
    result->loss += (loss - result->loss) / (float)*tested;
    if (learn_is_correct(learner, target)) ++result->correct;
    const float *output = tml_learn_output(learner);
    const uint32_t outputs = tml_learn_state(learner)->outputs;
    float sum = 0.0f;
    for (uint32_t i = 0; i < outputs; ++i) {
        const float wanted = learner->model->loss == TML_LOSS_CROSS_ENTROPY
                                 ? (i == (uint32_t)target->label ? 1.0f : 0.0f)
                                 : target->values[i];
        sum += (output[i] - wanted) * (output[i] - wanted);
    }
    sum /= (float)outputs;
    result->squared_error += (sum - result->squared_error) / (float)*tested;
}

tml_learn_status_t tml_learn_run(tml_learn_t *learner, const tml_learn_stream_t *stream,
                                 uint32_t samples, float *input, tml_learn_result_t *result) {
    *result = (tml_learn_result_t){0};
    uint32_t tested = 0;
    while (result->samples < samples) {
        tml_learn_target_t target = {0};
        if (stream->next(stream->context, input, &target) != 0) return TML_LEARN_END;
        ++result->samples;
        float loss = 0.0f;
        const tml_learn_status_t status = tml_learn_step(learner, input, &target, &loss);
        if (status == TML_LEARN_DIVERGED) return status;
        if (status != TML_LEARN_OK) {
            ++result->refused;
            continue;
        }
        ++result->learned;
        tally(learner, &target, loss, result, &tested);
    }
    return TML_LEARN_OK;
}

tml_learn_status_t tml_learn_evaluate(tml_learn_t *learner, const tml_learn_stream_t *stream,
                                      uint32_t samples, float *input, tml_learn_result_t *result) {
    *result = (tml_learn_result_t){0};
    uint32_t tested = 0;
    while (result->samples < samples) {
        tml_learn_target_t target = {0};
        if (stream->next(stream->context, input, &target) != 0) return TML_LEARN_END;
        ++result->samples;
        if (learn_check_target(learner, &target) != TML_LEARN_OK ||
            tml_learn_predict(learner, input, NULL) != TML_LEARN_OK) {
            ++result->refused;
            continue;
        }
        tally(learner, &target, learn_loss(learner, &target), result, &tested);
    }
    return TML_LEARN_OK;
}
