/* SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include "memory.h"
#include "protocol.h"

/* Numbers are stored by their low bytes, which is right on little-endian machines only. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian machine");

static const uint8_t sizes[] = {
    1, 2, 4, 8, 4, 1, 4, 1, sizeof(tml_bytes_t), sizeof(tml_bytes_t), sizeof(tml_bytes_t)};

static uint32_t kind_of(const tml_field_t *field) {
    return field->kind & ~(uint32_t)TML_KIND_OPTIONAL;
}

/* Bytes of one element in the structure. */
static uint32_t size_of(const tml_field_t *field) {
    const uint32_t kind = kind_of(field);
    return kind == TML_KIND_MESSAGE ? tml_messages[field->low].size : sizes[kind];
}

static bool decode_map(tml_reader_t *reader, const tml_message_t *message, uint8_t *structure);

static bool decode_integer(tml_reader_t *reader, const tml_field_t *field, uint8_t *to) {
    tml_cbor_head_t head;
    if (!tml_cbor_head(reader, &head)) return false;
    const bool negative = head.major == TML_CBOR_NEGATIVE;
    if (head.major != TML_CBOR_UINT && !negative) return false;
    const uint32_t kind = kind_of(field);
    if (negative && kind != TML_KIND_INT32) return false;
    uint64_t most = UINT64_MAX >> (64 - 8 * sizes[kind]);
    if (kind == TML_KIND_INT32) most >>= 1;
    if (kind == TML_KIND_ENUM) most = field->high;
    if (head.value > most) return false;
    const uint64_t value = negative ? ~head.value : head.value;
    memcpy(to, &value, sizes[kind]);
    return true;
}

static bool decode_value(tml_reader_t *reader, const tml_field_t *field, uint8_t *to) {
    const uint32_t kind = kind_of(field);
    tml_bytes_t view;
    switch (kind) {
    case TML_KIND_FLOAT: {
        float value;
        if (!tml_cbor_float(reader, &value)) return false;
        memcpy(to, &value, sizeof value);
        return true;
    }
    case TML_KIND_BOOL: {
        tml_cbor_head_t head;
        if (!tml_cbor_head(reader, &head) || head.major != TML_CBOR_SIMPLE) return false;
        if (head.info != TML_CBOR_FALSE && head.info != TML_CBOR_TRUE) return false;
        *to = head.info == TML_CBOR_TRUE;
        return true;
    }
    case TML_KIND_TEXT:
    case TML_KIND_BYTES: {
        const tml_cbor_major_t major = kind == TML_KIND_TEXT ? TML_CBOR_TEXT : TML_CBOR_BYTES;
        if (!tml_cbor_string(reader, major, &view)) return false;
        if (view.size < field->low || view.size > field->high) return false;
        memcpy(to, &view, sizeof view);
        return true;
    }
    case TML_KIND_PROPERTIES: {
        view.data = reader->at;
        if (reader->at == reader->end || *reader->at >> 5 != TML_CBOR_MAP) return false;
        if (!tml_cbor_skip(reader)) return false;
        view.size = (uint32_t)(reader->at - view.data);
        memcpy(to, &view, sizeof view);
        return true;
    }
    case TML_KIND_MESSAGE:
        return decode_map(reader, &tml_messages[field->low], to);
    default:
        return decode_integer(reader, field, to);
    }
}

static bool decode_field(tml_reader_t *reader, const tml_field_t *field, uint8_t *to) {
    if (field->count == 0) return decode_value(reader, field, to);
    uint64_t elements;
    if (!tml_cbor_expect(reader, TML_CBOR_ARRAY, &elements)) return false;
    if (elements > field->count) return false;
    const uint32_t number = (uint32_t)elements;
    const uint32_t size = size_of(field);
    memcpy(to + size * field->count, &number, sizeof number);
    for (uint32_t i = 0; i < number; ++i, to += size) {
        if (!decode_value(reader, field, to)) return false;
    }
    return true;
}

