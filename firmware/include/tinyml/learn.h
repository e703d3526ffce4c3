/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning on the device: what a program calls, and what a generated learner NAME exports.
 *
 *   NAME_learn.h:  enum { NAME_learn_state_bytes = ..., NAME_learn_work_bytes = ...,
 *                         NAME_learn_weight_count, NAME_learn_inputs, NAME_learn_capacity };
 *                  extern const tml_learn_model_t NAME_learn;
 *
 *   static uint8_t state[NAME_learn_state_bytes] TML_ALIGNED;   what was learned
 *   static uint8_t work[NAME_learn_work_bytes] TML_ALIGNED;     free between calls
 *   tml_learn_t learner;
 *   tml_learn_init(&learner, &NAME_learn, state, work);
 *   tml_learn_step(&learner, sample, &target, &loss);
 *
 * A learner is a frozen int8 network (the backbone, may be absent) followed by float32 layers, of
 * which some are trained. The trained weights are one vector of `weight_count` floats: layer after
 * layer, each its weights (row after row) and then its biases. One sample is one update (batch 1):
 * each row of weights is updated right after the delta for the layer below was formed from its
 * old values, so weights are stored once and no gradient is.
 *
 * No function allocates. Memory is the caller's; nothing is kept but in `state` and the handle.
 */
#ifndef TINYML_LEARN_H
#define TINYML_LEARN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tinyml/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What functions return: 0 and above, something regular happened; below, an error, and nothing was
 * learned. */
typedef enum {
    TML_LEARN_OK = 0,
    TML_LEARN_WARMING = 1,     /* the sample went into the statistics only */
    TML_LEARN_GUARDED = 2,     /* an outlier: neither statistics nor weights took it */
    TML_LEARN_END = 3,         /* the stream has no more samples */
    TML_LEARN_BAD_INPUT = -1,  /* a value is NaN or infinite */
    TML_LEARN_BAD_TARGET = -2, /* label out of range, or target value NaN or out of [0, 1] (BCE) */
    TML_LEARN_DIVERGED = -3,   /* the loss blew up; weights are those of the last good state */
    TML_LEARN_BAD_ARGUMENT = -4,  /* a range beyond the weights, an unknown layer */
    TML_LEARN_FULL = -5,          /* no further class fits */
    TML_LEARN_STORAGE = -6,       /* a storage callback failed, or a slot is too small */
    TML_LEARN_NOTHING_SAVED = -7, /* neither slot holds a valid state of this learner */
    TML_LEARN_MEMORY = -8,        /* the memory given is too small */
} tml_learn_status_t;

/* -------------------------------------------------------------- statistics */

/* Running mean and sum of squared deviations of `features` values (Welford 1962). */
typedef struct {
    uint32_t features;
    uint32_t count;
    float *mean, *m2;
} tml_moments_t;

void tml_moments_clear(tml_moments_t *moments);
/* Adds one sample. window > 0 caps the count: from then on old samples fade with weight
 * 1 - 1/window (an exponential moving average). */
void tml_moments_add(tml_moments_t *moments, const float *sample, uint32_t window);
/* Adds what another device or a server has seen; exact (Chan, Golub, LeVeque 1979). */
void tml_moments_merge(tml_moments_t *moments, uint32_t count, const float *mean, const float *m2);
/* (x - mean) / standard deviation; may run in place. */
void tml_moments_standardise(const tml_moments_t *moments, const float *sample, float *result);
/* The largest |x - mean| / standard deviation. */
float tml_moments_distance(const tml_moments_t *moments, const float *sample);

/* Page-Hinkley test for a rise of the mean of a series (Page 1954). */
typedef struct {
    float tolerance; /* rises smaller than this do not count */
    float threshold; /* accumulated rise that is a drift */
    uint32_t count;
    float mean, sum, lowest;
} tml_drift_t;

void tml_drift_clear(tml_drift_t *drift);
/* True when a drift is detected; the test has then restarted. */
bool tml_drift_add(tml_drift_t *drift, float value);

