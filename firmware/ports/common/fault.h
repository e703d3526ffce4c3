/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TINYML_FAULT_H
#define TINYML_FAULT_H

#include <stdint.h>

/* Prints the register that tells the cause of a fault and ends the program with status 2. */
_Noreturn void tml_report_fault(const char *register_name, uint32_t value);

#endif
