/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer.h"

#include "memory.h"
#include "tinyml/learn_kernels.h"

typedef enum { IDLE, FETCH, FETCH_MASK, REBUILD, TRAIN, EVALUATE, FINISH, REPLY, DONE } phase_t;

/* So that a long job does not keep the connection waiting. */
enum { SAMPLES_A_STEP = 64, EXCHANGE = 16 };

static uint32_t travelling(const tml_train_t *train) {
    const uint32_t all = train->config->model->weight_count;
    const uint32_t some = train->job.global_parameters;
    return train->job.has & TML_TRAIN_JOB_HAS_GLOBAL_PARAMETERS && some < all ? some : all;
}

static void refuse(tml_train_t *train, tml_reason_t reason) {
    train->reason = (uint8_t)reason;
    train->kind = TML_ARRAY_KIND_NONE;
    train->total = train->offset = 0;
    train->is_second = train->has_gradients = false;
    train->phase = REPLY;
}

/* ---- numbers of 16 bits */

static float from_half(uint32_t half) {
    const uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31, fraction = half & 0x3FFu;
    uint32_t bits = sign;
    if (exponent == 31) {
        bits |= 0x7F800000u | fraction << 13;
    } else if (exponent || fraction) {
        if (exponent == 0) {
            for (exponent = 1; !(fraction & 0x400u); --exponent) fraction <<= 1;
            fraction &= 0x3FFu;
        }
        bits |= (exponent + 112) << 23 | fraction << 13;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, ties to even; beyond the range: infinity. */
static uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const int32_t exponent = (int32_t)(bits >> 23 & 0xFF) - 127;
    const uint32_t fraction = bits & 0x7FFFFFu;
    if (exponent > 15) return (uint16_t)(sign | 0x7C00u | (exponent == 128 && fraction ? 512 : 0));
    if (exponent < -25) return (uint16_t)sign;
    uint32_t shift = 13, whole = fraction, base = (uint32_t)(exponent + 15) << 10;
    if (exponent < -14) {
        shift = (uint32_t)(-1 - exponent);
        whole |= 0x800000u;
        base = 0;
    }
    uint32_t kept = whole >> shift;
    const uint32_t rest = whole & ((1u << shift) - 1), middle = 1u << (shift - 1);
    if (rest > middle || (rest == middle && kept & 1)) ++kept;
    return (uint16_t)(sign | (base + kept)); /* a carry goes into the exponent, as it should */
}

/* ---- the job */

static void begin_fetch(tml_train_t *train, phase_t phase) {
    train->phase = (uint8_t)phase;
    train->fetched = 0;
    tml_sha256_begin(&train->sha);
}

static uint32_t mask_bytes(const tml_train_t *train) {
    return (train->config->model->weight_count + 7) / 8;
}

static uint32_t wanted_bytes(const tml_train_t *train) {
    return train->phase == FETCH_MASK ? mask_bytes(train) : train->job.size;
}

static uint8_t *inbox(tml_train_t *train) {
    if (train->phase == FETCH_MASK) return train->config->mask;
    uint8_t *reference = (uint8_t *)train->config->reference;
    /* Halves lie in the upper half, so that they can be widened in place. */
    return train->job.dtype == TML_DTYPE_F16 ? reference + train->job.size : reference;
}

static void begin_work(tml_train_t *train) {
    const tml_trainer_config_t *config = train->config;
    const uint32_t count = travelling(train);
    uint8_t *bytes = (uint8_t *)config->reference;
    if (train->job.dtype == TML_DTYPE_F16) {
        for (uint32_t i = 0; i < count; ++i) {
            uint16_t half;
            memcpy(&half, bytes + 2 * (count + i), sizeof half);
            config->reference[i] = from_half(half);
        }
    }
    train->learner.mask = train->is_masked ? config->mask : 0;
    train->done = train->examples = train->correct = 0;
    train->loss = 0.0f;
    const bool is_test = train->job.phase == TML_TRAIN_PHASE_EVALUATE ||
                         train->job.phase == TML_TRAIN_PHASE_STATISTICS;
    if (!is_test && count < config->model->weight_count) {
        /* What stays on the device is made anew: exported values, then learned from samples. */
        tml_learn_init(&train->learner, config->model, config->state, config->work);
        train->learner.mask = train->is_masked ? config->mask : 0;
    }
    train->phase = is_test ? EVALUATE : REBUILD;
}

static void take_fetched(tml_train_t *train) {
    uint8_t digest[TML_DIGEST_BYTES];
    const bool is_mask = train->phase == FETCH_MASK;
    tml_sha256_end(&train->sha, digest);
    if (memcmp(digest, is_mask ? train->mask_digest : train->digest, sizeof digest) != 0) {
        refuse(train, TML_REASON_DIGEST_MISMATCH);
    } else if (!is_mask && train->is_masked) {
        begin_fetch(train, FETCH_MASK);
    } else {
        begin_work(train);
    }
}

/* Bytes at the place that is wanted next. */
static void put_fetched(tml_train_t *train, const uint8_t *data, uint32_t size) {
    memcpy(inbox(train) + train->fetched, data, size);
    tml_sha256_add(&train->sha, data, size);
    train->fetched += size;
    if (train->fetched == wanted_bytes(train)) take_fetched(train);
}

static bool is_finite(float value) {
    return value - value == 0.0f;
}

static tml_reason_t check(const tml_train_t *train, const tml_train_job_t *job) {
    const tml_trainer_config_t *config = train->config;
    const uint32_t has = job->has;
    const uint32_t width = job->dtype == TML_DTYPE_F16 ? 2 : 4;
    uint32_t count = config->model->weight_count;
    if (job->abi != config->model->abi) return TML_REASON_UNKNOWN_MODEL;
    if (has & TML_TRAIN_JOB_HAS_GLOBAL_PARAMETERS) {
        if (job->global_parameters == 0 || job->global_parameters > count) {
            return TML_REASON_WRONG_SHAPE;
        }
        count = job->global_parameters;
    }
    if (job->dtype > TML_DTYPE_F16 || job->answer_dtype > TML_DTYPE_F16) {
        return TML_REASON_UNSUPPORTED;
    }
    if (job->size != width * count) return TML_REASON_WRONG_SHAPE;
    if ((has & TML_TRAIN_JOB_HAS_DATA) && job->data.size != job->size) {
        return TML_REASON_WRONG_SHAPE;
    }
    if ((has & TML_TRAIN_JOB_HAS_MASK) && job->mask.size != mask_bytes(train)) {
        return TML_REASON_WRONG_SHAPE;
    }
    if ((has & TML_TRAIN_JOB_HAS_MASK) && !(has & TML_TRAIN_JOB_HAS_MASK_DIGEST)) {
        return TML_REASON_BAD_CONFIG;
    }
    const bool learns =
        job->phase == TML_TRAIN_PHASE_TRAIN || job->phase == TML_TRAIN_PHASE_GRADIENTS;
    if (job->steps == 0 || !is_finite(job->lr) || (learns && !(job->lr > 0.0f))) {
        return TML_REASON_BAD_CONFIG;
    }
    if ((has & TML_TRAIN_JOB_HAS_BATCH) && job->batch != 1) return TML_REASON_UNSUPPORTED;
    if (has & TML_TRAIN_JOB_HAS_ANSWER) {
        const bool is_array =
            job->answer == TML_ARRAY_KIND_WEIGHTS || job->answer == TML_ARRAY_KIND_DELTA;
        if (!is_array) return TML_REASON_BAD_CONFIG;
    }
    if (has & TML_TRAIN_JOB_HAS_TOP) {
        /* A selection of weights means nothing without those it was taken from. */
        const bool is_delta = job->answer == TML_ARRAY_KIND_DELTA;
        if (!is_delta || !(job->top > 0.0f) || !(job->top <= 1.0f)) return TML_REASON_BAD_CONFIG;
    }
    if ((has & TML_TRAIN_JOB_HAS_PROXIMAL) && !(job->proximal >= 0.0f)) {
        return TML_REASON_BAD_CONFIG;
    }
    if ((has & TML_TRAIN_JOB_HAS_CLIP_NORM) && !(job->clip_norm > 0.0f)) {
        return TML_REASON_BAD_CONFIG;
    }
    if ((has & TML_TRAIN_JOB_HAS_LOCAL_STEPS) && !(job->local_lr > 0.0f)) {
        return TML_REASON_BAD_CONFIG;
    }
    if (job->phase == TML_TRAIN_PHASE_GRADIENTS) {
        const bool is_masked = has & TML_TRAIN_JOB_HAS_MASK_DIGEST;
        const bool fits = job->top_gradients > 0 && job->top_gradients <= config->entry_count;
        if (!is_masked || !(has & TML_TRAIN_JOB_HAS_BLOCK_FIRST)) return TML_REASON_BAD_CONFIG;
        if (!fits) return TML_REASON_TOO_LARGE;
    }
    return TML_REASON_OK;
}

static void offer(void *context, const tml_train_job_t *job, uint32_t now_ms) {
    tml_train_t *train = context;
    if (job->job == train->job.job && train->phase != IDLE) {
        /* Again: what was answered is answered again, from the start of the array that is there. */
        if (train->phase == DONE) {
            train->offset = 0;
            train->phase = REPLY;
        }
        return;
    }
    /* Jobs are numbered upwards; rounds start again with each federation. */
    const bool is_stale = train->phase != IDLE && job->job < train->job.job;
    train->job = *job;
    train->job.data = train->job.mask = train->job.digest = train->job.mask_digest =
        (tml_bytes_t){0, 0};
    train->start_ms = now_ms;
    train->is_masked = job->has & TML_TRAIN_JOB_HAS_MASK_DIGEST;
    train->is_second = train->is_clipped = train->has_gradients = false;
    train->train_us = 0;
    train->entries = 0;
    const tml_reason_t reason = is_stale ? TML_REASON_STALE_ROUND : check(train, job);
    if (reason != TML_REASON_OK) {
        refuse(train, reason);
        return;
    }
    memcpy(train->digest, job->digest.data, sizeof train->digest);
    if (train->is_masked) memcpy(train->mask_digest, job->mask_digest.data, TML_DIGEST_BYTES);
    begin_fetch(train, FETCH);
    if (job->has & TML_TRAIN_JOB_HAS_DATA) put_fetched(train, job->data.data, job->data.size);
    if (train->phase == FETCH_MASK && (job->has & TML_TRAIN_JOB_HAS_MASK)) {
        put_fetched(train, job->mask.data, job->mask.size);
    }
}

static bool wants(const void *context, tml_bytes_t *digest, uint32_t *offset) {
    const tml_train_t *train = context;
    if (train->phase != FETCH && train->phase != FETCH_MASK) return false;
    const uint8_t *wanted = train->phase == FETCH ? train->digest : train->mask_digest;
    *digest = (tml_bytes_t){wanted, TML_DIGEST_BYTES};
    *offset = train->fetched;
    return true;
}

static bool chunk(void *context, const tml_blob_reply_t *reply) {
    tml_train_t *train = context;
    tml_bytes_t digest;
    uint32_t offset;
    if (!wants(train, &digest, &offset) || reply->offset != offset) return false;
    if (memcmp(digest.data, reply->blob.data, reply->blob.size) != 0) return false;
    if (reply->reason != TML_REASON_OK) {
        refuse(train, (tml_reason_t)reply->reason);
        return false;
    }
    if (reply->data.size == 0 || reply->data.size > wanted_bytes(train) - offset) return false;
    put_fetched(train, reply->data.data, reply->data.size);
    return true;
}

/* ---- work */

static tml_learn_status_t set_travelling(tml_train_t *train) {
    return tml_learn_set(&train->learner, 0, travelling(train), train->config->reference);
}

/* The learner's weights and the reference change places. */
static tml_learn_status_t exchange(tml_train_t *train) {
    float *reference = train->config->reference;
    const uint32_t count = travelling(train);
    for (uint32_t i = 0; i < count; i += EXCHANGE) {
        float held[EXCHANGE];
        const uint32_t some = count - i < EXCHANGE ? count - i : EXCHANGE;
        tml_learn_get(&train->learner, i, some, held);
        const tml_learn_status_t status = tml_learn_set(&train->learner, i, some, reference + i);
        if (status != TML_LEARN_OK) {
            /* What was exchanged goes back. */
            for (uint32_t j = 0; j < i; j += EXCHANGE) {
                float other[EXCHANGE];
                tml_learn_get(&train->learner, j, EXCHANGE, other);
                tml_learn_set(&train->learner, j, EXCHANGE, reference + j);
                memcpy(reference + j, other, sizeof other);
            }
            return status;
        }
        memcpy(reference + i, held, some * sizeof *held);
    }
    return TML_LEARN_OK;
}

/* Adds a piece of a pass to the job's metrics. */
static void account(tml_train_t *train, const tml_learn_result_t *result) {
    const uint32_t used = result->samples - result->refused;
    train->examples += used;
    train->correct += result->correct;
    if (train->examples) {
        train->loss += (result->loss - train->loss) * (float)used / (float)train->examples;
    }
}

/* One sample, after which weights outside [first, first + count) are what they were before. */
static tml_learn_status_t step_within(tml_train_t *train, bool is_local,
                                      tml_learn_result_t *result) {
    const tml_trainer_config_t *config = train->config;
    const uint32_t global = travelling(train), all = config->model->weight_count;
    tml_learn_status_t status =
        tml_learn_run(&train->learner, &config->samples, 1, config->input, result);
    if (status != TML_LEARN_OK) return status;
    if (is_local) return tml_learn_set(&train->learner, 0, global, config->reference);
    if (global < all) {
        status = tml_learn_set(&train->learner, global, all - global, config->reference + global);
    }
    return status;
}

/* FedProx (Li et al., arXiv 1812.06127): the gradient of proximal / 2 * |w - reference|^2. */
static tml_learn_status_t pull_back(tml_train_t *train) {
    const float rate = train->job.lr * train->job.proximal;
    const float *reference = train->config->reference;
    const uint32_t count = travelling(train);
    for (uint32_t i = 0; i < count; i += EXCHANGE) {
        float values[EXCHANGE];
        const uint32_t some = count - i < EXCHANGE ? count - i : EXCHANGE;
        tml_learn_get(&train->learner, i, some, values);
        for (uint32_t k = 0; k < some; ++k) values[k] -= rate * (values[k] - reference[i + k]);
        const tml_learn_status_t status = tml_learn_set(&train->learner, i, some, values);
        if (status != TML_LEARN_OK) return status;
    }
    return TML_LEARN_OK;
}

/* Up to SAMPLES_A_STEP samples of a pass of `steps`. */
static tml_learn_status_t learn_some(tml_train_t *train, uint32_t steps, bool is_local) {
    const tml_trainer_config_t *config = train->config;
    const bool is_split = travelling(train) < config->model->weight_count;
    const bool pulls = (train->job.has & TML_TRAIN_JOB_HAS_PROXIMAL) && !is_local;
    uint32_t some = steps - train->done < SAMPLES_A_STEP ? steps - train->done : SAMPLES_A_STEP;
    tml_learn_status_t status = TML_LEARN_OK;
    tml_learn_result_t result;
    if (!is_split && !pulls) {
        status = tml_learn_run(&train->learner, &config->samples, some, config->input, &result);
        train->done += result.samples;
        account(train, &result);
        return status;
    }
    for (; some > 0 && status == TML_LEARN_OK; --some) {
        status = step_within(train, is_local, &result);
        if (status == TML_LEARN_OK && pulls) status = pull_back(train);
        ++train->done;
        if (!is_local) account(train, &result);
    }
    return status;
}

/* Scales the change of what travels down to the norm that was asked for. */
static tml_learn_status_t clip(tml_train_t *train) {
    const float *weights = tml_learn_weights(&train->learner);
    float *reference = train->config->reference;
    const uint32_t count = travelling(train);
    float square = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
        square += (weights[i] - reference[i]) * (weights[i] - reference[i]);
    }
    train->is_clipped = true;
    const float limit = train->job.clip_norm;
    if (square <= limit * limit) return TML_LEARN_OK;
    if (!is_finite(square)) return TML_LEARN_DIVERGED;
    /* Newton's iteration from above; square > 0 here. */
    float root = square > 1.0f ? square : 1.0f;
    for (int i = 0; i < 60; ++i) root = 0.5f * (root + square / root);
    const float scale = limit / root;
    for (uint32_t i = 0; i < count; i += EXCHANGE) {
        float values[EXCHANGE];
        const uint32_t some = count - i < EXCHANGE ? count - i : EXCHANGE;
        for (uint32_t k = 0; k < some; ++k) {
            values[k] = reference[i + k] + scale * (weights[i + k] - reference[i + k]);
        }
        const tml_learn_status_t status = tml_learn_set(&train->learner, i, some, values);
        if (status != TML_LEARN_OK) return status;
    }
    return TML_LEARN_OK;
}

