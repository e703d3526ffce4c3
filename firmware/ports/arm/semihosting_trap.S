/* SPDX-License-Identifier: Apache-2.0 */
    .syntax unified
    .thumb
    .section .text.tml_semihosting, "ax"
    .global tml_semihosting
    .thumb_func
    .type tml_semihosting, %function
tml_semihosting:
    bkpt 0xab
    bx lr
    .size tml_semihosting, . - tml_semihosting
