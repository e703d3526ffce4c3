/* SPDX-License-Identifier: Apache-2.0
 *
 * A row of training data as ports store it: float32, the learner's inputs, then the label, or a
 * value for each output.
 */
#ifndef TINYML_AGENT_ROWS_H
#define TINYML_AGENT_ROWS_H

#include "tinyml/learn.h"

static inline uint32_t tml_row_floats(const tml_learn_model_t *model) {
    return model->inputs + (model->loss == TML_LOSS_CROSS_ENTROPY ? 1u : model->outputs);
}

/* `target` views `row`. */
static inline void tml_row_split(const tml_learn_model_t *model, const float *row, float *input,
                                 tml_learn_target_t *target) {
    for (uint32_t i = 0; i < model->inputs; ++i) input[i] = row[i];
    target->values = row + model->inputs;
    target->label = model->loss == TML_LOSS_CROSS_ENTROPY ? (int32_t)*target->values : 0;
}

#endif
