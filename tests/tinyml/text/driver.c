/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokenizes texts.bin (each: uint32 bytes, the bytes) into tokens.bin (each: five int32 of the
 * result, then LENGTH ids). */
#include <stdio.h>
#include <stdlib.h>

#include "golden_tokenizer.h"

int main(void) {
    FILE *in = fopen("texts.bin", "rb"), *out = fopen("tokens.bin", "wb");
    uint32_t bytes;
    if (!in || !out) return 1;
    while (fread(&bytes, sizeof bytes, 1, in) == 1) {
        /* Exactly as long as the text, so that a sanitizer sees any read beyond it. */
        char *text = malloc(bytes ? bytes : 1);
        int32_t *ids = malloc(LENGTH * sizeof *ids);
        uint16_t *work = malloc(TML_TOKENIZER_WORK_BYTES);
        if (!text || !ids || !work || fread(text, 1, bytes, in) != bytes) return 2;
        const tml_tokenized_t r = tml_tokenize(&golden_tokenizer, text, bytes, ids, LENGTH, work);
        const int32_t seen[5] = {r.tokens, r.unknown, r.invalid_bytes, r.truncated, r.word_cut};
        fwrite(seen, sizeof seen[0], 5, out);
        fwrite(ids, sizeof *ids, LENGTH, out);
        free(text);
        free(ids);
        free(work);
    }
    return fclose(in) || fclose(out);
}
