/* SPDX-License-Identifier: Apache-2.0 */
#include "update.h"

#include "cose.h"
#include "memory.h"

static tml_record_t *record_of(tml_update_t *update) {
    return &update->journal.record;
}

static const uint8_t *slot_data(const tml_update_t *update, uint32_t slot) {
    const tml_flash_t *flash = update->journal.flash;
    return flash->base + tml_flash_slot(flash, slot);
}

static bool same(tml_bytes_t a, tml_bytes_t b) {
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* ---- boot */

static bool is_intact(const tml_update_t *update, uint32_t index) {
    const tml_slot_t *slot = &update->journal.record.slots[index];
    const bool runs =
        slot->state == TML_SLOT_STATE_TRIAL || slot->state == TML_SLOT_STATE_CONFIRMED;
    if (!runs || slot->weights_bytes != update->model->weights_bytes) return false;
    uint8_t digest[TML_DIGEST_BYTES];
    tml_sha256(slot_data(update, index), slot->size, digest);
    return memcmp(digest, slot->digest, sizeof digest) == 0;
}

static void set_job(tml_update_t *update, uint32_t state, uint32_t reason) {
    record_of(update)->job_state = (uint8_t)state;
    record_of(update)->job_reason = (uint8_t)reason;
    tml_update_repeat_status(update);
}

/* Back to the older model, for this reason; saves. */
static void go_back(tml_update_t *update, tml_reason_t reason) {
    tml_record_t *record = record_of(update);
    if (record->active < TML_SLOTS) record->slots[record->active].state = TML_SLOT_STATE_BAD;
    record->active = record->previous;
    if (record->active < TML_SLOTS && !is_intact(update, record->active)) {
        record->active = TML_FACTORY;
    }
    record->previous = TML_FACTORY;
    record->is_trial = 0;
    update->must_reset = true;
    set_job(update, TML_JOB_STATE_ROLLED_BACK, reason);
    /* When the flash fails here, the next boot decides the same again. */
    tml_journal_save(&update->journal);
}

/* The digest of what an interrupted download left. */
static void resume(tml_update_t *update) {
    const tml_record_t *record = record_of(update);
    update->offset = record->slots[record->target].offset;
    tml_sha256_begin(&update->sha);
    tml_sha256_add(&update->sha, slot_data(update, record->target), update->offset);
}

void tml_update_boot(tml_update_t *update, const tml_identity_t *identity, const tml_model_t *model,
                     uint8_t *arena, const tml_flash_t *flash, uint32_t now_ms) {
    memset(update, 0, sizeof *update);
    update->identity = identity;
    update->model = model;
    update->arena = arena;
    update->since_ms = now_ms;
    update->must_reset = true;
    if (!tml_journal_load(&update->journal, flash)) return;
    tml_record_t *record = record_of(update);
    if (record->is_trial) {
        if (record->boots >= TML_TRIAL_BOOTS) {
            go_back(update, TML_REASON_NOT_CONFIRMED);
        } else {
            ++record->boots;
            tml_journal_save(&update->journal);
        }
    }
    if (record->active < TML_SLOTS && !is_intact(update, record->active)) {
        go_back(update, TML_REASON_DIGEST_MISMATCH);
    }
    /* Verification was cut: it starts again from the complete download. */
    if (record->job_state == TML_JOB_STATE_VERIFYING ||
        record->job_state == TML_JOB_STATE_SELF_TESTING) {
        record->job_state = TML_JOB_STATE_DOWNLOADING;
    }
    if (record->job && record->job_state == TML_JOB_STATE_RECEIVED) {
        record->job_state = TML_JOB_STATE_DOWNLOADING;
    }
    if (record->job && record->job_state == TML_JOB_STATE_DOWNLOADING) resume(update);
    tml_update_repeat_status(update);
}

const uint8_t *tml_update_weights(const tml_update_t *update) {
    const uint32_t active = update->journal.record.active;
    return active < TML_SLOTS ? slot_data(update, active) : update->model->weights;
}

static void reset(const tml_update_t *update, const uint8_t *weights) {
    if (update->model->reset) update->model->reset(update->arena, weights);
}

void tml_update_reset(tml_update_t *update) {
    if (update->must_reset) reset(update, tml_update_weights(update));
    update->must_reset = false;
}

/* ---- offers */

static void answer(tml_update_t *update, uint32_t job, uint32_t state, uint32_t reason) {
    update->has_status = true;
    update->status_job = job;
    update->status_state = (uint8_t)state;
    update->status_reason = (uint8_t)reason;
}

void tml_update_repeat_status(tml_update_t *update) {
    const tml_record_t *record = record_of(update);
    if (record->job) answer(update, record->job, record->job_state, record->job_reason);
}

/* Neither messages nor keys stay on the stack while a signature is verified, which needs most of
 * it: hence the functions that must not be merged. */
#define APART __attribute__((noinline))

/* The release key of a grant that a root signed. */
static APART tml_reason_t open_grant(const tml_update_t *update, tml_bytes_t payload,
                                     uint8_t key[TML_KEY_BYTES], uint32_t *least_sequence) {
    tml_key_grant_t grant;
    if (!tml_decode(TML_MESSAGE_KEY_GRANT, payload, &grant) || grant.version != 1) {
        return TML_REASON_BAD_MESSAGE;
    }
    if (update->time_s > grant.expires_s) return TML_REASON_KEY_EXPIRED;
    const bool is_scoped = grant.has & TML_KEY_GRANT_HAS_TENANT;
    if (grant.component != TML_COMPONENT_MODEL ||
        (is_scoped && !same(grant.tenant, update->identity->tenant))) {
        return TML_REASON_KEY_SCOPE;
    }
    *least_sequence = grant.first_sequence;
    memcpy(key, grant.key.data, TML_KEY_BYTES);
    return TML_REASON_OK;
}

/* Steps 2 and 3 of the order: the manifest that a root, or a key that a root granted, signed. */
static APART tml_reason_t open_manifest(const tml_update_t *update, const tml_job_t *job,
                                        tml_bytes_t *payload, uint32_t *least_sequence) {
    const uint8_t(*keys)[TML_KEY_BYTES] = update->identity->roots;
    uint32_t count = update->identity->root_count;
    uint8_t granted[1][TML_KEY_BYTES];
    *least_sequence = 0;
    if (!(job->has & TML_JOB_HAS_MANIFEST)) return TML_REASON_BAD_MESSAGE;
    if (job->has & TML_JOB_HAS_GRANT) {
        tml_reason_t reason = tml_cose_open(job->grant, keys, count, payload);
        if (reason == TML_REASON_OK) {
            reason = open_grant(update, *payload, granted[0], least_sequence);
        }
        if (reason != TML_REASON_OK) return reason;
        keys = (const uint8_t(*)[TML_KEY_BYTES])granted;
        count = 1;
    }
    return tml_cose_open(job->manifest, keys, count, payload);
}

static uint32_t input_bytes(const tml_model_t *model) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < model->input_count; ++i) bytes += model->inputs[i].bytes;
    return bytes;
}

