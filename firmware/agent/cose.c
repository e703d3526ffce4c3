/* SPDX-License-Identifier: Apache-2.0 */
#include "cose.h"

#include "memory.h"

enum { TAG_SIGN1 = 18, KID = 4 };

/* What these need is not on the stack while the signature is verified, which needs most of it. */
#define APART __attribute__((noinline))

/* {1: -8}: the algorithm is EdDSA. */
static const uint8_t protected_header[] = {0xA1, 0x01, 0x27};

static bool is_number(tml_reader_t *reader, tml_cbor_major_t major, uint64_t wanted) {
    uint64_t value;
    return tml_cbor_expect(reader, major, &value) && value == wanted;
}

typedef struct {
    tml_bytes_t kid, payload, signature;
} envelope_t;

/* Tag 18 over [protected, {4: kid}, payload, signature]. */
static APART bool parse(tml_bytes_t envelope, envelope_t *parts) {
    tml_reader_t reader = {envelope.data, envelope.data + envelope.size};
    tml_bytes_t header;
    return is_number(&reader, TML_CBOR_TAG, TAG_SIGN1) && is_number(&reader, TML_CBOR_ARRAY, 4) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, &header) &&
           header.size == sizeof protected_header &&
           memcmp(header.data, protected_header, sizeof protected_header) == 0 &&
           is_number(&reader, TML_CBOR_MAP, 1) && is_number(&reader, TML_CBOR_UINT, KID) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, &parts->kid) &&
           parts->kid.size == TML_KID_BYTES &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, &parts->payload) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, &parts->signature) &&
           parts->signature.size == TML_SIGNATURE_BYTES && reader.at == reader.end;
}

static APART const uint8_t *find_key(tml_bytes_t kid, const uint8_t (*keys)[TML_KEY_BYTES],
                                     uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        uint8_t digest[TML_DIGEST_BYTES];
        tml_sha256(keys[i], TML_KEY_BYTES, digest);
        if (memcmp(digest, kid.data, TML_KID_BYTES) == 0) return keys[i];
    }
    return 0;
}

/* RFC 8032 section 5.1.7: SHA-512(R, A, M) as a number. M is the Sig_structure of section 4.4:
 * ["Signature1", protected, empty external data, payload]. */
static APART void challenge(const envelope_t *parts, const uint8_t *key, uint8_t number[32]) {
    static const uint8_t start[] = {0x84, 0x6A, 'S', 'i',  'g',  'n',  'a',  't', 'u',
                                    'r',  'e',  '1', 0x43, 0xA1, 0x01, 0x27, 0x40};
    uint8_t head[5];
    tml_writer_t writer = {head, head + sizeof head, false};
    tml_cbor_put_head(&writer, TML_CBOR_BYTES, parts->payload.size);
    const tml_bytes_t pieces[] = {{parts->signature.data, 32},
                                  {key, TML_KEY_BYTES},
                                  {start, sizeof start},
                                  {head, (uint32_t)(writer.at - head)},
                                  parts->payload};
    tml_ed25519_challenge(pieces, sizeof pieces / sizeof *pieces, number);
}

tml_reason_t tml_cose_open(tml_bytes_t envelope, const uint8_t (*keys)[TML_KEY_BYTES],
                           uint32_t key_count, tml_bytes_t *payload) {
    envelope_t parts;
    uint8_t number[32];
    if (!parse(envelope, &parts)) return TML_REASON_BAD_MESSAGE;
    const uint8_t *key = find_key(parts.kid, keys, key_count);
    if (!key) return TML_REASON_UNKNOWN_KEY;
    challenge(&parts, key, number);
    *payload = parts.payload;
    return tml_ed25519_holds(key, parts.signature.data, number) ? TML_REASON_OK
                                                                : TML_REASON_BAD_SIGNATURE;
}
