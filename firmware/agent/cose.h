/* SPDX-License-Identifier: Apache-2.0
 *
 * COSE_Sign1 (RFC 9052 section 4.2) with EdDSA over Ed25519.
 */
#ifndef TINYML_AGENT_COSE_H
#define TINYML_AGENT_COSE_H

#include "crypto.h"
#include "protocol.h"

/* The payload of an envelope that one of the keys signed. TML_REASON_OK, _BAD_MESSAGE,
 * _UNKNOWN_KEY or _BAD_SIGNATURE. */
tml_reason_t tml_cose_open(tml_bytes_t envelope, const uint8_t (*keys)[TML_KEY_BYTES],
                           uint32_t key_count, tml_bytes_t *payload);

#endif