static bool is_of_class(const tml_manifest_t *manifest, tml_bytes_t hardware) {
    for (uint32_t i = 0; i < manifest->classes_count; ++i) {
        if (same(manifest->classes[i], hardware)) return true;
    }
    return false;
}

/* Steps 4 and 5: freshness, and whether it is for this device and fits. */
static tml_reason_t check_manifest(const tml_update_t *update, const tml_manifest_t *manifest,
                                   uint32_t least_sequence) {
    const tml_identity_t *identity = update->identity;
    const tml_model_t *model = update->model;
    if (manifest->sequence <= update->journal.record.sequence_floor) return TML_REASON_REPLAYED;
    if (manifest->sequence < least_sequence) return TML_REASON_KEY_SCOPE;
    if ((manifest->has & TML_MANIFEST_HAS_EXPIRES_S) && update->time_s > manifest->expires_s) {
        return TML_REASON_EXPIRED;
    }
    if (!same(manifest->vendor, identity->vendor)) return TML_REASON_WRONG_VENDOR;
    if (!is_of_class(manifest, identity->hardware)) return TML_REASON_WRONG_CLASS;
    if ((manifest->has & TML_MANIFEST_HAS_DEVICE) && !same(manifest->device, identity->device)) {
        return TML_REASON_WRONG_DEVICE;
    }
    if ((manifest->has & TML_MANIFEST_HAS_TENANT) && !same(manifest->tenant, identity->tenant)) {
        return TML_REASON_WRONG_DEVICE;
    }
    if (manifest->component != TML_COMPONENT_MODEL) return TML_REASON_WRONG_COMPONENT;
    if (manifest->abi != model->abi || manifest->weights_bytes != model->weights_bytes) {
        return TML_REASON_WRONG_ABI;
    }
    if (manifest->opset & ~identity->opset) return TML_REASON_WRONG_OPSET;
    if (manifest->arena_bytes > model->arena_bytes) return TML_REASON_ARENA_TOO_SMALL;
    const uint64_t golden = (uint64_t)manifest->golden_inputs * input_bytes(model);
    if (manifest->size > update->journal.flash->slot_bytes) return TML_REASON_FLASH_TOO_SMALL;
    /* Without golden inputs the self-test would prove nothing. */
    if (manifest->golden_inputs == 0 || manifest->size != manifest->weights_bytes + golden) {
        return TML_REASON_BAD_MESSAGE;
    }
    return TML_REASON_OK;
}

