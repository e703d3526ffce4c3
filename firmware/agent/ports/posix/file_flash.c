/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "file_flash.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int erase(void *context, uint32_t offset) {
    memset((uint8_t *)context + offset, 0xFF, POSIX_PAGE_BYTES);
    return 0;
}

static int program(void *context, uint32_t offset, const uint8_t *data, uint32_t size) {
    uint8_t *to = (uint8_t *)context + offset;
    for (uint32_t i = 0; i < size; ++i) to[i] &= data[i];
    return 0;
}

int posix_flash_open(tml_flash_t *flash, const char *path, uint32_t slot_bytes) {
    flash->page_bytes = POSIX_PAGE_BYTES;
    flash->slot_bytes = (slot_bytes + POSIX_PAGE_BYTES - 1) / POSIX_PAGE_BYTES * POSIX_PAGE_BYTES;
    flash->erase = erase;
    flash->program = program;
    const size_t bytes = tml_flash_bytes(flash);
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return -1;
    /* Pages that were never erased stay holes, so that thousands of devices fit the disk. */
    if (ftruncate(file, (off_t)bytes) != 0) {
        close(file);
        return -1;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return -1;
    flash->base = memory;
    flash->context = memory;
    return 0;
}
