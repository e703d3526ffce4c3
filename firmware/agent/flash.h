/* SPDX-License-Identifier: Apache-2.0
 *
 * Flash that the port supplies: memory-mapped, erased in pages to 0xFF.
 *
 *   page 0, page 1 | slot 0 | slot 1
 *   journal        | artefacts, each slot_bytes
 */
#ifndef TINYML_AGENT_FLASH_H
#define TINYML_AGENT_FLASH_H

#include <stdint.h>

enum { TML_SLOTS = 2, TML_JOURNAL_PAGES = 2, TML_WRITE_BYTES = 16 };

typedef struct {
    void *context;
    const uint8_t *base; /* aligned to 16 bytes */
    uint32_t page_bytes; /* multiple of TML_WRITE_BYTES, at least 1024 */
    uint32_t slot_bytes; /* multiple of page_bytes */
    /* 0, or another value on failure. offset: of a page. */
    int (*erase)(void *context, uint32_t offset);
    /* offset and size are multiples of TML_WRITE_BYTES and lie in one page, which was erased. */
    int (*program)(void *context, uint32_t offset, const uint8_t *data, uint32_t size);
} tml_flash_t;

/* Bytes of the whole area. */
static inline uint32_t tml_flash_bytes(const tml_flash_t *flash) {
    return TML_JOURNAL_PAGES * flash->page_bytes + TML_SLOTS * flash->slot_bytes;
}

static inline uint32_t tml_flash_slot(const tml_flash_t *flash, uint32_t slot) {
    return TML_JOURNAL_PAGES * flash->page_bytes + slot * flash->slot_bytes;
}

#endif