static bool is_running(const tml_record_t *record) {
    return record->job && (record->job_state <= TML_JOB_STATE_SELF_TESTING || record->is_trial);
}

/* The slot that the active model does not need. */
static uint8_t free_slot(const tml_record_t *record) {
    if (record->active == TML_FACTORY) return record->previous == 0;
    return record->active ^ 1u;
}

static void begin_install(tml_update_t *update, const tml_job_t *job,
                          const tml_manifest_t *manifest, uint32_t now_ms, uint32_t random) {
    tml_record_t *record = record_of(update);
    record->job = job->job;
    record->soak_s = job->soak_s;
    record->target = free_slot(record);
    tml_slot_t *slot = &record->slots[record->target];
    const bool resumes = slot->state == TML_SLOT_STATE_PARTIAL && slot->size == manifest->size &&
                         memcmp(slot->digest, manifest->digest.data, TML_DIGEST_BYTES) == 0;
    if (!resumes) slot->offset = 0;
    if (record->previous == record->target) record->previous = TML_FACTORY;
    slot->state = TML_SLOT_STATE_PARTIAL;
    slot->sequence = manifest->sequence;
    slot->size = manifest->size;
    slot->weights_bytes = manifest->weights_bytes;
    slot->golden_inputs = manifest->golden_inputs;
    memcpy(slot->digest, manifest->digest.data, TML_DIGEST_BYTES);
    memcpy(slot->golden_outputs, manifest->golden_outputs.data, TML_DIGEST_BYTES);
    const uint32_t jitter_ms = job->jitter_s < 3600000u ? 1000u * job->jitter_s : 3600000000u;
    update->waits = jitter_ms != 0;
    update->start_ms = now_ms + random % (jitter_ms + 1);
    update->has_deadline = (job->has & TML_JOB_HAS_DEADLINE_S) && job->deadline_s < 2000000u;
    update->deadline_ms = now_ms + 1000u * job->deadline_s;
    resume(update);
    set_job(update, update->waits ? TML_JOB_STATE_RECEIVED : TML_JOB_STATE_DOWNLOADING,
            TML_REASON_OK);
    if (!tml_journal_save(&update->journal)) {
        set_job(update, TML_JOB_STATE_FAILED, TML_REASON_FLASH_ERROR);
    }
}

static APART tml_reason_t install(tml_update_t *update, const tml_job_t *job, tml_bytes_t payload,
                                  uint32_t least_sequence, uint32_t now_ms, uint32_t random) {
    tml_manifest_t manifest;
    if (!tml_decode(TML_MESSAGE_MANIFEST, payload, &manifest) || manifest.version != 1) {
        return TML_REASON_BAD_MESSAGE;
    }
    const tml_reason_t reason = check_manifest(update, &manifest, least_sequence);
    if (reason != TML_REASON_OK) return reason;
    if (is_running(record_of(update))) return TML_REASON_BUSY;
    begin_install(update, job, &manifest, now_ms, random);
    return TML_REASON_OK;
}

static APART void offer_install(tml_update_t *update, const tml_job_t *job, uint32_t now_ms,
                                uint32_t random) {
    uint32_t least_sequence;
    tml_bytes_t payload;
    tml_reason_t reason = open_manifest(update, job, &payload, &least_sequence);
    if (reason == TML_REASON_OK) {
        reason = install(update, job, payload, least_sequence, now_ms, random);
    }
    if (reason != TML_REASON_OK) {
        answer(update, job->job, TML_JOB_STATE_REJECTED, reason);
    }
}

