/* SPDX-License-Identifier: Apache-2.0
 *
 * Flash in memory for tests of the agent: counts its operations and loses power at a chosen one.
 */
#ifndef TINYML_TEST_RAM_FLASH_H
#define TINYML_TEST_RAM_FLASH_H

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flash.h"

enum { RAM_PAGE = 1024, RAM_SLOT = 12 * RAM_PAGE };
enum { RAM_BYTES = TML_JOURNAL_PAGES * RAM_PAGE + TML_SLOTS * RAM_SLOT };

/* How far the operation comes at which power is lost. */
typedef enum { CUT_BEFORE, CUT_HALF, CUT_SCATTERED, CUT_AFTER, CUT_KINDS } cut_t;

static struct {
    _Alignas(16) uint8_t bytes[RAM_BYTES];
    uint32_t operations, cut_at; /* 0: never */
    cut_t cut;
    jmp_buf power;
    uint32_t random;
    int is_broken; /* every operation fails */
    uint32_t misuses;
} ram;

static uint32_t ram_random(void) {
    ram.random = ram.random * 1664525u + 1013904223u;
    return ram.random >> 8;
}

/* Whether byte i of n still changes. */
static int ram_reaches(uint32_t i, uint32_t n, int is_cut) {
    if (!is_cut || ram.cut == CUT_AFTER) return 1;
    if (ram.cut == CUT_BEFORE) return 0;
    return ram.cut == CUT_HALF ? i < n / 2 : ram_random() % 2 == 0;
}

static int ram_erase(void *context, uint32_t offset) {
    (void)context;
    if (ram.is_broken) return -1;
    const int is_cut = ++ram.operations == ram.cut_at;
    if (offset % RAM_PAGE || offset >= RAM_BYTES) ++ram.misuses;
    for (uint32_t i = 0; i < RAM_PAGE; ++i) {
        if (ram_reaches(i, RAM_PAGE, is_cut)) ram.bytes[offset + i] = 0xFF;
    }
    if (is_cut) longjmp(ram.power, 1);
    return 0;
}

static int ram_program(void *context, uint32_t offset, const uint8_t *data, uint32_t size) {
    (void)context;
    if (ram.is_broken) return -1;
    const int is_cut = ++ram.operations == ram.cut_at;
    if (offset % TML_WRITE_BYTES || size % TML_WRITE_BYTES || offset + size > RAM_BYTES ||
        offset / RAM_PAGE != (offset + size - 1) / RAM_PAGE) {
        ++ram.misuses;
    }
    for (uint32_t i = 0; i < size; ++i) {
        if (ram.bytes[offset + i] != 0xFF) ++ram.misuses; /* was not erased */
        if (ram_reaches(i, size, is_cut)) ram.bytes[offset + i] &= data[i];
    }
    if (is_cut) longjmp(ram.power, 1);
    return 0;
}

static const tml_flash_t ram_flash = {.base = ram.bytes,
                                      .page_bytes = RAM_PAGE,
                                      .slot_bytes = RAM_SLOT,
                                      .erase = ram_erase,
                                      .program = ram_program};

#endif
