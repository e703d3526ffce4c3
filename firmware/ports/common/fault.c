/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include "port.h"

enum { FAULT_STATUS = 2, NAME_AT = 7, NAME_MAX = 8 };

_Noreturn void tml_report_fault(const char *register_name, uint32_t value) {
    char text[NAME_AT + NAME_MAX + sizeof " 0x00000000"] = "fault, ";
    char *end = text + NAME_AT;
    for (int i = 0; i < NAME_MAX && register_name[i]; ++i) *end++ = register_name[i];
    *end++ = ' ';
    *end++ = '0';
    *end++ = 'x';
    for (int shift = 28; shift >= 0; shift -= 4) *end++ = "0123456789abcdef"[value >> shift & 0xFu];
    *end = '\0';
    tml_print(text);
    tml_exit(FAULT_STATUS);
}