static APART void offer_rollback(tml_update_t *update, const tml_job_t *job) {
    tml_record_t *record = record_of(update);
    uint8_t digest[TML_DIGEST_BYTES];
    uint8_t wanted = TML_FACTORY + 1;
    if (is_running(record) && !record->is_trial) {
        answer(update, job->job, TML_JOB_STATE_REJECTED, TML_REASON_BUSY);
        return;
    }
    if (job->has & TML_JOB_HAS_DIGEST) {
        for (uint8_t i = 0; i < TML_SLOTS; ++i) {
            const tml_slot_t *slot = &record->slots[i];
            const bool is_it = memcmp(slot->digest, job->digest.data, TML_DIGEST_BYTES) == 0;
            if (is_it && is_intact(update, i)) wanted = i;
        }
        tml_sha256(update->model->weights, update->model->weights_bytes, digest);
        if (memcmp(digest, job->digest.data, sizeof digest) == 0) wanted = TML_FACTORY;
    }
    if (wanted > TML_FACTORY) {
        answer(update, job->job, TML_JOB_STATE_REJECTED, TML_REASON_NO_PASSIVE_SLOT);
        return;
    }
    record->job = job->job;
    if (wanted != record->active) {
        if (record->is_trial) record->slots[record->active].state = TML_SLOT_STATE_BAD;
        record->previous = record->is_trial ? (uint8_t)TML_FACTORY : record->active;
        record->active = wanted;
        record->is_trial = 0;
        update->must_reset = true;
    }
    set_job(update, TML_JOB_STATE_ROLLED_BACK, TML_REASON_ROLLED_BACK);
    tml_journal_save(&update->journal);
}

static void confirm(tml_update_t *update) {
    tml_record_t *record = record_of(update);
    record->is_trial = 0;
    record->slots[record->active].state = TML_SLOT_STATE_CONFIRMED;
    set_job(update, TML_JOB_STATE_CONFIRMED, TML_REASON_OK);
    tml_journal_save(&update->journal);
}

static void cancel(tml_update_t *update) {
    tml_record_t *record = record_of(update);
    if (record->is_trial) {
        go_back(update, TML_REASON_CANCELLED);
    } else if (is_running(record)) {
        update->waits = false;
        set_job(update, TML_JOB_STATE_CANCELLED, TML_REASON_CANCELLED);
        tml_journal_save(&update->journal);
    }
}

void tml_update_offer(tml_update_t *update, const tml_job_t *job, uint32_t now_ms,
                      uint32_t random) {
    tml_record_t *record = record_of(update);
    const bool is_known = record->job == job->job && job->job != 0;
    /* Time only goes forward: an old message cannot revive what has expired. */
    if (job->time_s > update->time_s) update->time_s = job->time_s;
    if (is_known) {
        if (job->action == TML_JOB_ACTION_CANCEL) cancel(update);
        if (job->action == TML_JOB_ACTION_CONFIRM && record->is_trial) confirm(update);
        tml_update_repeat_status(update);
    } else if (job->action == TML_JOB_ACTION_INSTALL && job->job != 0) {
        offer_install(update, job, now_ms, random);
    } else if (job->action == TML_JOB_ACTION_ROLLBACK && job->job != 0) {
        offer_rollback(update, job);
    } else if (job->action == TML_JOB_ACTION_CANCEL) {
        answer(update, job->job, TML_JOB_STATE_CANCELLED, TML_REASON_CANCELLED);
    } else {
        answer(update, job->job, TML_JOB_STATE_REJECTED, TML_REASON_BAD_MESSAGE);
    }
}

/* ---- download */

bool tml_update_wants(const tml_update_t *update, tml_bytes_t *digest, uint32_t *offset) {
    const tml_record_t *record = &update->journal.record;
    const tml_slot_t *slot = &record->slots[record->target];
    const bool wants = record->job && record->job_state == TML_JOB_STATE_DOWNLOADING &&
                       update->offset < slot->size;
    *digest = (tml_bytes_t){slot->digest, TML_DIGEST_BYTES};
    *offset = update->offset;
    return wants;
}

static void fail(tml_update_t *update, uint32_t slot_state, tml_reason_t reason) {
    tml_record_t *record = record_of(update);
    record->slots[record->target].state = (uint8_t)slot_state;
    set_job(update, TML_JOB_STATE_FAILED, reason);
    tml_journal_save(&update->journal);
}

