/* SPDX-License-Identifier: Apache-2.0 */
#include "learner.h"

#ifndef TML_LEARN_HEADER

const tml_trainer_t *board_trainer(void) {
    return 0;
}

#else

#include TML_LEARN_HEADER
#include "port.h"
#include "train/rows.h"
#include "train/trainer.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define LEARN(name) JOIN(JOIN(TML_MODEL_NAME, _learn), name)

enum {
    WEIGHTS = LEARN(_weight_count),
    INPUTS = LEARN(_inputs),
    ROW = INPUTS + LEARN(_capacity),
    /* For gradients of weights that a mask leaves out; jobs that need more are refused. */
    ENTRIES = 512,
    CAPTURE = 16384
};

static uint8_t state[LEARN(_state_bytes)] TML_ALIGNED, work[LEARN(_work_bytes)] TML_ALIGNED;
static uint8_t capture[CAPTURE] TML_ALIGNED;
static uint8_t mask[TML_TRAINER_BITMAP_BYTES(WEIGHTS)], active[TML_TRAINER_BITMAP_BYTES(WEIGHTS)];
static float reference[WEIGHTS], input[INPUTS], row[ROW];
static tml_learn_entry_t entries[ENTRIES];
static tml_train_t train;
static tml_trainer_t trainer;
static tml_trainer_config_t config;
static int rows;

static bool read_row(void) {
    const uint32_t bytes = tml_row_floats(config.model) * (uint32_t)sizeof *row;
    return tml_read(rows, row, bytes) == (int32_t)bytes;
}

static int next_row(void *context, float *to, tml_learn_target_t *target) {
    (void)context;
    if (!read_row()) {
        /* From the start again at the end. */
        tml_close(rows);
        rows = tml_open("rows.f32", TML_READ);
        if (rows < 0 || !read_row()) return -1;
    }
    tml_row_split(config.model, row, to, target);
    return 0;
}

const tml_trainer_t *board_trainer(void) {
    rows = tml_open("rows.f32", TML_READ);
    if (rows < 0) return 0;
    config = (tml_trainer_config_t){.model = &JOIN(TML_MODEL_NAME, _learn),
                                    .state = state,
                                    .work = work,
                                    .reference = reference,
                                    .mask = mask,
                                    .index = active,
                                    .input = input,
                                    .entries = entries,
                                    .entry_count = ENTRIES,
                                    .capture = capture,
                                    .capture_bytes = CAPTURE,
                                    .samples = {0, next_row}};
    return tml_trainer_init(&train, &config, &trainer) ? &trainer : 0;
}

#endif