/* The layer whose trained weights hold parameter `at`. */
static bool find_layer(const tml_learn_model_t *model, uint32_t at, uint32_t *layer) {
    for (uint32_t i = 0; i < model->layer_count; ++i) {
        const tml_learn_layer_t *one = &model->layers[i];
        const uint32_t count = one->row_count * one->row_length;
        if (at >= one->weights_at && at < one->weights_at + count) {
            *layer = i;
            return true;
        }
    }
    return false;
}

static tml_reason_t find_gradients(tml_train_t *train) {
    const tml_trainer_config_t *config = train->config;
    uint32_t layer;
    if (!find_layer(config->model, train->job.block_first, &layer)) return TML_REASON_WRONG_SHAPE;
    uint32_t samples = train->job.steps;
    while (samples > 1 &&
           tml_learn_capture_bytes(config->model, layer, samples) > config->capture_bytes) {
        samples /= 2;
    }
    tml_learn_heap_t heap = {config->entries, train->job.top_gradients, 0};
    const tml_learn_status_t status =
        tml_learn_top_gradients(&train->learner, layer, &config->samples, samples, config->input,
                                config->capture, config->capture_bytes, &heap);
    if (status == TML_LEARN_MEMORY) return TML_REASON_TOO_LARGE;
    if (status < 0) return TML_REASON_NOT_FINITE;
    train->entries = heap.size;
    return TML_REASON_OK;
}

