/* SPDX-License-Identifier: Apache-2.0
 *
 * The largest entries of a vector, without sorting it.
 */
#include "learn_bytes.h"
#include "tinyml/learn_kernels.h"

static float change_of(const tml_learn_top_t *top, uint32_t i) {
    return top->reference ? top->weights[i] - top->reference[i] : top->weights[i];
}

/* Magnitudes of floats order like their bits without the sign. */
static uint32_t magnitude(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFFu;
}

/* Radix selection, 4 bits a pass from the highest: each pass counts the entries that agree with the
 * bits settled so far, and settles the next 4. 16 counters are all the memory. */
void tml_learn_top_begin(tml_learn_top_t *top, const float *weights, const float *reference,
                         uint32_t count, uint32_t keep) {
    *top = (tml_learn_top_t){.weights = weights, .reference = reference, .count = count};
    if (keep == 0 || count == 0) {
        top->next = count;
        return;
    }
    uint32_t wanted = keep < count ? keep : count;
    for (int shift = 28; shift >= 0; shift -= 4) {
        uint32_t counts[16] = {0};
        const uint32_t settled = shift == 28 ? 0 : ~0u << (shift + 4);
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t m = magnitude(change_of(top, i));
            if ((m & settled) == top->threshold) ++counts[(m >> shift) & 15u];
        }
        uint32_t digit = 15;
        while (counts[digit] < wanted) wanted -= counts[digit--];
        top->threshold |= digit << shift;
    }
    top->ties = wanted;
}

bool tml_learn_top_next(tml_learn_top_t *top, uint32_t *index, float *change) {
    for (; top->next < top->count; ++top->next) {
        const float value = change_of(top, top->next);
        const uint32_t m = magnitude(value);
        if (m < top->threshold || (m == top->threshold && top->ties == 0)) continue;
        if (m == top->threshold) --top->ties;
        *index = top->next++;
        *change = value;
        return true;
    }
    return false;
}

static void swap(tml_learn_entry_t *a, tml_learn_entry_t *b) {
    const tml_learn_entry_t kept = *a;
    *a = *b;
    *b = kept;
}

/* A min-heap by magnitude: the root is what the next larger entry replaces. */
void tml_learn_heap_push(tml_learn_heap_t *heap, uint32_t index, float value) {
    tml_learn_entry_t *e = heap->entries;
    if (heap->size < heap->capacity) {
        uint32_t at = heap->size++;
        e[at] = (tml_learn_entry_t){index, value};
        while (at > 0 && magnitude(e[at].value) < magnitude(e[(at - 1) / 2].value)) {
            swap(&e[at], &e[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        return;
    }
    if (heap->size == 0 || magnitude(value) <= magnitude(e[0].value)) return;
    e[0] = (tml_learn_entry_t){index, value};
    for (uint32_t at = 0;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2; ++child) {
            if (child < heap->size && magnitude(e[child].value) < magnitude(e[least].value)) {
                least = child;
            }
        }
        if (least == at) return;
        swap(&e[at], &e[least]);
        at = least;
    }
}
