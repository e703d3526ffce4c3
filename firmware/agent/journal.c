/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include "memory.h"

static const uint8_t *place(const tml_journal_t *journal, uint32_t page, uint32_t index) {
    return journal->flash->base + page * journal->flash->page_bytes + index * sizeof(tml_record_t);
}

static uint32_t places(const tml_journal_t *journal) {
    const uint32_t fit = journal->flash->page_bytes / sizeof(tml_record_t);
    return fit < UINT8_MAX ? fit : UINT8_MAX;
}

static bool is_blank(const uint8_t *data) {
    for (uint32_t i = 0; i < sizeof(tml_record_t); ++i) {
        if (data[i] != 0xFF) return false;
    }
    return true;
}

static uint32_t checksum(const uint8_t *record) {
    return tml_crc32(0, record, offsetof(tml_record_t, crc));
}

bool tml_journal_load(tml_journal_t *journal, const tml_flash_t *flash) {
    memset(journal, 0, sizeof *journal);
    journal->flash = flash;
    journal->record.active = journal->record.previous = TML_FACTORY;
    /* Without a record, the first save erases page 0 and begins there. */
    journal->page = 1;
    journal->next = (uint8_t)places(journal);
    bool found = false;
    for (uint32_t page = 0; page < TML_JOURNAL_PAGES; ++page) {
        for (uint32_t i = 0; i < places(journal); ++i) {
            const uint8_t *data = place(journal, page, i);
            uint32_t generation, crc;
            memcpy(&generation, data, sizeof generation);
            memcpy(&crc, data + offsetof(tml_record_t, crc), sizeof crc);
            if (generation <= journal->record.generation || crc != checksum(data)) continue;
            memcpy(&journal->record, data, sizeof journal->record);
            journal->page = (uint8_t)page;
            found = true;
        }
    }
    if (!found) return false;
    /* Behind whatever was written, even a record that was cut. */
    journal->next = (uint8_t)places(journal);
    while (journal->next && is_blank(place(journal, journal->page, journal->next - 1u))) {
        --journal->next;
    }
    return true;
}

bool tml_journal_save(tml_journal_t *journal) {
    const tml_flash_t *flash = journal->flash;
    if (journal->next >= places(journal)) {
        const uint32_t other = journal->page ^ 1u;
        if (flash->erase(flash->context, other * flash->page_bytes) != 0) return false;
        journal->page = (uint8_t)other;
        journal->next = 0;
    }
    ++journal->record.generation;
    journal->record.crc = checksum((const uint8_t *)&journal->record);
    const uint32_t at = (uint32_t)(place(journal, journal->page, journal->next) - flash->base);
    ++journal->next;
    return flash->program(flash->context, at, (const uint8_t *)&journal->record,
                          sizeof journal->record) == 0;
}
