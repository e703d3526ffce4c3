/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads lines "NUMBER HEX" (a message's TML_MESSAGE_ number and bytes); prints the bytes that it
 * encodes what it decoded to, or "invalid".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

typedef union {
    tml_hello_t hello;
    tml_report_t report;
    tml_train_job_t train_job;
    tml_train_reply_t train_reply;
    tml_manifest_t manifest;
    tml_twin_reported_t twin;
    uint8_t room[1024];
} any_t;

int main(void) {
    static char line[1 << 18];
    static uint8_t again[1 << 16];
    while (fgets(line, sizeof line, stdin)) {
        char *hex;
        const unsigned long message = strtoul(line, &hex, 10);
        const size_t size = strspn(hex + 1, "0123456789abcdef") / 2;
        uint8_t *data = malloc(size ? size : 1); /* exact, so that a sanitizer sees each overrun */
        for (size_t i = 0; i < size; ++i) sscanf(hex + 1 + 2 * i, "%2hhx", &data[i]);
        any_t any;
        if (tml_decode((uint32_t)message, (tml_bytes_t){data, (uint32_t)size}, &any)) {
            const uint32_t bytes = tml_encode((uint32_t)message, &any, again, sizeof again);
            for (uint32_t i = 0; i < bytes; ++i) printf("%02x", again[i]);
            /* With less room it must refuse, never write beyond. */
            for (uint32_t room = 0; room < bytes; ++room) {
                uint8_t *tight = malloc(room ? room : 1);
                if (tml_encode((uint32_t)message, &any, tight, room) != 0) printf(" overrun");
                free(tight);
            }
            puts("");
        } else {
            puts("invalid");
        }
        free(data);
    }
    return 0;
}
