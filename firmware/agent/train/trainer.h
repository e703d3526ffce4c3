/* SPDX-License-Identifier: Apache-2.0
 *
 * The device's side of federated rounds: a tml_trainer_t over a generated learner (tinyml/learn.h).
 *
 * A job brings parameters, in its message or pulled by digest. The learner takes them, learns from
 * or is tested on the device's own samples, and its change goes back in parts. Nothing of a job
 * outlives the next one but the learner's weights, which are the device's own adaptation.
 */
#ifndef TINYML_AGENT_TRAINER_H
#define TINYML_AGENT_TRAINER_H

#include "agent.h"
#include "crypto.h"
#include "tinyml/learn.h"

/* All memory is the caller's. N is model->weight_count. */
typedef struct {
    const tml_learn_model_t *model;
    uint8_t *state, *work; /* as for tml_learn_init */
    float *reference;      /* N floats: the parameters of the job, then the reply */
    uint8_t *mask;         /* TML_TRAINER_BITMAP_BYTES */
    uint8_t *index;        /* TML_TRAINER_BITMAP_BYTES */
    float *input;          /* model->inputs floats */
    /* For gradients of inactive weights; all may be null and 0, then such jobs are refused. */
    tml_learn_entry_t *entries;
    uint32_t entry_count;
    void *capture;
    uint32_t capture_bytes;
    tml_learn_stream_t samples; /* the device's own, in order */
} tml_trainer_config_t;

typedef struct {
    const tml_trainer_config_t *config;
    tml_learn_t learner;
    tml_train_job_t job; /* without its views */
    uint8_t digest[TML_DIGEST_BYTES], mask_digest[TML_DIGEST_BYTES];
    uint8_t phase;  /* of trainer.c */
    uint8_t reason; /* tml_reason_t of the reply */
    uint8_t kind, coding, dtype;
    bool is_masked, is_clipped, has_gradients, is_second;
    uint32_t fetched; /* bytes of parameters or mask */
    uint32_t start_ms, start_us, train_us;
    uint32_t done; /* samples of the running pass */
    uint32_t examples, correct;
    float loss;
    uint32_t index_bytes, total, crc, offset, part; /* of the array that is sent */
    uint32_t entries;                               /* gradients found */
    tml_sha256_t sha;
} tml_train_t;

/* Bytes of a bit for each of N weights. */
#define TML_TRAINER_BITMAP_BYTES(n) (((n) + 7) / 8 + 8)

/* Sets the learner to its exported weights; fills `trainer`. False: the memory does not fit. */
bool tml_trainer_init(tml_train_t *train, const tml_trainer_config_t *config,
                      tml_trainer_t *trainer);

#endif
