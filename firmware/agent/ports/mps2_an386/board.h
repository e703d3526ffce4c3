/* SPDX-License-Identifier: Apache-2.0
 *
 * The board: a clock, the UART that leads to the broker, flash, sleep.
 */
#ifndef TINYML_AGENT_BOARD_H
#define TINYML_AGENT_BOARD_H

#include "mqtt.h"

enum { BOARD_PAGE = 4096 };

/* Starts clock and UART, paints the stack, and reads flash.bin of the host into `flash`. */
void board_init(uint8_t *flash, uint32_t bytes);
uint32_t board_micros(void);
/* Sleeps until a byte comes or 10 ms have passed. */
void board_wait(void);
_Noreturn void board_reset(void);
/* Deepest use of the stack so far. */
uint32_t board_stack_bytes(void);

/* As tml_flash_t; what is written goes to flash.bin too. */
int board_erase(void *context, uint32_t offset);
int board_program(void *context, uint32_t offset, const uint8_t *data, uint32_t size);

extern const tml_transport_t board_transport;

#endif
