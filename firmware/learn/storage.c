/* SPDX-License-Identifier: Apache-2.0
 *
 * The state in two slots. The slot that is not the newest valid one is erased, its content
 * written, and its header last: until the header is complete the other slot counts.
 */

#include "internal.h"

enum { SLOTS = 2, CHUNK = 64 };
static const uint32_t MAGIC = 0x534C4D54u; /* "TMLS" */

typedef struct {
    uint32_t magic, bytes;
    uint64_t abi;
    uint32_t sequence;
    uint32_t content_crc;
    uint32_t reserved;
    uint32_t header_crc; /* of everything before it */
} header_t;

_Static_assert(sizeof(header_t) == 32, "the header is a format");

/* CRC-32 (IEEE 802.3), four bits at a time. */
static uint32_t crc32(uint32_t crc, const void *data, uint32_t size) {
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    const uint8_t *bytes = data;
    crc = ~crc;
    for (uint32_t i = 0; i < size; ++i) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return ~crc;
}

static uint32_t header_crc(const header_t *header) {
    return crc32(0, header, offsetof(header_t, header_crc));
}

/* Whether a slot holds a complete state of this learner. */
static bool is_valid(const tml_learn_t *learner, const tml_learn_storage_t *storage, int slot,
                     header_t *header) {
    const tml_learn_model_t *model = learner->model;
    if (storage->read(storage->context, slot, 0, header, sizeof *header) != 0) return false;
    if (header->magic != MAGIC || header->header_crc != header_crc(header)) return false;
    if (header->abi != model->abi || header->bytes != model->state_bytes) return false;
    uint32_t crc = 0;
    for (uint32_t at = 0; at < header->bytes; at += CHUNK) {
        uint8_t chunk[CHUNK];
        const uint32_t left = header->bytes - at;
        const uint32_t size = left < CHUNK ? left : CHUNK;
        const uint32_t from = (uint32_t)sizeof *header + at;
        if (storage->read(storage->context, slot, from, chunk, size) != 0) return false;
        crc = crc32(crc, chunk, size);
    }
    return crc == header->content_crc;
}

/* The newest valid slot, or -1. */
static int newest(const tml_learn_t *learner, const tml_learn_storage_t *storage,
                  header_t *header) {
    int found = -1;
    for (int slot = 0; slot < SLOTS; ++slot) {
        header_t candidate;
        if (!is_valid(learner, storage, slot, &candidate)) continue;
        /* Sequence numbers wrap. */
        if (found >= 0 && (int32_t)(candidate.sequence - header->sequence) < 0) continue;
        found = slot;
        *header = candidate;
    }
    return found;
}

uint32_t tml_learn_slot_bytes(const tml_learn_model_t *model) {
    return (uint32_t)sizeof(header_t) + model->state_bytes;
}

tml_learn_status_t tml_learn_save(const tml_learn_t *learner, const tml_learn_storage_t *storage) {
    const uint32_t bytes = learner->model->state_bytes;
    if (storage->slot_bytes < tml_learn_slot_bytes(learner->model)) return TML_LEARN_STORAGE;
    header_t old = {0};
    const int current = newest(learner, storage, &old);
    const int slot = current == 0 ? 1 : 0;
    header_t header = {
        .magic = MAGIC,
        .bytes = bytes,
        .abi = learner->model->abi,
        .sequence = current < 0 ? 0 : old.sequence + 1u,
        .content_crc = crc32(0, learner->state, bytes),
    };
    header.header_crc = header_crc(&header);
    if (storage->erase(storage->context, slot) != 0) return TML_LEARN_STORAGE;
    for (uint32_t at = 0; at < bytes; at += CHUNK) {
        const uint32_t size = bytes - at < CHUNK ? bytes - at : CHUNK;
        const uint32_t to = (uint32_t)sizeof header + at;
        if (storage->write(storage->context, slot, to, learner->state + at, size) != 0) {
            return TML_LEARN_STORAGE;
        }
    }
    if (storage->write(storage->context, slot, 0, &header, sizeof header) != 0) {
        return TML_LEARN_STORAGE;
    }
    /* What was written is what counts. */
    return is_valid(learner, storage, slot, &header) ? TML_LEARN_OK : TML_LEARN_STORAGE;
}

tml_learn_status_t tml_learn_restore(tml_learn_t *learner, const tml_learn_storage_t *storage) {
    if (storage->slot_bytes < tml_learn_slot_bytes(learner->model)) return TML_LEARN_STORAGE;
    header_t header;
    const int slot = newest(learner, storage, &header);
    if (slot < 0) return TML_LEARN_NOTHING_SAVED;
    const int failed =
        storage->read(storage->context, slot, sizeof header, learner->state, header.bytes);
    if (failed || crc32(0, learner->state, header.bytes) != header.content_crc) {
        learn_reset(learner);
        return TML_LEARN_STORAGE;
    }
    return TML_LEARN_OK;
}
