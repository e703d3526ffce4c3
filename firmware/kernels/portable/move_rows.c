/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"
#include "tinyml/kernels.h"

void tml_move_rows(int8_t *to, const int8_t *from, uint32_t bytes) {
    copy_bytes(to, from, (int32_t)bytes);
}
