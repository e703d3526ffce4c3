/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program may ask of the board it runs on. Each port directory supplies it.
 */
#ifndef TINYML_PORT_H
#define TINYML_PORT_H

#include <stddef.h>
#include <stdint.h>

/* Files of the host: the working directory of the emulator, or of the process. */
typedef enum { TML_READ, TML_WRITE } tml_mode_t;

/* A handle, or -1. */
int tml_open(const char *name, tml_mode_t mode);
/* Bytes read, less than size at the end of the file, or -1. */
int32_t tml_read(int file, void *data, size_t size);
/* 0, or -1 when not everything was written. */
int tml_write(int file, const void *data, size_t size);
void tml_close(int file);

/* A line of text for a person. */
void tml_print(const char *text);

/* Ends the program; status 0 is success. */
_Noreturn void tml_exit(int status);

/* The stack of this program, lowest address first; both null where the port does not know it. */
typedef struct {
    uint8_t *low, *high;
} tml_stack_t;
tml_stack_t tml_stack(void);

#endif
