/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 and Ed25519 (RFC 8032). The mathematics is Monocypher's and Mbed TLS's, whose sources
 * are fetched when the agent is built.
 */
#ifndef TINYML_AGENT_CRYPTO_H
#define TINYML_AGENT_CRYPTO_H

#include "cbor.h"
#include "mbedtls/sha256.h"

enum { TML_DIGEST_BYTES = 32, TML_KEY_BYTES = 32, TML_SIGNATURE_BYTES = 64, TML_KID_BYTES = 8 };

typedef mbedtls_sha256_context tml_sha256_t;

void tml_sha256_begin(tml_sha256_t *sha);
void tml_sha256_add(tml_sha256_t *sha, const uint8_t *data, uint32_t size);
void tml_sha256_end(tml_sha256_t *sha, uint8_t digest[TML_DIGEST_BYTES]);
void tml_sha256(const uint8_t *data, uint32_t size, uint8_t digest[TML_DIGEST_BYTES]);

/* The SHA-512 of the pieces back to back, as a number modulo the group's order. */
void tml_ed25519_challenge(const tml_bytes_t *pieces, uint32_t count, uint8_t number[32]);
/* Whether the signature answers the challenge of R, key and message. */
bool tml_ed25519_holds(const uint8_t key[TML_KEY_BYTES],
                       const uint8_t signature[TML_SIGNATURE_BYTES], const uint8_t number[32]);

/* CRC-32 of IEEE 802.3; start with crc 0. */
uint32_t tml_crc32(uint32_t crc, const uint8_t *data, uint32_t size);

#endif