/* ---- the reply's array, made in place of the reference */

static void finish_array(tml_train_t *train, uint32_t values) {
    float *reference = train->config->reference;
    uint32_t bytes = 4 * values;
    if (train->dtype == TML_DTYPE_F16) {
        uint8_t *to = (uint8_t *)reference;
        for (uint32_t i = 0; i < values; ++i) {
            const uint16_t half = to_half(reference[i]);
            memcpy(to + 2 * i, &half, sizeof half);
        }
        bytes = 2 * values;
    }
    train->total = train->index_bytes + bytes;
    train->crc = tml_crc32(0, train->config->index, train->index_bytes);
    train->crc = tml_crc32(train->crc, (const uint8_t *)reference, bytes);
    train->offset = 0;
    train->phase = REPLY;
}

static void put_position(tml_train_t *train, uint32_t number, uint32_t position) {
    uint8_t *index = train->config->index;
    if (train->coding == TML_INDEX_CODING_BITMAP) {
        index[position / 8] = (uint8_t)(index[position / 8] | 1u << position % 8);
    } else if (train->coding == TML_INDEX_CODING_U16) {
        const uint16_t value = (uint16_t)position;
        memcpy(index + 2 * number, &value, sizeof value);
    } else {
        memcpy(index + 4 * number, &position, sizeof position);
    }
}

