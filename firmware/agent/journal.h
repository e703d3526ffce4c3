/* SPDX-License-Identifier: Apache-2.0
 *
 * What must survive a power cut, as one record. Each save appends a whole record with a checksum
 * and a growing generation to one of two pages; the newest one whose checksum is right counts. A
 * save that is cut leaves the record before it in place.
 */
#ifndef TINYML_AGENT_JOURNAL_H
#define TINYML_AGENT_JOURNAL_H

#include <stdbool.h>

#include "crypto.h"
#include "flash.h"

/* The model compiled into the firmware takes this place among the slots. */
enum { TML_FACTORY = TML_SLOTS };

/* What a slot holds, from its signed manifest. */
typedef struct {
    uint32_t sequence, size, weights_bytes;
    uint32_t offset; /* bytes present of a partial download */
    uint16_t golden_inputs;
    uint8_t state; /* tml_slot_state_t */
    uint8_t unused;
    uint8_t digest[TML_DIGEST_BYTES], golden_outputs[TML_DIGEST_BYTES];
} tml_slot_t;

typedef struct {
    uint32_t generation;
    uint32_t sequence_floor; /* of the last manifest that was tried */
    uint32_t job, soak_s;
    uint32_t twin_version, report_interval_s;
    uint8_t active, previous;      /* a slot or TML_FACTORY */
    uint8_t is_trial, boots;       /* boots since the trial began */
    uint8_t target;                /* slot of the running job */
    uint8_t job_state, job_reason; /* tml_job_state_t, tml_reason_t */
    uint8_t unused;
    tml_slot_t slots[TML_SLOTS];
    uint32_t spare;
    uint32_t crc; /* of all before */
} tml_record_t;

_Static_assert(sizeof(tml_record_t) % TML_WRITE_BYTES == 0, "cannot be programmed");

typedef struct {
    const tml_flash_t *flash;
    tml_record_t record;
    uint8_t page;
    uint8_t next; /* place of the next record in the page */
} tml_journal_t;

/* Finds the newest record; false when there is none, which leaves an empty one. */
bool tml_journal_load(tml_journal_t *journal, const tml_flash_t *flash);
/* Writes the record; false when the flash failed. */
bool tml_journal_save(tml_journal_t *journal);

#endif
