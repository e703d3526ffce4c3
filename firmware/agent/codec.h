/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of protocol.h to bytes and back, by tables generated from the CDDL.
 */
#ifndef TINYML_AGENT_CODEC_H
#define TINYML_AGENT_CODEC_H

#include "cbor.h"

/* By width where numbers have several; see `sizes` in codec.c. */
typedef enum {
    TML_KIND_UINT8,
    TML_KIND_UINT16,
    TML_KIND_UINT32,
    TML_KIND_UINT64,
    TML_KIND_INT32,
    TML_KIND_ENUM, /* one byte, up to `high` */
    TML_KIND_FLOAT,
    TML_KIND_BOOL,
    TML_KIND_TEXT,       /* a view of `low` to `high` bytes */
    TML_KIND_BYTES,      /* the same */
    TML_KIND_PROPERTIES, /* a view of the whole map as it is encoded */
    TML_KIND_MESSAGE,    /* tml_messages[low] */
    TML_KIND_OPTIONAL = 0x80
} tml_kind_t;

typedef struct {
    uint8_t key, kind;
    uint8_t count; /* elements of an array, whose number follows it as uint32_t; 0: no array */
    uint8_t low;
    uint16_t high;
    uint16_t offset; /* in the structure */
} tml_field_t;

typedef struct {
    const tml_field_t *fields; /* by ascending key */
    uint16_t size;             /* of the structure */
    uint8_t count;
} tml_message_t;

/* Reads the message TML_MESSAGE_* into its structure. Keys it does not know are skipped. Views
 * point into `data`. False: not this message; the structure then holds nothing of use. */
bool tml_decode(uint32_t message, tml_bytes_t data, void *structure);

/* Writes a message; returns its size, 0 when it does not fit. */
uint32_t tml_encode(uint32_t message, const void *structure, uint8_t *to, uint32_t room);

#endif
