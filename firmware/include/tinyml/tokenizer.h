/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw UTF-8 text to token ids: the byte-pair tokenizer of EmbBERT-Q on the device. Equal to the
 * `tokenizers` library with the settings of tinyml/text/tokenizer.py for every text whose words
 * have at most TML_WORD_MAX characters.
 */
#ifndef TINYML_TOKENIZER_H
#define TINYML_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TML_TOKEN_PAD = 0,
    TML_TOKEN_UNKNOWN = 1,
    TML_TOKEN_CLS = 2,
    TML_WORD_MAX = 256, /* characters; longer words are cut into pieces of this many */
    TML_TOKENIZER_WORK_BYTES = 4 * TML_WORD_MAX
};

/* A trained tokenizer in flash; written by `tinyml` as NAME_tokenizer. */
typedef struct {
    /* merge_count entries of 40 bits, big endian, ascending: left id (13 bits), right id (13),
     * rank (14). The merge of rank r makes the id first_merge_id + r. */
    const uint8_t *merges;
    uint16_t merge_count;
    uint16_t first_merge_id;
    const uint8_t *characters; /* ids of ASCII 33..126; 0 for those outside the alphabet */
} tml_tokenizer_t;

/* What became of a text. */
typedef struct {
    uint16_t tokens;        /* ids written, [CLS] included, padding not */
    uint16_t unknown;       /* [UNK] among them: characters outside the alphabet */
    uint16_t invalid_bytes; /* bytes that are no UTF-8, skipped; saturates */
    bool truncated;         /* the text has more tokens than fit */
    bool word_cut;          /* a word was longer than TML_WORD_MAX */
} tml_tokenized_t;

/* Writes [CLS], the text's tokens as far as they fit, and padding.
 *
 * text: `bytes` bytes, which need not be valid UTF-8 nor end with 0.
 * ids: `length` ids, at least 1.
 * work: TML_TOKENIZER_WORK_BYTES, 2-byte aligned; its contents do not matter. */
tml_tokenized_t tml_tokenize(const tml_tokenizer_t *tokenizer, const char *text, size_t bytes,
                             int32_t *ids, uint16_t length, void *work);

#ifdef __cplusplus
}
#endif
#endif
