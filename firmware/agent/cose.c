/* SPDX-License-Identifier: Apache-2.0 */
#include "cose.h"

#include "memory.h"

enum { TAG_SIGN1 = 18, KID = 4 };

/* {1: -8}: the algorithm is EdDSA. */
static const uint8_t protected_header[] = {0xA1, 0x01, 0x27};

static bool is_number(tml_reader_t *reader, tml_cbor_major_t major, uint64_t wanted) {
    uint64_t value;
    return tml_cbor_expect(reader, major, &value) && value == wanted;
}

/* Tag 18 over [protected, {4: kid}, payload, signature]. */
static bool parse(tml_bytes_t envelope, tml_bytes_t *kid, tml_bytes_t *payload,
                  tml_bytes_t *signature) {
    tml_reader_t reader = {envelope.data, envelope.data + envelope.size};
    tml_bytes_t header;
    return is_number(&reader, TML_CBOR_TAG, TAG_SIGN1) && is_number(&reader, TML_CBOR_ARRAY, 4) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, &header) &&
           header.size == sizeof protected_header &&
           memcmp(header.data, protected_header, sizeof protected_header) == 0 &&
           is_number(&reader, TML_CBOR_MAP, 1) && is_number(&reader, TML_CBOR_UINT, KID) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, kid) && kid->size == TML_KID_BYTES &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, payload) &&
           tml_cbor_string(&reader, TML_CBOR_BYTES, signature) &&
           signature->size == TML_SIGNATURE_BYTES && reader.at == reader.end;
}

tml_reason_t tml_cose_open(tml_bytes_t envelope, const uint8_t (*keys)[TML_KEY_BYTES],
                           uint32_t key_count, tml_bytes_t *payload) {
    tml_bytes_t kid, signature;
    if (!parse(envelope, &kid, payload, &signature)) return TML_REASON_BAD_MESSAGE;
    const uint8_t *key = 0;
    for (uint32_t i = 0; i < key_count && !key; ++i) {
        uint8_t digest[TML_DIGEST_BYTES];
        tml_sha256(keys[i], TML_KEY_BYTES, digest);
        if (memcmp(digest, kid.data, TML_KID_BYTES) == 0) key = keys[i];
    }
    if (!key) return TML_REASON_UNKNOWN_KEY;
    /* Sig_structure of section 4.4: ["Signature1", protected, empty external data, payload]. */
    static const uint8_t start[] = {0x84, 0x6A, 'S', 'i',  'g',  'n',  'a',  't', 'u',
                                    'r',  'e',  '1', 0x43, 0xA1, 0x01, 0x27, 0x40};
    uint8_t head[5];
    tml_writer_t writer = {head, head + sizeof head, false};
    tml_cbor_put_head(&writer, TML_CBOR_BYTES, payload->size);
    const tml_bytes_t pieces[] = {
        {start, sizeof start}, {head, (uint32_t)(writer.at - head)}, *payload};
    if (!tml_ed25519_verify(key, signature.data, pieces, 3)) return TML_REASON_BAD_SIGNATURE;
    return TML_REASON_OK;
}
