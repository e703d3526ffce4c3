/* SPDX-License-Identifier: Apache-2.0
 *
 * Flash in a file, as the agent sees it: memory-mapped, bits go from 1 to 0 until they are erased.
 */
#ifndef TINYML_AGENT_FILE_FLASH_H
#define TINYML_AGENT_FILE_FLASH_H

#include "flash.h"

/* Opens or creates the file and fills in `flash`; pages are PAGE_BYTES. 0, or -1 with errno. */
int posix_flash_open(tml_flash_t *flash, const char *path, uint32_t slot_bytes);

enum { POSIX_PAGE_BYTES = 4096 };

#endif
