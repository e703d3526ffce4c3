/* SPDX-License-Identifier: Apache-2.0
 *
 * Reset of every Cortex-M: copy .data, clear .bss, enable the coprocessors, run main.
 */
#include "fault.h"
#include "port.h"

extern uint8_t tml_stack_high[], tml_data_start[], tml_data_end[], tml_data_load[];
extern uint8_t tml_bss_start[], tml_bss_end[];

int main(void);
_Noreturn void tml_reset(void);
_Noreturn void tml_fault(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CFSR (*(volatile uint32_t *)0xE000ED28u)

_Noreturn void tml_reset(void) {
    const uint8_t *from = tml_data_load;
    for (uint8_t *to = tml_data_start; to < tml_data_end; ++to, ++from) *to = *from;
    for (uint8_t *to = tml_bss_start; to < tml_bss_end; ++to) *to = 0;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* Floating point and MVE fault until full access to CP10 and CP11 is given. */
    CPACR |= 0xFu << 20;
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    tml_exit(main());
}

_Noreturn void tml_fault(void) {
#ifdef __ARM_ARCH_6M__
    /* No fault status register: the number of the exception must do. */
    uint32_t exception;
    __asm volatile("mrs %0, ipsr" : "=r"(exception));
    tml_report_fault("IPSR", exception);
#else
    tml_report_fault("CFSR", CFSR);
#endif
}

/* Interrupts are never enabled, so the table ends with the system exceptions. */
__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)tml_stack_high,
    tml_reset,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
    tml_fault,
};