static void make_selection(tml_train_t *train, uint32_t count) {
    const float *weights = tml_learn_weights(&train->learner);
    float *reference = train->config->reference;
    float exact = train->job.top * (float)count;
    uint32_t keep = (uint32_t)exact;
    if ((float)keep < exact) ++keep;
    if (keep == 0) keep = 1;
    const uint32_t bitmap = (count + 7) / 8;
    const uint32_t list = keep * (count <= 65536u ? 2u : 4u);
    train->coding = TML_INDEX_CODING_BITMAP;
    train->index_bytes = bitmap;
    if (list < bitmap) {
        train->coding = count <= 65536u ? TML_INDEX_CODING_U16 : TML_INDEX_CODING_U32;
        train->index_bytes = list;
    }
    memset(train->config->index, 0, train->index_bytes);
    tml_learn_top_t top;
    tml_learn_top_begin(&top, weights, reference, count, keep);
    uint32_t number = 0, position;
    float change;
    /* Entries come in ascending order, so each is read before its place is written. */
    while (tml_learn_top_next(&top, &position, &change)) {
        put_position(train, number, position);
        reference[number++] = change;
    }
    finish_array(train, number);
}

static void make_array(tml_train_t *train) {
    const tml_trainer_config_t *config = train->config;
    const float *weights = tml_learn_weights(&train->learner);
    const uint32_t count = travelling(train);
    float *reference = config->reference;
    train->kind = train->job.has & TML_TRAIN_JOB_HAS_ANSWER ? train->job.answer
                                                            : (uint8_t)TML_ARRAY_KIND_WEIGHTS;
    train->dtype = train->job.answer_dtype;
    train->index_bytes = 0;
    if ((train->job.has & TML_TRAIN_JOB_HAS_TOP) && train->job.top < 1.0f) {
        make_selection(train, count);
        return;
    }
    train->coding = train->is_masked ? TML_INDEX_CODING_MASK : TML_INDEX_CODING_DENSE;
    const bool is_delta = train->kind == TML_ARRAY_KIND_DELTA;
    uint32_t number = 0;
    for (uint32_t i = 0; i < count; ++i) {
        if (train->is_masked && !(config->mask[i / 8] >> i % 8 & 1)) continue;
        reference[number++] = is_delta ? weights[i] - reference[i] : weights[i];
    }
    finish_array(train, number);
}

