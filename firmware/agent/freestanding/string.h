/* SPDX-License-Identifier: Apache-2.0
 *
 * What Mbed TLS takes of a C library.
 */
#ifndef TINYML_AGENT_STRING_H
#define TINYML_AGENT_STRING_H
#include "../memory.h"
#endif
