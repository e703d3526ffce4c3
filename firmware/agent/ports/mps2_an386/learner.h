/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TINYML_AGENT_LEARNER_H
#define TINYML_AGENT_LEARNER_H

#include "agent.h"

/* The board's learner, which reads rows.f32 of the host (train/rows.h) in order, again and again;
 * null when the model has no learner, or the host no rows. */
const tml_trainer_t *board_trainer(void);

#endif
