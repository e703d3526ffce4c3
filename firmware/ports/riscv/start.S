/* SPDX-License-Identifier: Apache-2.0 */
    /* Here and not in -march: the compiler finds no libgcc for rv32imc_zicsr. */
    .option arch, +zicsr
    .section .text.tml_reset, "ax"
    .global tml_reset
    .type tml_reset, @function
tml_reset:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, tml_stack_high
    la t0, tml_fault
    csrw mtvec, t0
    la a0, tml_data_start
    la a1, tml_data_load
    la a2, tml_data_end
    sub a2, a2, a0
    call memcpy
    la a0, tml_bss_start
    li a1, 0
    la a2, tml_bss_end
    sub a2, a2, a0
    call memset
    call main
    tail tml_exit

    .balign 4
tml_fault:
    la sp, tml_stack_high
    la a0, cause_name
    csrr a1, mcause
    tail tml_report_fault

    .section .rodata.cause_name, "a"
cause_name:
    .asciz "mcause"