/* ----------------------------------------------------------------- learner */

typedef enum {
    TML_LOSS_CROSS_ENTROPY = 0, /* softmax; target is a label */
    TML_LOSS_MSE = 1,           /* mean over outputs; target is a value for each output */
    TML_LOSS_BCE = 2,           /* sigmoid, mean over outputs; target values in [0, 1] */
} tml_learn_loss_t;

typedef enum {
    TML_STANDARDISE_OFF = 0,
    TML_STANDARDISE_WARMUP = 1, /* learn statistics from the first samples, then freeze them */
    TML_STANDARDISE_EMA = 2,    /* exponential window, for ever */
    TML_STANDARDISE_FROZEN = 3, /* as set or merged */
} tml_learn_standardise_t;

typedef struct tml_learn_layer tml_learn_layer_t; /* tinyml/learn_kernels.h */
typedef struct tml_learn_pass tml_learn_pass_t;

/* A generated learner. Sizes in bytes where the name says so, otherwise in values. */
typedef struct {
    const char *name;
    uint64_t abi; /* hash of the structure; weights and saved states of another do not fit */
    const tml_model_t *backbone; /* NULL: float32 from the input on */
    uint32_t state_bytes, work_bytes;
    uint32_t weight_count; /* trained weights */
    uint32_t inputs;       /* values of one sample */
    uint32_t outputs;      /* of the network as exported */
    uint32_t capacity;     /* outputs including room for classes added later */
    tml_learn_loss_t loss;
    bool has_momentum;
    float rate, momentum; /* defaults */
    tml_learn_standardise_t standardise;
    uint32_t window; /* warm-up samples, or the window of the moving average */
    uint16_t layer_count;
    const tml_learn_layer_t *layers; /* weighted layers of the float part, input first */
    uint32_t features;               /* values that the float part reads */
    uint32_t float_offset; /* of the float part in `work`, bytes; the backbone's arena is at 0 */
    /* In the float part: what it reads, its result before and after softmax or sigmoid, the
     * gradient by the former, and one row. */
    uint32_t features_at, logits_at, output_at, delta_at, row_at;
    void (*forward)(const tml_learn_pass_t *pass);
    void (*backward)(const tml_learn_pass_t *pass);
} tml_learn_model_t;

typedef struct {
    int32_t label;       /* cross-entropy */
    const float *values; /* MSE and BCE: one for each active output */
} tml_learn_target_t;

/* Two slots of flash, EEPROM or a file. Each callback returns 0, or another value on failure. A
 * slot is erased before it is written, and written front to back but for its header, which comes
 * last: 32 bytes at offset 0. */
typedef struct {
    void *context;
    uint32_t slot_bytes;
    int (*erase)(void *context, int slot);
    int (*write)(void *context, int slot, uint32_t offset, const void *data, uint32_t size);
    int (*read)(void *context, int slot, uint32_t offset, void *data, uint32_t size);
} tml_learn_storage_t;

/* The handle. Fields after `work` may be changed at any time. */
typedef struct {
    const tml_learn_model_t *model;
    uint8_t *state, *work;
    float rate, momentum;
    float outlier_limit; /* standard deviations beyond which a sample is guarded; 0: none */
    float loss_limit;    /* loss beyond which a sample is guarded, for autoencoders; 0: none */
    /* weight_count bits, lowest first; weights whose bit is 0 are held at 0. NULL: none. */
    const uint8_t *mask;
    /* Where the last good state is when learning diverges; NULL: the exported weights. */
    const tml_learn_storage_t *storage;
} tml_learn_t;

/* What persists beside weights and statistics; at the start of `state`. */
typedef struct {
    uint32_t steps;   /* updates made */
    uint32_t outputs; /* active */
    uint32_t statistics_count;
    uint32_t standardise; /* tml_learn_standardise_t */
    uint32_t losses;      /* in the averages below; 0 restarts the watch for divergence */
    float loss;           /* moving average over 32 steps */
    float first_loss;     /* at the beginning */
    float target_square;  /* MSE: the same of the squared targets, what answering 0 would cost */
    uint32_t drifts;      /* detected so far */
    tml_drift_t drift;    /* of the error before each update: 0 or 1; MSE: loss / target_square */
} tml_learn_state_t;

