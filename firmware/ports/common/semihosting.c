/* SPDX-License-Identifier: Apache-2.0
 *
 * The port API over semihosting, which Arm and RISC-V share but for the trap instruction.
 * Source: Arm "Semihosting for AArch32 and AArch64", release 2.0; RISC-V semihosting 0.4.
 */
#include "port.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    STOPPED_APPLICATION_EXIT = 0x20026,
    OPEN_RB = 1,
    OPEN_WB = 5,
};

/* The trap, in each architecture's semihosting_trap.S. */
uintptr_t tml_semihosting(uintptr_t operation, const void *argument);

int tml_open(const char *name, tml_mode_t mode) {
    uintptr_t length = 0;
    while (name[length]) ++length;
    const uintptr_t block[3] = {(uintptr_t)name, mode == TML_READ ? OPEN_RB : OPEN_WB, length};
    return (int)tml_semihosting(SYS_OPEN, block);
}

int32_t tml_read(int file, void *data, size_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, size};
    const uintptr_t missing = tml_semihosting(SYS_READ, block);
    return missing > size ? -1 : (int32_t)(size - missing);
}

int tml_write(int file, const void *data, size_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, size};
    return tml_semihosting(SYS_WRITE, block) == 0 ? 0 : -1;
}

void tml_close(int file) {
    const uintptr_t block[1] = {(uintptr_t)file};
    tml_semihosting(SYS_CLOSE, block);
}

void tml_print(const char *text) {
    tml_semihosting(SYS_WRITE0, text);
    tml_semihosting(SYS_WRITE0, "\n");
}

_Noreturn void tml_exit(int status) {
    const uintptr_t block[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)status};
    for (;;) tml_semihosting(SYS_EXIT_EXTENDED, block);
}

extern uint8_t tml_stack_low[], tml_stack_high[]; /* linker script */

tml_stack_t tml_stack(void) {
    return (tml_stack_t){tml_stack_low, tml_stack_high};
}