/* Programs bytes that lie in one page, whose rest is blank. */
static bool write_piece(tml_update_t *update, const uint8_t *data, uint32_t size) {
    const tml_flash_t *flash = update->journal.flash;
    const uint32_t at = tml_flash_slot(flash, record_of(update)->target) + update->offset;
    if (update->offset % flash->page_bytes == 0 && flash->erase(flash->context, at) != 0) {
        return false;
    }
    const uint32_t whole = size / TML_WRITE_BYTES * TML_WRITE_BYTES;
    if (whole && flash->program(flash->context, at, data, whole) != 0) return false;
    if (size > whole) {
        uint8_t last[TML_WRITE_BYTES];
        memset(last, 0xFF, sizeof last);
        memcpy(last, data + whole, size - whole);
        if (flash->program(flash->context, at + whole, last, sizeof last) != 0) return false;
    }
    /* Of what the flash holds, not of what was sent to it. */
    tml_sha256_add(&update->sha, flash->base + at, size);
    update->offset += size;
    return true;
}

bool tml_update_chunk(tml_update_t *update, const tml_blob_reply_t *reply, uint32_t now_ms) {
    const tml_flash_t *flash = update->journal.flash;
    tml_record_t *record = record_of(update);
    tml_slot_t *slot = &record->slots[record->target];
    tml_bytes_t digest;
    uint32_t offset;
    if (!tml_update_wants(update, &digest, &offset) || update->waits) return false;
    if (memcmp(reply->blob.data, slot->digest, reply->blob.size) != 0) return false;
    if (reply->offset != offset) return false;
    if (reply->reason != TML_REASON_OK) {
        fail(update, TML_SLOT_STATE_PARTIAL, (tml_reason_t)reply->reason);
        return false;
    }
    const uint8_t *data = reply->data.data;
    uint32_t left = reply->data.size;
    const uint32_t missing = slot->size - offset;
    const bool is_whole = left == missing || (left < missing && left % TML_WRITE_BYTES == 0);
    if (left == 0 || !is_whole) return false;
    while (left > 0) {
        uint32_t piece = flash->page_bytes - update->offset % flash->page_bytes;
        if (piece > left) piece = left;
        if (!write_piece(update, data, piece)) {
            fail(update, TML_SLOT_STATE_EMPTY, TML_REASON_FLASH_ERROR);
            return true;
        }
        data += piece;
        left -= piece;
        if (update->offset % flash->page_bytes == 0) {
            slot->offset = update->offset;
            tml_journal_save(&update->journal);
        }
    }
    update->since_ms = now_ms;
    return true;
}

/* ---- verification, trial */

static void run_golden(tml_update_t *update, const tml_slot_t *slot, uint32_t index) {
    const tml_model_t *model = update->model;
    const uint8_t *weights = slot_data(update, record_of(update)->target);
    const uint8_t *sample = weights + slot->weights_bytes + index * input_bytes(model);
    for (uint32_t i = 0; i < model->input_count; ++i) {
        memcpy(update->arena + model->inputs[i].offset, sample, model->inputs[i].bytes);
        sample += model->inputs[i].bytes;
    }
    model->run(update->arena, weights);
    for (uint32_t i = 0; i < model->output_count; ++i) {
        tml_sha256_add(&update->sha, update->arena + model->outputs[i].offset,
                       model->outputs[i].bytes);
    }
}

static void begin_trial(tml_update_t *update, uint32_t now_ms) {
    tml_record_t *record = record_of(update);
    tml_slot_t *slot = &record->slots[record->target];
    record->sequence_floor = slot->sequence;
    record->previous = record->active;
    record->active = record->target;
    record->is_trial = 1;
    record->boots = 0;
    slot->state = TML_SLOT_STATE_TRIAL;
    update->since_ms = now_ms;
    set_job(update, TML_JOB_STATE_TRIAL, TML_REASON_OK);
    if (!tml_journal_save(&update->journal)) {
        record->active = record->previous;
        record->is_trial = 0;
        fail(update, TML_SLOT_STATE_EMPTY, TML_REASON_FLASH_ERROR);
    }
}

