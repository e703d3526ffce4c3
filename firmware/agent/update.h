/* SPDX-License-Identifier: Apache-2.0
 *
 * Updates of the model: verify, download into the passive slot, verify, self-test, try, confirm or
 * go back. Nothing is written before the manifest is verified, nothing is activated before the
 * self-test has passed. Pure of any transport: the agent carries messages in and out.
 */
#ifndef TINYML_AGENT_UPDATE_H
#define TINYML_AGENT_UPDATE_H

#include "journal.h"
#include "protocol.h"
#include "tinyml/model.h"

/* Who the device is and whom it trusts. */
typedef struct {
    tml_bytes_t tenant, device, vendor, hardware, firmware;
    const uint8_t (*roots)[TML_KEY_BYTES];
    uint8_t root_count;
    uint64_t opset; /* operators in the firmware */
} tml_identity_t;

/* Boots that a trial may take before it is confirmed. */
enum { TML_TRIAL_BOOTS = 3 };

typedef struct {
    const tml_identity_t *identity;
    const tml_model_t *model; /* compiled in */
    uint8_t *arena;           /* the model's */
    tml_journal_t journal;
    tml_sha256_t sha; /* of the bytes in the passive slot, then of the golden outputs */
    uint32_t offset;  /* bytes in the passive slot */
    uint32_t start_ms, deadline_ms, since_ms;
    uint32_t time_s; /* the latest time that was told, 0: none */
    uint32_t latency_us;
    uint16_t golden_next;
    bool waits;        /* for start_ms */
    bool has_deadline; /* deadline_ms counts */
    bool must_reset;   /* what the model kept in the arena is another one's: tml_update_reset */
    /* What goes to the server next. */
    bool has_status;
    uint8_t status_state, status_reason;
    uint32_t status_job;
} tml_update_t;

/* Chooses the model to run: the active slot if its digest is right, else the previous one, else
 * the model compiled in. */
void tml_update_boot(tml_update_t *update, const tml_identity_t *identity, const tml_model_t *model,
                     uint8_t *arena, const tml_flash_t *flash, uint32_t now_ms);

/* The blob to run. */
const uint8_t *tml_update_weights(const tml_update_t *update);

/* Before an inference: a model that keeps state in the arena starts anew after another one ran. */
void tml_update_reset(tml_update_t *update);

/* Verifies what a job asks for and begins it. random is for the start's jitter. */
void tml_update_offer(tml_update_t *update, const tml_job_t *job, uint32_t now_ms, uint32_t random);

/* Whether bytes are wanted; digest and first offset of them. */
bool tml_update_wants(const tml_update_t *update, tml_bytes_t *digest, uint32_t *offset);
/* Bytes that came; others than the wanted ones are ignored. True when some were taken. */
bool tml_update_chunk(tml_update_t *update, const tml_blob_reply_t *reply, uint32_t now_ms);

/* Goes on with what does not depend on messages; micros reads a clock of microseconds. */
void tml_update_step(tml_update_t *update, uint32_t now_ms, uint32_t (*micros)(void *),
                     void *context);

/* Whether tml_update_step has work now. */
bool tml_update_is_busy(const tml_update_t *update);

/* Ends a trial badly: the older model runs again. */
void tml_update_unhealthy(tml_update_t *update);

/* The state of the job that the journal holds, to be sent again after a new connection. */
void tml_update_repeat_status(tml_update_t *update);

/* The models that run and that could: for hello and the twin. */
void tml_update_active(const tml_update_t *update, tml_model_info_t *info,
                       uint8_t factory_digest[TML_DIGEST_BYTES]);
bool tml_update_passive(const tml_update_t *update, tml_model_info_t *info);
bool tml_update_can_rollback(const tml_update_t *update);

#endif