/* Sets the exported weights and clears everything learned. BAD_ARGUMENT when a buffer is not
 * aligned. */
tml_learn_status_t tml_learn_init(tml_learn_t *learner, const tml_learn_model_t *model,
                                  uint8_t *state, uint8_t *work);

tml_learn_state_t *tml_learn_state(const tml_learn_t *learner);

/* Runs the network. input: model->inputs values, or NULL when the caller wrote integers to
 * tml_learn_input_s8. output: the active outputs (probabilities for cross-entropy and BCE), or NULL
 * to read them from tml_learn_output. */
tml_learn_status_t tml_learn_predict(const tml_learn_t *learner, const float *input, float *output);
/* The int8 input of the backbone inside `work`; NULL without one. */
int8_t *tml_learn_input_s8(const tml_learn_t *learner);
/* Outputs of the last predict or step, those before its update. */
const float *tml_learn_output(const tml_learn_t *learner);

/* Tests, then trains, on one sample. loss (may be NULL): before the update. */
tml_learn_status_t tml_learn_step(tml_learn_t *learner, const float *input,
                                  const tml_learn_target_t *target, float *loss);

/* Adds the gradient of one sample to gradient[weight_count]; updates nothing. */
tml_learn_status_t tml_learn_gradient(const tml_learn_t *learner, const float *input,
                                      const tml_learn_target_t *target, float *gradient,
                                      float *loss);

/* One more class, with weights 0. Cross-entropy only. */
tml_learn_status_t tml_learn_add_class(tml_learn_t *learner);

/* ----------------------------------------------------------------- streams */

/* next fills input[model->inputs] and the target (for MSE and BCE it points values to memory that
 * stays valid until the next call) and returns 0, or another value at the end. */
typedef struct {
    void *context;
    int (*next)(void *context, float *input, tml_learn_target_t *target);
} tml_learn_stream_t;

typedef struct {
    uint32_t samples;    /* taken from the stream */
    uint32_t learned;    /* updates made */
    uint32_t refused;    /* guarded, warming or bad */
    uint32_t correct;    /* largest output is the label; BCE: every output on its side of 1/2 */
    float loss;          /* mean over the samples tested */
    float squared_error; /* mean over samples and outputs */
} tml_learn_result_t;

/* Up to `samples` steps. `input` is scratch of model->inputs floats. Bad samples are counted and
 * passed over; returns OK, END when the stream ended early, or DIVERGED, at which it stops. */
tml_learn_status_t tml_learn_run(tml_learn_t *learner, const tml_learn_stream_t *stream,
                                 uint32_t samples, float *input, tml_learn_result_t *result);
/* The same without learning. */
tml_learn_status_t tml_learn_evaluate(tml_learn_t *learner, const tml_learn_stream_t *stream,
                                      uint32_t samples, float *input, tml_learn_result_t *result);

/* ----------------------------------------------------------------- weights */

/* Trained weights [first, first + count). Setting refuses NaN and infinity (BAD_INPUT) and then
 * changes nothing; it restarts the watch for divergence. */
tml_learn_status_t tml_learn_get(const tml_learn_t *learner, uint32_t first, uint32_t count,
                                 float *values);
tml_learn_status_t tml_learn_set(tml_learn_t *learner, uint32_t first, uint32_t count,
                                 const float *values);

/* The change since `reference` (weights [first, ...) of another time): delta = scale * integer, one
 * scale for the range, integers in [-127, 127]. */
tml_learn_status_t tml_learn_get_delta_s8(const tml_learn_t *learner, const float *reference,
                                          uint32_t first, uint32_t count, int8_t *delta,
                                          float *scale);
tml_learn_status_t tml_learn_add_delta_s8(tml_learn_t *learner, uint32_t first, uint32_t count,
                                          const int8_t *delta, float scale);

