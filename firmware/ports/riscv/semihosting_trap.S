/* SPDX-License-Identifier: Apache-2.0
 *
 * The host knows the trap by these three uncompressed instructions on one page.
 */
    .section .text.tml_semihosting, "ax"
    .balign 16
    .global tml_semihosting
    .type tml_semihosting, @function
tml_semihosting:
    .option push
    .option norvc
    slli zero, zero, 0x1f
    ebreak
    srai zero, zero, 7
    .option pop
    ret
    .size tml_semihosting, . - tml_semihosting