static void make_gradients(tml_train_t *train) {
    const tml_learn_entry_t *entries = train->config->entries;
    train->is_second = true;
    train->kind = TML_ARRAY_KIND_GRADIENTS;
    train->coding = TML_INDEX_CODING_U32;
    train->dtype = TML_DTYPE_F32;
    /* Positions and values, both behind each other in the reference, which the first array left. */
    uint8_t *to = (uint8_t *)train->config->reference;
    uint32_t fit = 4 * train->config->model->weight_count / 8;
    if (fit > train->entries) fit = train->entries;
    uint32_t last = 0;
    for (uint32_t n = 0; n < fit; ++n) {
        /* Ascending positions, found one by one: there are few. */
        uint32_t best = UINT32_MAX, at = 0;
        for (uint32_t i = 0; i < train->entries; ++i) {
            const uint32_t index = entries[i].index;
            if ((n == 0 || index > last) && index < best) best = index, at = i;
        }
        last = best;
        memcpy(to + 4 * n, &best, 4);
        memcpy(to + 4 * (fit + n), &entries[at].value, 4);
    }
    train->index_bytes = 0;
    train->total = 8 * fit;
    train->crc = tml_crc32(0, to, train->total);
    train->offset = 0;
    train->phase = REPLY;
}

static void make_statistics(tml_train_t *train, const tml_moments_t *moments) {
    float *to = train->config->reference;
    const uint32_t features = moments->features;
    if (features == 0) {
        refuse(train, TML_REASON_UNSUPPORTED);
        return;
    }
    if (1 + 2 * features > train->config->model->weight_count) {
        refuse(train, TML_REASON_TOO_LARGE);
        return;
    }
    to[0] = (float)moments->count;
    memmove(to + 1, moments->mean, features * sizeof *to);
    memmove(to + 1 + features, moments->m2, features * sizeof *to);
    train->kind = TML_ARRAY_KIND_STATISTICS;
    train->coding = TML_INDEX_CODING_DENSE;
    train->dtype = TML_DTYPE_F32;
    train->index_bytes = 0;
    finish_array(train, 1 + 2 * features);
}