/* The calls are as deep as messages lie in each other in protocol.cddl: two. */
static bool decode_map(tml_reader_t *reader, const tml_message_t *message, uint8_t *structure) {
    uint64_t pairs;
    if (!tml_cbor_expect(reader, TML_CBOR_MAP, &pairs)) return false;
    uint32_t has = 0, index = 0;
    uint64_t next_key = 0;
    for (; pairs > 0; --pairs) {
        uint64_t key;
        if (!tml_cbor_expect(reader, TML_CBOR_UINT, &key) || key < next_key) return false;
        next_key = key + 1;
        for (; index < message->count && message->fields[index].key < key; ++index) {
            if (!(message->fields[index].kind & TML_KIND_OPTIONAL)) return false;
        }
        if (index == message->count || message->fields[index].key != key) {
            if (!tml_cbor_skip(reader)) return false;
            continue;
        }
        const tml_field_t *field = &message->fields[index];
        if (!decode_field(reader, field, structure + field->offset)) return false;
        has |= 1u << index++;
    }
    for (; index < message->count; ++index) {
        if (!(message->fields[index].kind & TML_KIND_OPTIONAL)) return false;
    }
    memcpy(structure, &has, sizeof has);
    return true;
}

bool tml_decode(uint32_t message, tml_bytes_t data, void *structure) {
    tml_reader_t reader = {data.data, data.data + data.size};
    memset(structure, 0, tml_messages[message].size);
    return decode_map(&reader, &tml_messages[message], structure) && reader.at == reader.end;
}

static void encode_map(tml_writer_t *writer, const tml_message_t *message, const uint8_t *from);

static void encode_value(tml_writer_t *writer, const tml_field_t *field, const uint8_t *from) {
    const uint32_t kind = kind_of(field);
    switch (kind) {
    case TML_KIND_FLOAT: {
        float value;
        memcpy(&value, from, sizeof value);
        tml_cbor_put_float(writer, value);
        return;
    }
    case TML_KIND_BOOL: {
        tml_cbor_put_head(writer, TML_CBOR_SIMPLE, *from ? TML_CBOR_TRUE : TML_CBOR_FALSE);
        return;
    }
    case TML_KIND_TEXT:
    case TML_KIND_BYTES:
    case TML_KIND_PROPERTIES: {
        tml_bytes_t view;
        memcpy(&view, from, sizeof view);
        if (kind != TML_KIND_PROPERTIES) {
            const tml_cbor_major_t major = kind == TML_KIND_TEXT ? TML_CBOR_TEXT : TML_CBOR_BYTES;
            tml_cbor_put_head(writer, major, view.size);
        }
        tml_cbor_put_raw(writer, view.data, view.size);
        return;
    }
    case TML_KIND_MESSAGE:
        encode_map(writer, &tml_messages[field->low], from);
        return;
    case TML_KIND_INT32: {
        int32_t value;
        memcpy(&value, from, sizeof value);
        const bool negative = value < 0;
        tml_cbor_put_head(writer, negative ? TML_CBOR_NEGATIVE : TML_CBOR_UINT,
                          (uint32_t)(negative ? ~value : value));
        return;
    }
    default: {
        uint64_t value = 0;
        memcpy(&value, from, sizes[kind]);
        tml_cbor_put_head(writer, TML_CBOR_UINT, value);
    }
    }
}

static void encode_map(tml_writer_t *writer, const tml_message_t *message, const uint8_t *from) {
    uint32_t has, pairs = 0;
    memcpy(&has, from, sizeof has);
    for (uint32_t i = 0; i < message->count; ++i) {
        if (!(message->fields[i].kind & TML_KIND_OPTIONAL)) has |= 1u << i;
        pairs += has >> i & 1;
    }
    tml_cbor_put_head(writer, TML_CBOR_MAP, pairs);
    for (uint32_t i = 0; i < message->count; ++i) {
        const tml_field_t *field = &message->fields[i];
        if (!(has >> i & 1)) continue;
        tml_cbor_put_head(writer, TML_CBOR_UINT, field->key);
        const uint8_t *element = from + field->offset;
        const uint32_t size = size_of(field);
        uint32_t elements = 1;
        if (field->count) {
            memcpy(&elements, element + size * field->count, sizeof elements);
            if (elements > field->count) elements = field->count;
            tml_cbor_put_head(writer, TML_CBOR_ARRAY, elements);
        }
        for (; elements > 0; --elements, element += size) {
            encode_value(writer, field, element);
        }
    }
}

uint32_t tml_encode(uint32_t message, const void *structure, uint8_t *to, uint32_t room) {
    tml_writer_t writer = {to, to + room, false};
    encode_map(&writer, &tml_messages[message], structure);
    return writer.full ? 0 : (uint32_t)(writer.at - to);
}
