/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw text in, label out, on the device: reads text.txt, prints the label with its scores.
 * Everything between is integers; the only memory is the model's arena, the text, and 1 KiB for
 * the tokenizer. `tinyml classify` runs this program; one of your own may begin from it.
 */
#include TML_MODEL_HEADER

#include "classes.h" /* const char *const classes[] */
#include "port.h"
#include "text_tokenizer.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define MODEL JOIN(TML_MODEL_NAME, _model)

enum { MOST_TEXT = 8192, MOST_LINE = 160 };

static uint8_t arena[JOIN(TML_MODEL_NAME, _arena_bytes)] TML_ALIGNED;
static uint16_t work[TML_TOKENIZER_WORK_BYTES / sizeof(uint16_t)];
static char text[MOST_TEXT + 1]; /* one more tells that there is more */

static char line[MOST_LINE];
static size_t used;

static void say(const char *word) {
    while (*word && used + 1 < MOST_LINE) line[used++] = *word++;
    line[used] = 0;
}

static void say_number(int32_t value) {
    char digits[12];
    size_t at = sizeof digits - 1;
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) digits[--at] = '-';
    say(digits + at);
}

int main(void) {
    const tml_io_t *input = &MODEL.inputs[0], *output = &MODEL.outputs[0];
    int32_t *ids = (int32_t *)(void *)(arena + input->offset);
    const uint16_t length = (uint16_t)(input->bytes / sizeof *ids);
    const int file = tml_open("text.txt", TML_READ);
    if (file < 0) {
        tml_print("text.txt: cannot open");
        return 1;
    }
    int32_t bytes = tml_read(file, text, sizeof text);
    if (bytes < 0) {
        tml_print("text.txt: cannot read");
        return 1;
    }
    const bool longer = bytes > MOST_TEXT;
    if (longer) bytes = MOST_TEXT;
    const tml_tokenized_t seen =
        tml_tokenize(&text_tokenizer, text, (size_t)bytes, ids, length, work);
    MODEL.run(arena, MODEL.weights);

    const int8_t *scores = (const int8_t *)(arena + output->offset);
    uint32_t best = 0;
    for (uint32_t i = 1; i < output->bytes; ++i) {
        if (scores[i] > scores[best]) best = i;
    }
    say(classes[best]);
    say("  scores");
    for (uint32_t i = 0; i < output->bytes; ++i) {
        say(" ");
        say_number(scores[i] - output->zero_point);
    }
    say("  tokens ");
    say_number(seen.tokens);
    if (seen.truncated || longer) say(", text cut");
    if (seen.word_cut) say(", a word cut");
    if (seen.unknown) {
        say(", unknown characters ");
        say_number(seen.unknown);
    }
    if (seen.invalid_bytes) {
        say(", bytes skipped ");
        say_number(seen.invalid_bytes);
    }
    tml_print(line);
    return 0;
}