/* Of a layer's channels, in the mask's and index's place where they fit, or of the inputs. */
static void collect(tml_train_t *train) {
    const tml_trainer_config_t *config = train->config;
    if (!(train->job.has & TML_TRAIN_JOB_HAS_BLOCK_FIRST)) {
        const tml_moments_t moments = tml_learn_statistics(&train->learner);
        make_statistics(train, &moments);
        return;
    }
    uint32_t layer;
    if (!find_layer(config->model, train->job.block_first, &layer)) {
        refuse(train, TML_REASON_WRONG_SHAPE);
        return;
    }
    const uint32_t channels = tml_learn_channels(config->model, layer);
    if (!config->capture || config->capture_bytes < 8 * channels) {
        refuse(train, TML_REASON_TOO_LARGE);
        return;
    }
    float *room = config->capture;
    tml_moments_t moments = {channels, 0, room, room + channels};
    tml_moments_clear(&moments);
    tml_learn_status_t status = exchange(train);
    if (status == TML_LEARN_OK) {
        status = tml_learn_collect(&train->learner, layer, &config->samples, train->job.steps,
                                   config->input, &moments);
        exchange(train);
    }
    if (status < 0) {
        refuse(train, TML_REASON_NOT_FINITE);
        return;
    }
    train->examples = moments.count;
    make_statistics(train, &moments);
}

