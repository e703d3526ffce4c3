/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer: the first byte chooses a message; what decodes must encode to bytes that decode to
 * the same, and never to more than came in.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t structure[2048], again[1 << 16], third[1 << 16];
    if (size < 1) return 0;
    const uint32_t message = data[0] % (TML_MESSAGE_KEY_GRANT + 1u);
    const tml_bytes_t bytes = {data + 1, (uint32_t)size - 1};
    if (!tml_decode(message, bytes, structure)) return 0;
    const uint32_t written = tml_encode(message, structure, again, sizeof again);
    if (written == 0 || written > bytes.size) abort();
    if (!tml_decode(message, (tml_bytes_t){again, written}, structure)) abort();
    if (tml_encode(message, structure, third, sizeof third) != written) abort();
    if (memcmp(again, third, written) != 0) abort();
    return 0;
}
