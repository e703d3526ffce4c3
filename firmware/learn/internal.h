/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the learning runtime share.
 */
#ifndef TINYML_LEARN_INTERNAL_H
#define TINYML_LEARN_INTERNAL_H

#include "tinyml/learn_kernels.h"

/* The parts of `state`: header, weights, velocity, mean, m2. */
float *learn_weights(const tml_learn_t *learner);
float *learn_velocity(const tml_learn_t *learner); /* NULL without momentum */

/* The exported weights, and nothing learned. */
void learn_reset(tml_learn_t *learner);

tml_learn_pass_t learn_pass(const tml_learn_t *learner, tml_learn_mode_t mode);
/* Checks a sample, puts it through the backbone, and leaves features in `work`. */
tml_learn_status_t learn_features(const tml_learn_t *learner, const float *input);
tml_learn_status_t learn_check_target(const tml_learn_t *learner, const tml_learn_target_t *target);
/* Forward on the features; outputs in `work`. */
void learn_forward(const tml_learn_t *learner, const tml_learn_pass_t *pass);
/* Loss of the forward pass before, and the delta of its outputs. */
float learn_loss(const tml_learn_t *learner, const tml_learn_target_t *target);
bool learn_is_correct(const tml_learn_t *learner, const tml_learn_target_t *target);

#endif