/* ---- steps */

static void step_learning(tml_train_t *train) {
    const tml_train_job_t *job = &train->job;
    const bool is_split = travelling(train) < train->config->model->weight_count;
    tml_learn_status_t status = TML_LEARN_OK;
    if (train->phase == REBUILD) {
        if (train->done == 0) status = set_travelling(train);
        train->learner.rate = job->local_lr;
        const bool rebuilds = is_split && job->local_steps;
        if (status == TML_LEARN_OK && rebuilds) status = learn_some(train, job->local_steps, true);
        if (status == TML_LEARN_OK && (!rebuilds || train->done >= job->local_steps)) {
            train->phase = TRAIN;
            train->done = 0;
            const uint32_t first = travelling(train);
            const uint32_t rest = train->config->model->weight_count - first;
            tml_learn_get(&train->learner, first, rest, train->config->reference + first);
        }
    } else {
        train->learner.rate = job->lr;
        status = learn_some(train, job->steps, false);
        if (status == TML_LEARN_OK && train->done >= job->steps) train->phase = FINISH;
    }
    if (status == TML_LEARN_END) {
        /* Fewer samples than asked for are better than none. */
        if (train->phase == TRAIN && train->examples) {
            train->phase = FINISH;
        } else {
            refuse(train, TML_REASON_NO_DATA);
        }
    } else if (status != TML_LEARN_OK) {
        refuse(train, TML_REASON_NOT_FINITE);
    }
}

static void step_evaluation(tml_train_t *train) {
    const tml_trainer_config_t *config = train->config;
    const uint32_t left = train->job.steps - train->done;
    tml_learn_result_t result;
    if (train->job.phase == TML_TRAIN_PHASE_STATISTICS) {
        collect(train);
        return;
    }
    tml_learn_status_t status = exchange(train);
    if (status != TML_LEARN_OK) {
        refuse(train, TML_REASON_NOT_FINITE);
        return;
    }
    status =
        tml_learn_evaluate(&train->learner, &config->samples,
                           left < SAMPLES_A_STEP ? left : SAMPLES_A_STEP, config->input, &result);
    exchange(train);
    train->done += result.samples;
    account(train, &result);
    if (status == TML_LEARN_OK && train->done < train->job.steps) return;
    if (train->examples == 0) {
        refuse(train, TML_REASON_NO_DATA);
    } else if (!is_finite(train->loss)) {
        refuse(train, TML_REASON_NOT_FINITE);
    } else {
        train->kind = TML_ARRAY_KIND_NONE;
        train->total = train->offset = 0;
        train->phase = REPLY;
    }
}

static void step_finish(tml_train_t *train, uint32_t now_us) {
    tml_reason_t reason = TML_REASON_OK;
    if (train->job.has & TML_TRAIN_JOB_HAS_CLIP_NORM) {
        if (clip(train) != TML_LEARN_OK) reason = TML_REASON_NOT_FINITE;
    }
    if (reason == TML_REASON_OK && train->job.phase == TML_TRAIN_PHASE_GRADIENTS) {
        reason = find_gradients(train);
        train->has_gradients = true;
    }
    if (!is_finite(train->loss)) reason = TML_REASON_NOT_FINITE;
    train->train_us = now_us - train->start_us;
    if (reason != TML_REASON_OK) {
        refuse(train, reason);
    } else {
        make_array(train);
    }
}

