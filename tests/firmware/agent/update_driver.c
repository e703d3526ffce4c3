/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives the update logic for tests. Files come from the Python side: job-NAME.cbor, artefact-NAME.
 *
 *   update_driver FOLDER refuse NAME...   a device that runs model 1 is offered each job
 *   update_driver FOLDER power-cut        power is lost at every flash operation of an update
 *   update_driver FOLDER script WORD...   offer:NAME feed:NAME step:MS boot unhealthy break
 */
#include <stdio.h>

#include "ram_flash.h"
#include "sample_model.h"
#include "update.h"

static const char *folder;
static TML_ALIGNED uint8_t arena[SAMPLE_ARENA];
static tml_update_t update;
static uint8_t root[1][TML_KEY_BYTES];
static tml_identity_t identity = {.tenant = {(const uint8_t *)"acme", 4},
                                  .device = {(const uint8_t *)"kitchen-1", 9},
                                  .vendor = {(const uint8_t *)"generic", 7},
                                  .hardware = {(const uint8_t *)"host", 4},
                                  .firmware = {(const uint8_t *)"1.0.0", 5},
                                  .roots = root,
                                  .root_count = 1,
                                  .opset = 7};
static uint32_t now_ms;

static uint32_t micros(void *context) {
    (void)context;
    return 1000 * now_ms;
}

