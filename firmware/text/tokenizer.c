/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/tokenizer.h"

#include "normalise.h"

enum { MERGE_BYTES = 5, NO_MERGE = UINT16_MAX };

typedef enum { NOTHING, WORD, PUNCTUATION } kind_t;

typedef struct {
    const tml_tokenizer_t *tokenizer;
    int32_t *ids;
    uint16_t length;
    uint16_t *symbols; /* the ids of the word so far */
    uint16_t *ranks;   /* ranks[i]: rank of the merge of symbols i and i + 1 */
    uint16_t count;
    kind_t kind;
    tml_tokenized_t result;
} state_t;

static uint16_t merge_rank(const tml_tokenizer_t *t, uint16_t left, uint16_t right) {
    const uint32_t key = ((uint32_t)left << 13) | right;
    uint32_t low = 0, high = t->merge_count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        const uint8_t *e = t->merges + MERGE_BYTES * middle;
        const uint32_t word =
            ((uint32_t)e[0] << 24) | ((uint32_t)e[1] << 16) | ((uint32_t)e[2] << 8) | e[3];
        if (word >> 6 == key) return (uint16_t)((word & 0x3Fu) << 8 | e[4]);
        if (word >> 6 < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NO_MERGE;
}

static void emit(state_t *s, uint16_t id) {
    if (s->result.tokens == s->length) {
        s->result.truncated = true;
        return;
    }
    s->ids[s->result.tokens++] = id;
    if (id == TML_TOKEN_UNKNOWN) ++s->result.unknown;
}

static void rank_pair(state_t *s, uint32_t i) {
    s->ranks[i] = merge_rank(s->tokenizer, s->symbols[i], s->symbols[i + 1]);
}

/* Merges the pair of lowest rank, the leftmost of equals, until none is left. */
static void end_word(state_t *s) {
    uint32_t count = s->count;
    for (uint32_t i = 0; i + 1 < count; ++i) rank_pair(s, i);
    while (count > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < count; ++i) {
            if (s->ranks[i] < s->ranks[best]) best = i;
        }
        if (s->ranks[best] == NO_MERGE) break;
        s->symbols[best] = (uint16_t)(s->tokenizer->first_merge_id + s->ranks[best]);
        --count;
        for (uint32_t i = best + 1; i < count; ++i) {
            s->symbols[i] = s->symbols[i + 1];
            s->ranks[i - 1] = s->ranks[i];
        }
        if (best > 0) rank_pair(s, best - 1);
        if (best + 1 < count) rank_pair(s, best);
    }
    for (uint32_t i = 0; i < count; ++i) emit(s, s->symbols[i]);
    s->count = 0;
    s->kind = NOTHING;
}

static kind_t kind_of(uint8_t character) {
    const bool letter = character >= 'a' && character <= 'z';
    const bool digit = character >= '0' && character <= '9';
    return letter || digit || character == '_' ? WORD : PUNCTUATION;
}

/* A printable ASCII character, lowered already. */
static void add_character(state_t *s, uint8_t character) {
    const uint8_t id = s->tokenizer->characters[character - 33];
    if (id == 0) {
        end_word(s);
        emit(s, TML_TOKEN_UNKNOWN);
        return;
    }
    const kind_t kind = kind_of(character);
    if (kind != s->kind) end_word(s);
    if (s->count == TML_WORD_MAX) {
        s->result.word_cut = true;
        end_word(s);
    }
    s->kind = kind;
    s->symbols[s->count++] = id;
}

static void add_code_point(state_t *s, uint32_t c) {
    if (c < 0x80) {
        if (c >= 33 && c <= 126) {
            add_character(s, (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            end_word(s);
        } /* other control characters vanish */
        return;
    }
    const uint8_t form = tml_normal_form(c);
    if (form >= 33) {
        add_character(s, form);
    } else if (form != NORMAL_NOTHING) {
        end_word(s);
        for (uint32_t i = NORMAL_SPACE; i < form; ++i) emit(s, TML_TOKEN_UNKNOWN);
    }
}

/* Bytes of the code point at `text`, 0 where it is no UTF-8. */
static uint32_t decode(const uint8_t *text, size_t left, uint32_t *c) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t first = text[0];
    const uint32_t bytes = first < 0x80                    ? 1
                           : first >= 0xC2 && first < 0xE0 ? 2
                           : first >= 0xE0 && first < 0xF0 ? 3
                           : first >= 0xF0 && first < 0xF5 ? 4
                                                           : 0;
    if (bytes == 0 || bytes > left) return 0;
    uint32_t value = bytes == 1 ? first : first & (0x7Fu >> bytes);
    for (uint32_t i = 1; i < bytes; ++i) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (text[i] & 0x3Fu);
    }
    const bool surrogate = value >= 0xD800 && value < 0xE000;
    if (value < smallest[bytes] || value > 0x10FFFF || surrogate) return 0;
    *c = value;
    return bytes;
}

tml_tokenized_t tml_tokenize(const tml_tokenizer_t *tokenizer, const char *text, size_t bytes,
                             int32_t *ids, uint16_t length, void *work) {
    state_t s = {.tokenizer = tokenizer, .ids = ids, .length = length};
    s.symbols = (uint16_t *)work;
    s.ranks = s.symbols + TML_WORD_MAX;
    emit(&s, TML_TOKEN_CLS);
    const uint8_t *at = (const uint8_t *)text;
    const uint8_t *const end = at + bytes;
    while (at < end && !s.result.truncated) {
        uint32_t c = 0;
        const uint32_t taken = decode(at, (size_t)(end - at), &c);
        if (taken) {
            add_code_point(&s, c);
            at += taken;
        } else {
            ++at;
            if (s.result.invalid_bytes < UINT16_MAX) ++s.result.invalid_bytes;
        }
    }
    end_word(&s);
    for (uint32_t i = s.result.tokens; i < length; ++i) ids[i] = TML_TOKEN_PAD;
    return s.result;
}