static bool step(void *context, uint32_t now_ms, uint32_t now_us) {
    tml_train_t *train = context;
    if (train->phase == IDLE || train->phase == DONE || train->phase == REPLY) return false;
    if ((train->job.has & TML_TRAIN_JOB_HAS_DEADLINE_S) &&
        now_ms - train->start_ms > 1000u * train->job.deadline_s) {
        refuse(train, TML_REASON_TIMED_OUT);
        return true;
    }
    if (train->phase == FETCH || train->phase == FETCH_MASK) return false;
    if (train->phase == REBUILD && train->done == 0) train->start_us = now_us;
    train->reason = TML_REASON_OK;
    switch (train->phase) {
    case REBUILD:
    case TRAIN:
        step_learning(train);
        break;
    case EVALUATE:
        step_evaluation(train);
        break;
    default:
        step_finish(train, now_us);
        break;
    }
    return true;
}

/* ---- reply */

static bool reply(void *context, tml_train_reply_t *to, uint32_t room) {
    tml_train_t *train = context;
    if (train->phase != REPLY) return false;
    to->job = train->job.job;
    to->round = train->job.round;
    to->reason = train->reason;
    to->kind = train->kind;
    train->part = 0;
    if (train->reason != TML_REASON_OK) return true;
    if (train->kind != TML_ARRAY_KIND_NONE) {
        const uint32_t index = train->index_bytes;
        /* A part lies in the index or in the values, never in both. */
        const bool in_index = train->offset < index;
        const uint8_t *data =
            in_index ? train->config->index + train->offset
                     : (const uint8_t *)train->config->reference + (train->offset - index);
        uint32_t part = (in_index ? index : train->total) - train->offset;
        if (part > room) part = room;
        train->part = part;
        to->has |= TML_TRAIN_REPLY_HAS_DTYPE | TML_TRAIN_REPLY_HAS_CODING |
                   TML_TRAIN_REPLY_HAS_TOTAL | TML_TRAIN_REPLY_HAS_CRC |
                   TML_TRAIN_REPLY_HAS_OFFSET | TML_TRAIN_REPLY_HAS_DATA;
        to->dtype = train->dtype;
        to->coding = train->coding;
        to->total = train->total;
        to->crc = train->crc;
        to->offset = train->offset;
        to->data = (tml_bytes_t){data, part};
    }
    if (train->is_second) return true;
    to->has |=
        TML_TRAIN_REPLY_HAS_NUM_EXAMPLES | TML_TRAIN_REPLY_HAS_LOSS | TML_TRAIN_REPLY_HAS_TRAIN_US;
    to->num_examples = train->examples;
    to->loss = train->loss;
    to->train_us = train->train_us;
    if (train->config->model->loss != TML_LOSS_MSE && train->examples) {
        to->has |= TML_TRAIN_REPLY_HAS_ACCURACY;
        to->accuracy = (float)train->correct / (float)train->examples;
    }
    if (train->is_clipped) {
        to->has |= TML_TRAIN_REPLY_HAS_CLIPPED;
        to->clipped = train->job.clip_norm;
    }
    return true;
}

static void sent(void *context) {
    tml_train_t *train = context;
    train->offset += train->part;
    if (train->reason == TML_REASON_OK && train->offset < train->total) return;
    if (train->has_gradients && !train->is_second) {
        make_gradients(train);
    } else {
        train->phase = DONE;
    }
}

static void describe(void *context, tml_learning_info_t *info) {
    const tml_train_t *train = context;
    info->has |= TML_LEARNING_INFO_HAS_CLIPS;
    info->abi = train->config->model->abi;
    info->parameters = train->config->model->weight_count;
    info->clips = true;
}

static void forget(void *context) {
    tml_train_t *train = context;
    const tml_trainer_config_t *config = train->config;
    tml_learn_init(&train->learner, config->model, config->state, config->work);
    train->phase = IDLE;
}

bool tml_trainer_init(tml_train_t *train, const tml_trainer_config_t *config,
                      tml_trainer_t *trainer) {
    memset(train, 0, sizeof *train);
    train->config = config;
    *trainer = (tml_trainer_t){.context = train,
                               .describe = describe,
                               .offer = offer,
                               .wants = wants,
                               .chunk = chunk,
                               .step = step,
                               .reply = reply,
                               .sent = sent,
                               .forget = forget};
    return tml_learn_init(&train->learner, config->model, config->state, config->work) ==
           TML_LEARN_OK;
}
