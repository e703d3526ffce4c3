/* SPDX-License-Identifier: Apache-2.0 */
#include "cbor.h"

#include "memory.h"

static uint32_t left(const tml_reader_t *reader) {
    return (uint32_t)(reader->end - reader->at);
}

bool tml_cbor_head(tml_reader_t *reader, tml_cbor_head_t *head) {
    if (left(reader) == 0) return false;
    const uint8_t first = *reader->at++;
    head->major = first >> 5;
    head->info = first & 31;
    head->value = head->info;
    if (head->info < 24) return true;
    if (head->info > 27) return false;
    const uint32_t width = 1u << (head->info - 24);
    if (left(reader) < width) return false;
    uint64_t value = 0;
    for (uint32_t i = 0; i < width; ++i) value = value << 8 | *reader->at++;
    head->value = value;
    /* Simple values of two bytes are none of ours; a float's width is judged with its value. */
    if (head->major == TML_CBOR_SIMPLE) return width > 1;
    return width == 1 ? value >= 24 : value >> (4 * width) != 0;
}

bool tml_cbor_expect(tml_reader_t *reader, tml_cbor_major_t major, uint64_t *value) {
    tml_cbor_head_t head;
    if (!tml_cbor_head(reader, &head) || head.major != major) return false;
    *value = head.value;
    return true;
}

bool tml_cbor_string(tml_reader_t *reader, tml_cbor_major_t major, tml_bytes_t *view) {
    uint64_t size;
    if (!tml_cbor_expect(reader, major, &size) || size > left(reader)) return false;
    view->data = reader->at;
    view->size = (uint32_t)size;
    reader->at += view->size;
    return true;
}

bool tml_cbor_skip(tml_reader_t *reader) {
    uint64_t items = 1;
    while (items--) {
        tml_cbor_head_t head;
        if (!tml_cbor_head(reader, &head)) return false;
        const bool counts = head.major >= TML_CBOR_BYTES && head.major <= TML_CBOR_MAP;
        /* Each byte and each item takes at least a byte. */
        if (counts && head.value > left(reader)) return false;
        if (head.major == TML_CBOR_BYTES || head.major == TML_CBOR_TEXT) {
            reader->at += head.value;
        } else if (head.major == TML_CBOR_ARRAY) {
            items += head.value;
        } else if (head.major == TML_CBOR_MAP) {
            items += 2 * head.value;
        } else if (head.major == TML_CBOR_TAG) {
            ++items;
        }
    }
    return true;
}

/* binary32 as binary16, where that loses nothing; IEEE 754-2008 section 3.6. */
static bool as_half(uint32_t bits, uint16_t *half) {
    const uint32_t fraction = bits & 0x7FFFFFu;
    const int32_t exponent = (int32_t)(bits >> 23 & 0xFF) - 127;
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t value;
    uint32_t lost; /* fraction bits that binary16 has no room for */
    if (exponent == 128) {
        /* One NaN stands for all. */
        *half = fraction ? 0x7E00u : (uint16_t)(sign | 0x7C00u);
        return true;
    }
    if (exponent == -127) {
        value = 0;
        lost = fraction;
    } else if (exponent >= -14 && exponent <= 15) {
        value = (uint32_t)(exponent + 15) << 10 | fraction >> 13;
        lost = fraction & 0x1FFFu;
    } else if (exponent >= -24 && exponent < -14) {
        const uint32_t whole = fraction | 0x800000u;
        const uint32_t shift = (uint32_t)(-1 - exponent);
        value = whole >> shift;
        lost = whole & ((1u << shift) - 1);
    } else {
        return false;
    }
    *half = (uint16_t)(sign | value);
    return lost == 0;
}

static uint32_t from_half(uint32_t half) {
    const uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31;
    uint32_t fraction = half & 0x3FFu;
    if (exponent == 31) return sign | 0x7F800000u | fraction << 13;
    if (exponent == 0) {
        if (fraction == 0) return sign;
        for (exponent = 1; !(fraction & 0x400u); --exponent) fraction <<= 1;
        fraction &= 0x3FFu;
    }
    return sign | (exponent + 112) << 23 | fraction << 13;
}

bool tml_cbor_float(tml_reader_t *reader, float *value) {
    tml_cbor_head_t head;
    if (!tml_cbor_head(reader, &head) || head.major != TML_CBOR_SIMPLE) return false;
    uint32_t bits = (uint32_t)head.value;
    uint16_t half;
    if (head.info == TML_CBOR_F16) {
        bits = from_half(bits);
        /* Other NaNs than the one are not deterministic. */
        if (!as_half(bits, &half) || half != head.value) return false;
    } else if (head.info != TML_CBOR_F32 || as_half(bits, &half)) {
        return false;
    }
    memcpy(value, &bits, sizeof bits);
    return true;
}

static uint8_t *claim(tml_writer_t *writer, uint32_t size) {
    writer->full |= size > (uint32_t)(writer->end - writer->at);
    if (writer->full) return 0;
    uint8_t *to = writer->at;
    writer->at += size;
    return to;
}

static void put_head(tml_writer_t *writer, uint32_t major, uint32_t info, uint64_t value) {
    const uint32_t width = info < 24 ? 0 : 1u << (info - 24);
    uint8_t *to = claim(writer, 1 + width);
    if (!to) return;
    *to = (uint8_t)(major << 5 | info);
    for (uint32_t i = width; i > 0; --i, value >>= 8) to[i] = (uint8_t)value;
}

void tml_cbor_put_head(tml_writer_t *writer, tml_cbor_major_t major, uint64_t value) {
    uint32_t info = 27;
    if (value < 24) {
        info = (uint32_t)value;
    } else if (value <= UINT8_MAX) {
        info = 24;
    } else if (value <= UINT16_MAX) {
        info = 25;
    } else if (value <= UINT32_MAX) {
        info = 26;
    }
    put_head(writer, major, info, value);
}

void tml_cbor_put_raw(tml_writer_t *writer, const uint8_t *data, uint32_t size) {
    uint8_t *to = claim(writer, size);
    if (to && size) memcpy(to, data, size);
}

void tml_cbor_put_float(tml_writer_t *writer, float value) {
    uint32_t bits;
    uint16_t half;
    memcpy(&bits, &value, sizeof bits);
    if (as_half(bits, &half)) {
        put_head(writer, TML_CBOR_SIMPLE, TML_CBOR_F16, half);
    } else {
        put_head(writer, TML_CBOR_SIMPLE, TML_CBOR_F32, bits);
    }
}