void tml_update_step(tml_update_t *update, uint32_t now_ms, uint32_t (*micros)(void *),
                     void *context) {
    tml_record_t *record = record_of(update);
    tml_slot_t *slot = &record->slots[record->target];
    uint8_t digest[TML_DIGEST_BYTES];
    if (record->is_trial) {
        if (now_ms - update->since_ms >= 1000u * record->soak_s) confirm(update);
        return;
    }
    if (!is_running(record)) return;
    if (update->has_deadline && (int32_t)(now_ms - update->deadline_ms) >= 0) {
        fail(update, slot->state, TML_REASON_TIMED_OUT);
        return;
    }
    switch (record->job_state) {
    case TML_JOB_STATE_RECEIVED:
        if ((int32_t)(now_ms - update->start_ms) < 0) return;
        update->waits = false;
        set_job(update, TML_JOB_STATE_DOWNLOADING, TML_REASON_OK);
        return;
    case TML_JOB_STATE_DOWNLOADING:
        if (update->offset < slot->size) return;
        set_job(update, TML_JOB_STATE_VERIFYING, TML_REASON_OK);
        return;
    case TML_JOB_STATE_VERIFYING:
        tml_sha256_end(&update->sha, digest);
        if (memcmp(digest, slot->digest, sizeof digest) != 0) {
            slot->offset = 0;
            fail(update, TML_SLOT_STATE_EMPTY, TML_REASON_DIGEST_MISMATCH);
            return;
        }
        tml_sha256_begin(&update->sha);
        update->golden_next = 0;
        update->must_reset = true;
        reset(update, slot_data(update, record->target));
        set_job(update, TML_JOB_STATE_SELF_TESTING, TML_REASON_OK);
        return;
    default:
        break;
    }
    /* The self-test, one inference a step. */
    const uint32_t start_us = micros(context);
    run_golden(update, slot, update->golden_next);
    update->latency_us = micros(context) - start_us;
    if (++update->golden_next < slot->golden_inputs) return;
    tml_sha256_end(&update->sha, digest);
    if (memcmp(digest, slot->golden_outputs, sizeof digest) != 0) {
        slot->offset = 0;
        fail(update, TML_SLOT_STATE_BAD, TML_REASON_SELFTEST_MISMATCH);
        return;
    }
    begin_trial(update, now_ms);
}

bool tml_update_is_busy(const tml_update_t *update) {
    const tml_record_t *record = &update->journal.record;
    const bool is_complete = update->offset == record->slots[record->target].size;
    return record->job && (record->job_state == TML_JOB_STATE_VERIFYING ||
                           record->job_state == TML_JOB_STATE_SELF_TESTING ||
                           (record->job_state == TML_JOB_STATE_DOWNLOADING && is_complete));
}

void tml_update_unhealthy(tml_update_t *update) {
    if (record_of(update)->is_trial) go_back(update, TML_REASON_UNHEALTHY);
}

/* ---- reports */

static void describe(const tml_slot_t *slot, tml_model_info_t *info) {
    info->digest = (tml_bytes_t){slot->digest, TML_DIGEST_BYTES};
    info->sequence = slot->sequence;
    info->state = slot->state;
    if (slot->state == TML_SLOT_STATE_PARTIAL) {
        info->has |= TML_MODEL_INFO_HAS_OFFSET;
        info->offset = slot->offset;
    }
}

void tml_update_active(const tml_update_t *update, tml_model_info_t *info,
                       uint8_t factory_digest[TML_DIGEST_BYTES]) {
    const tml_record_t *record = &update->journal.record;
    memset(info, 0, sizeof *info);
    if (record->active < TML_SLOTS) {
        describe(&record->slots[record->active], info);
        return;
    }
    tml_sha256(update->model->weights, update->model->weights_bytes, factory_digest);
    info->digest = (tml_bytes_t){factory_digest, TML_DIGEST_BYTES};
    info->state = TML_SLOT_STATE_CONFIRMED;
}

bool tml_update_passive(const tml_update_t *update, tml_model_info_t *info) {
    const tml_record_t *record = &update->journal.record;
    const uint32_t passive = record->active < TML_SLOTS ? record->active ^ 1u : record->target;
    memset(info, 0, sizeof *info);
    if (record->slots[passive].state == TML_SLOT_STATE_EMPTY) return false;
    describe(&record->slots[passive], info);
    return true;
}

bool tml_update_can_rollback(const tml_update_t *update) {
    const tml_record_t *record = &update->journal.record;
    if (record->active == TML_FACTORY) return false;
    /* The model compiled in can always be gone back to. */
    return true;
}
