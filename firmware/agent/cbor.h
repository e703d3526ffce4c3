/* SPDX-License-Identifier: Apache-2.0
 *
 * Items of CBOR (RFC 8949) in the core deterministic encoding of section 4.2.1: shortest integers
 * and floats, definite lengths. Nothing else is accepted.
 */
#ifndef TINYML_AGENT_CBOR_H
#define TINYML_AGENT_CBOR_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that belong to someone else. */
typedef struct {
    const uint8_t *data;
    uint32_t size;
} tml_bytes_t;

typedef enum {
    TML_CBOR_UINT = 0,
    TML_CBOR_NEGATIVE = 1, /* the number is -1 - value */
    TML_CBOR_BYTES = 2,    /* value bytes follow */
    TML_CBOR_TEXT = 3,
    TML_CBOR_ARRAY = 4, /* value items follow */
    TML_CBOR_MAP = 5,   /* twice value items follow */
    TML_CBOR_TAG = 6,   /* one item follows */
    TML_CBOR_SIMPLE = 7 /* info tells: false, true, null, or the width of a float */
} tml_cbor_major_t;

enum { TML_CBOR_FALSE = 20, TML_CBOR_TRUE = 21, TML_CBOR_NULL = 22 };
enum { TML_CBOR_F16 = 25, TML_CBOR_F32 = 26, TML_CBOR_F64 = 27 };

/* The first bytes of an item. */
typedef struct {
    uint64_t value;
    uint8_t major, info;
} tml_cbor_head_t;

/* What is left to read. After a failed call nothing of it means anything. */
typedef struct {
    const uint8_t *at, *end;
} tml_reader_t;

/* Each returns whether the item was there and well formed. */
bool tml_cbor_head(tml_reader_t *reader, tml_cbor_head_t *head);
/* A head that must have this major type. */
bool tml_cbor_expect(tml_reader_t *reader, tml_cbor_major_t major, uint64_t *value);
/* A text or byte string; the view points into what is read. */
bool tml_cbor_string(tml_reader_t *reader, tml_cbor_major_t major, tml_bytes_t *view);
bool tml_cbor_float(tml_reader_t *reader, float *value);
/* One item with all that is in it. */
bool tml_cbor_skip(tml_reader_t *reader);

/* Where writing goes on. */
typedef struct {
    uint8_t *at, *end;
    bool full; /* something did not fit; what is there is worthless */
} tml_writer_t;

void tml_cbor_put_head(tml_writer_t *writer, tml_cbor_major_t major, uint64_t value);
void tml_cbor_put_raw(tml_writer_t *writer, const uint8_t *data, uint32_t size);
void tml_cbor_put_float(tml_writer_t *writer, float value);

#endif