/* The `keep` entries of weights - reference that are largest in magnitude, in order of index;
 * exact, ties go to lower indices. No sort and no memory but this struct. reference NULL: zeros. */
typedef struct {
    const float *weights, *reference;
    uint32_t count, next;
    uint32_t threshold; /* bits of the smallest magnitude kept */
    uint32_t ties;      /* how many of exactly that magnitude are still to come */
} tml_learn_top_t;

void tml_learn_top_begin(tml_learn_top_t *top, const float *weights, const float *reference,
                         uint32_t count, uint32_t keep);
/* False when all were given. */
bool tml_learn_top_next(tml_learn_top_t *top, uint32_t *index, float *change);
/* The trained weights themselves, for tml_learn_top_begin and for sending. */
const float *tml_learn_weights(const tml_learn_t *learner);

/* ----------------------------------------------------------------- pruning */

/* The entries of largest magnitude seen, in no order: a min-heap in the caller's memory. */
typedef struct {
    uint32_t index;
    float value;
} tml_learn_entry_t;

typedef struct {
    tml_learn_entry_t *entries;
    uint32_t capacity, size;
} tml_learn_heap_t;

void tml_learn_heap_push(tml_learn_heap_t *heap, uint32_t index, float value);

/* Memory that tml_learn_top_gradients needs for so many samples of one layer. */
uint32_t tml_learn_capture_bytes(const tml_learn_model_t *model, uint32_t layer, uint32_t samples);

/* Of one layer's weights whose mask bit is 0, those with the largest mean gradient over up to
 * `samples` samples (FedTiny, arXiv 2212.01977): indices into the trained weights. memory:
 * tml_learn_capture_bytes, 4-byte aligned. Needs learner->mask. */
tml_learn_status_t tml_learn_top_gradients(tml_learn_t *learner, uint32_t layer,
                                           const tml_learn_stream_t *stream, uint32_t samples,
                                           float *input, void *memory, uint32_t memory_bytes,
                                           tml_learn_heap_t *heap);

/* Mean and variance of each channel of a layer's output before its activation, over the samples of
 * a stream and all positions: what a batch normalisation that was folded into it would measure.
 * moments->features = channels of the layer (tml_learn_channels). */
tml_learn_status_t tml_learn_collect(tml_learn_t *learner, uint32_t layer,
                                     const tml_learn_stream_t *stream, uint32_t samples,
                                     float *input, tml_moments_t *moments);
uint32_t tml_learn_channels(const tml_learn_model_t *model, uint32_t layer);
/* Rescales a fully trained layer so that a channel of the given moments leaves with mean beta and
 * standard deviation |gamma|: re-estimated batch normalisation, folded again. */
tml_learn_status_t tml_learn_renormalise(tml_learn_t *learner, uint32_t layer,
                                         const tml_moments_t *moments, const float *gamma,
                                         const float *beta);

/* ----------------------------------------------------------------- storage */

/* Bytes of a slot that holds this learner's state. */
uint32_t tml_learn_slot_bytes(const tml_learn_model_t *model);
/* Writes the state to the slot that does not hold the newest valid one. A power cut at any moment
 * leaves either the old state or the new one. */
tml_learn_status_t tml_learn_save(const tml_learn_t *learner, const tml_learn_storage_t *storage);
/* Reads the newest valid state; `state` is unchanged unless OK is returned, or a read fails after
 * the check, when it is as after init. */
tml_learn_status_t tml_learn_restore(tml_learn_t *learner, const tml_learn_storage_t *storage);

/* -------------------------------------------------------------- statistics */

/* Statistics of the inputs inside `state`; features 0 when the learner was exported without. After
 * merging or writing them, tml_learn_set_statistics stores their count and how to go on. */
tml_moments_t tml_learn_statistics(const tml_learn_t *learner);
void tml_learn_set_statistics(tml_learn_t *learner, uint32_t count, tml_learn_standardise_t mode);

#ifdef __cplusplus
}
#endif
#endif
