/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer: an envelope that no key signed is never opened.
 */
#include <stdlib.h>

#include "cose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t keys[2][TML_KEY_BYTES] = {{1}, {2}};
    tml_bytes_t payload;
    if (tml_cose_open((tml_bytes_t){data, (uint32_t)size}, keys, 2, &payload) == TML_REASON_OK) {
        abort();
    }
    return 0;
}
