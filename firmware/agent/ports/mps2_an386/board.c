/* SPDX-License-Identifier: Apache-2.0
 *
 * Registers: Arm "Cortex-M System Design Kit" TRM (UART), AN386 application note (FPGA I/O),
 * ARMv7-M manual (SysTick, NVIC, ICSR, AIRCR).
 */
#include "board.h"

#include "memory.h"
#include "port.h"

typedef volatile uint32_t reg_t;

#define UART_DATA (*(reg_t *)0x40004000u)
#define UART_STATE (*(reg_t *)0x40004004u)
#define UART_CTRL (*(reg_t *)0x40004008u)
#define UART_INTCLEAR (*(reg_t *)0x4000400Cu)
#define UART_BAUDDIV (*(reg_t *)0x40004010u)
#define FPGA_COUNTER (*(reg_t *)0x40028018u)
#define FPGA_PRESCALE (*(reg_t *)0x4002801Cu)
#define SYST_CSR (*(reg_t *)0xE000E010u)
#define SYST_RVR (*(reg_t *)0xE000E014u)
#define SYST_CVR (*(reg_t *)0xE000E018u)
#define NVIC_ISER0 (*(reg_t *)0xE000E100u)
#define NVIC_ICPR0 (*(reg_t *)0xE000E280u)
#define ICSR (*(reg_t *)0xE000ED04u)
#define AIRCR (*(reg_t *)0xE000ED0Cu)

enum { TX_FULL = 1, RX_FULL = 2, TX_ENABLE = 1, RX_ENABLE = 2, RX_INTERRUPT = 8 };
enum { CLOCK_HZ = 25000000, PAUSE_US = 2000000 };
enum { SYS_OPEN = 0x01, SYS_SEEK = 0x0A, SYS_TIME = 0x11, OPEN_UPDATE = 3 };
enum { STACK_PAINT = 0xA5, STACK_MARGIN = 256 };

uintptr_t tml_semihosting(uintptr_t operation, const void *argument);

static uint8_t *memory;
static int file;
static uint32_t closed_us, random_state;
static bool was_closed;

uint32_t board_micros(void) {
    return FPGA_COUNTER;
}

void board_wait(void) {
    /* Interrupts stay masked, so none is taken; a pending one ends the wait all the same. */
    if (!(UART_STATE & RX_FULL)) __asm volatile("wfi" ::: "memory");
    UART_INTCLEAR = 3;
    NVIC_ICPR0 = 1;
    ICSR = 1u << 25; /* PENDSTCLR */
}

_Noreturn void board_reset(void) {
    AIRCR = 0x05FA0004u;
    for (;;) {
    }
}

static int open_update(const char *name) {
    uintptr_t length = 0;
    while (name[length]) ++length;
    const uintptr_t block[3] = {(uintptr_t)name, OPEN_UPDATE, length};
    return (int)tml_semihosting(SYS_OPEN, block);
}

static int store(uint32_t offset, uint32_t size) {
    const uintptr_t seek[2] = {(uintptr_t)file, offset};
    if (tml_semihosting(SYS_SEEK, seek) != 0) return -1;
    return tml_write(file, memory + offset, size);
}

static void paint_stack(void) {
    const tml_stack_t stack = tml_stack();
    volatile uint8_t here = 0;
    const uintptr_t end = (uintptr_t)&here - STACK_MARGIN;
    for (volatile uint8_t *p = stack.low; (uintptr_t)p < end; ++p) *p = STACK_PAINT;
}

uint32_t board_stack_bytes(void) {
    const tml_stack_t stack = tml_stack();
    const uint8_t *p = stack.low;
    while (p < stack.high && *p == STACK_PAINT) ++p;
    return (uint32_t)(stack.high - p);
}

void board_init(uint8_t *flash, uint32_t bytes) {
    paint_stack();
    __asm volatile("cpsid i" ::: "memory");
    FPGA_PRESCALE = CLOCK_HZ / 1000000 - 1;
    UART_BAUDDIV = 16;
    UART_CTRL = TX_ENABLE | RX_ENABLE | RX_INTERRUPT;
    NVIC_ISER0 = 1;
    SYST_RVR = CLOCK_HZ / 100;
    SYST_CVR = 0;
    SYST_CSR = 7;
    /* Neither secret nor more than different at each boot: boot_id and jitter. */
    random_state = (uint32_t)tml_semihosting(SYS_TIME, 0) * 2654435761u ^ board_micros();

    memory = flash;
    memset(memory, 0xFF, bytes);
    const int old = tml_open("flash.bin", TML_READ);
    const bool is_there = old >= 0 && tml_read(old, memory, bytes) == (int32_t)bytes;
    if (old >= 0) tml_close(old);
    if (!is_there) {
        const int fresh = tml_open("flash.bin", TML_WRITE);
        tml_write(fresh, memory, bytes);
        tml_close(fresh);
    }
    file = open_update("flash.bin");
}

int board_erase(void *context, uint32_t offset) {
    (void)context;
    memset(memory + offset, 0xFF, BOARD_PAGE);
    return store(offset, BOARD_PAGE);
}

int board_program(void *context, uint32_t offset, const uint8_t *data, uint32_t size) {
    (void)context;
    for (uint32_t i = 0; i < size; ++i) memory[offset + i] &= data[i];
    return store(offset, size);
}

static void put(uint8_t byte) {
    while (UART_STATE & TX_FULL) {
    }
    UART_DATA = byte;
}

/* QEMU keeps the TCP connection; it makes a new one within a second after the broker closed it. */
static int open_line(void *context) {
    (void)context;
    if (was_closed && board_micros() - closed_us < PAUSE_US) return 0;
    while (UART_STATE & RX_FULL) (void)UART_DATA;
    was_closed = false;
    return 1;
}

static void close_line(void *context) {
    (void)context;
    /* DISCONNECT makes the broker close. */
    put(0xE0);
    put(0x00);
    closed_us = board_micros();
    was_closed = true;
}

static int32_t send_bytes(void *context, const uint8_t *data, uint32_t size) {
    (void)context;
    for (uint32_t i = 0; i < size; ++i) put(data[i]);
    return (int32_t)size;
}

static int32_t receive_bytes(void *context, uint8_t *data, uint32_t size) {
    (void)context;
    uint32_t got = 0;
    while (got < size && (UART_STATE & RX_FULL)) data[got++] = (uint8_t)UART_DATA;
    return (int32_t)got;
}

static uint32_t next_random(void *context) {
    (void)context;
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    random_state += board_micros();
    return random_state;
}

const tml_transport_t board_transport = {.open = open_line,
                                         .send = send_bytes,
                                         .receive = receive_bytes,
                                         .close = close_line,
                                         .random = next_random};

/* Mbed TLS clears its state with this. */
void mbedtls_platform_zeroize(void *buffer, size_t size);

void mbedtls_platform_zeroize(void *buffer, size_t size) {
    volatile uint8_t *byte = buffer;
    while (size--) *byte++ = 0;
}