static tml_bytes_t load(const char *kind, const char *name) {
    static uint8_t buffers[8][32768];
    static uint32_t next;
    char path[512];
    snprintf(path, sizeof path, "%s/%s-%s", folder, kind, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    uint8_t *buffer = buffers[next++ % 8];
    const size_t size = fread(buffer, 1, sizeof buffers[0], file);
    fclose(file);
    return (tml_bytes_t){buffer, (uint32_t)size};
}

static void boot(void) {
    tml_update_boot(&update, &identity, &sample_model, arena, &ram_flash, now_ms);
}

static void offer(tml_bytes_t bytes) {
    tml_job_t job;
    if (!tml_decode(TML_MESSAGE_JOB, bytes, &job)) {
        puts("undecodable");
        return;
    }
    tml_update_offer(&update, &job, now_ms, 0);
}

/* Gives the device what it wants, 96 bytes at a time, until it wants nothing. */
static void feed(tml_bytes_t artefact) {
    tml_bytes_t digest;
    uint32_t offset;
    while (tml_update_wants(&update, &digest, &offset)) {
        uint32_t size = artefact.size > offset ? artefact.size - offset : 0;
        if (size > 96) size = 96;
        tml_blob_reply_t reply = {.blob = {digest.data, 8},
                                  .offset = offset,
                                  .has = TML_BLOB_REPLY_HAS_DATA,
                                  .data = {artefact.data + offset, size}};
        if (!tml_update_chunk(&update, &reply, now_ms)) return;
    }
}

static void step(uint32_t milliseconds) {
    now_ms += milliseconds;
    do tml_update_step(&update, now_ms, micros, NULL);
    while (tml_update_is_busy(&update));
}

static void print_state(void) {
    const tml_record_t *record = &update.journal.record;
    printf("active=%u trial=%u state=%u reason=%u job=%u sequence_floor=%u rollback=%d\n",
           record->active, record->is_trial, update.status_state, update.status_reason,
           update.status_job, record->sequence_floor, tml_update_can_rollback(&update));
}

/* A device that has installed model 1 and runs it. */
static void prepare(void) {
    memset(ram.bytes, 0x5A, sizeof ram.bytes); /* whatever the factory left */
    ram.cut_at = 0;
    now_ms = 0;
    boot();
    offer(load("job", "first"));
    feed(load("artefact", "first"));
    step(1);
    step(10000);
}

static bool runs(const char *name) {
    const tml_bytes_t artefact = load("artefact", name);
    return memcmp(tml_update_weights(&update), artefact.data, SAMPLE_WEIGHTS) == 0;
}

static void refuse(const char *name) {
    prepare();
    const uint32_t before = ram.operations;
    const tml_bytes_t job = load("job", name);
    offer(job);
    printf("%s state=%u reason=%u writes=%u intact=%d\n", name, update.status_state,
           update.status_reason, ram.operations - before, runs("first"));
}

static void update_to_second(void) {
    offer(load("job", "second"));
    feed(load("artefact", "second"));
    step(1);
    step(10000);
}

/* Boots after a power cut; true when a valid model runs that is not the one compiled in. */
static bool boots_validly(void) {
    boot();
    return update.journal.record.active != TML_FACTORY && (runs("first") || runs("second"));
}

/* After all cuts the update must still come to its end. */
static bool converges(void) {
    for (int i = 0; i < 3 && !(runs("second") && !update.journal.record.is_trial); ++i) {
        update_to_second();
    }
    return runs("second") && update.status_state == TML_JOB_STATE_CONFIRMED;
}

static uint8_t prepared[RAM_BYTES];

static int run_cuts(uint32_t first, cut_t first_kind, uint32_t second, cut_t second_kind) {
    memcpy(ram.bytes, prepared, sizeof prepared);
    now_ms = 100000;
    const uint32_t cuts[] = {first, second};
    const cut_t kinds[] = {first_kind, second_kind};
    volatile uint32_t i = 0;
    for (; i < 2 && cuts[i]; ++i) {
        ram.operations = 0;
        ram.cut_at = cuts[i];
        ram.cut = kinds[i];
        ram.random = first + 7 * second;
        if (setjmp(ram.power) == 0) {
            /* A boot writes too when it counts the boots of a trial. */
            boot();
            update_to_second();
            ram.cut_at = 0;
            return 1; /* the update has fewer operations */
        }
        ram.cut_at = 0;
        if (!boots_validly()) return -1;
    }
    return converges() ? 0 : -2;
}

static int power_cut(void) {
    prepare();
    if (!runs("first")) return puts("the first update failed"), 1;
    memcpy(prepared, ram.bytes, sizeof prepared);
    uint32_t single = 0, twice = 0, operations = 0;
    for (uint32_t kind = 0; kind < CUT_KINDS; ++kind) {
        for (uint32_t at = 1;; ++at) {
            const int result = run_cuts(at, (cut_t)kind, 0, CUT_BEFORE);
            if (result > 0) {
                operations = at - 1;
                break;
            }
            if (result < 0) return printf("cut %u kind %u: %d\n", at, kind, result), 1;
            ++single;
            for (uint32_t again = 1; again <= 12; ++again) {
                const int after = run_cuts(at, (cut_t)kind, again, (cut_t)((at + again) % 4));
                if (after < 0) {
                    return printf("cuts %u, %u kind %u: %d\n", at, again, kind, after), 1;
                }
                twice += after == 0;
            }
        }
    }
    printf("operations=%u cuts=%u twice=%u misuses=%u\n", operations, single, twice, ram.misuses);
    return ram.misuses != 0;
}

static void play(const char *word) {
    const char *colon = strchr(word, ':');
    const char *argument = colon ? colon + 1 : "";
    if (strncmp(word, "offer:", 6) == 0) offer(load("job", argument));
    if (strncmp(word, "feed:", 5) == 0) feed(load("artefact", argument));
    if (strncmp(word, "step:", 5) == 0) step((uint32_t)strtoul(argument, NULL, 10));
    if (strcmp(word, "boot") == 0) boot();
    if (strcmp(word, "unhealthy") == 0) tml_update_unhealthy(&update);
    if (strcmp(word, "break") == 0) ram.is_broken = 1;
    if (strcmp(word, "corrupt") == 0) {
        const uint32_t slot = update.journal.record.active;
        ram.bytes[tml_flash_slot(&ram_flash, slot) + 5] ^= 1;
    }
    printf("%s: ", word);
    print_state();
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    folder = arguments[1];
    memcpy(root[0], load("root", "key").data, TML_KEY_BYTES);
    for (uint32_t i = 0; i < SAMPLE_WEIGHTS; ++i) sample_weights[i] = (uint8_t)(i * 7);
    if (strcmp(arguments[2], "power-cut") == 0) return power_cut();
    if (strcmp(arguments[2], "script") == 0) {
        memset(ram.bytes, 0x5A, sizeof ram.bytes);
        boot();
        for (int i = 3; i < count; ++i) play(arguments[i]);
    } else {
        for (int i = 3; i < count; ++i) refuse(arguments[i]);
    }
    if (ram.misuses) printf("misuses=%u\n", ram.misuses);
    return 0;
}
