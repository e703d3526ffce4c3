/* SPDX-License-Identifier: Apache-2.0
 *
 * The port API on a POSIX process.
 */
#include "port.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int tml_open(const char *name, tml_mode_t mode) {
    return mode == TML_READ ? open(name, O_RDONLY) : open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

int32_t tml_read(int file, void *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        const ssize_t got = read(file, (char *)data + done, size - done);
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (int32_t)done;
}

int tml_write(int file, const void *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        const ssize_t put = write(file, (const char *)data + done, size - done);
        if (put <= 0) return -1;
        done += (size_t)put;
    }
    return 0;
}

void tml_close(int file) {
    close(file);
}

void tml_print(const char *text) {
    fprintf(stderr, "%s\n", text);
}

_Noreturn void tml_exit(int status) {
    exit(status);
}

tml_stack_t tml_stack(void) {
    return (tml_stack_t){NULL, NULL};
}
