/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto.h"

#include "mbedtls/sha512.h"
#include "monocypher.h"

void tml_sha256_begin(tml_sha256_t *sha) {
    mbedtls_sha256_init(sha);
    mbedtls_sha256_starts_ret(sha, 0);
}

void tml_sha256_add(tml_sha256_t *sha, const uint8_t *data, uint32_t size) {
    mbedtls_sha256_update_ret(sha, data, size);
}

void tml_sha256_end(tml_sha256_t *sha, uint8_t digest[TML_DIGEST_BYTES]) {
    mbedtls_sha256_finish_ret(sha, digest);
}

void tml_sha256(const uint8_t *data, uint32_t size, uint8_t digest[TML_DIGEST_BYTES]) {
    tml_sha256_t sha;
    tml_sha256_begin(&sha);
    tml_sha256_add(&sha, data, size);
    tml_sha256_end(&sha, digest);
}

/* Monocypher's own EdDSA hashes with BLAKE2b; that of RFC 8032 hashes with SHA-512. */
void tml_ed25519_challenge(const tml_bytes_t *pieces, uint32_t count, uint8_t number[32]) {
    mbedtls_sha512_context sha;
    uint8_t hash[64];
    mbedtls_sha512_init(&sha);
    mbedtls_sha512_starts_ret(&sha, 0);
    for (uint32_t i = 0; i < count; ++i) {
        mbedtls_sha512_update_ret(&sha, pieces[i].data, pieces[i].size);
    }
    mbedtls_sha512_finish_ret(&sha, hash);
    crypto_eddsa_reduce(number, hash);
}

bool tml_ed25519_holds(const uint8_t key[TML_KEY_BYTES],
                       const uint8_t signature[TML_SIGNATURE_BYTES], const uint8_t number[32]) {
    return crypto_eddsa_check_equation(signature, key, number) == 0;
}

uint32_t tml_crc32(uint32_t crc, const uint8_t *data, uint32_t size) {
    crc = ~crc;
    while (size--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}
