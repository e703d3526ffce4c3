/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives a generated learner by a file of commands, on any port.
 *
 * Reads commands.bin and writes replies.bin. Numbers are little endian, 4 bytes each; `input` is
 * the learner's inputs as float32, `target` a label as int32 (cross-entropy) or a float32 for each
 * of its outputs, capacity included. Each reply begins with a status (tml_learn_status_t).
 *
 *   1 step       input, target       status, loss, outputs
 *   2 predict    input               status, outputs
 *   3 gradient   input, target       status, loss, gradient
 *   4 get                            status, weights
 *   5 set        weights             status
 *   6 settings   rate, momentum, outlier limit, loss limit    status
 *   7 add class                      status
 *   8 save, 9 restore                status; two slots in RAM
 *   10 state                         status, tml_learn_state_t
 *
 * Marks (see ports/qemu/count.c) stand around each step and prediction. Also writes stack.bin, as
 * harness/main.c does.
 *
 * Build with -DTML_MODEL_NAME=name -DTML_MODEL_HEADER='"name_learn.h"'.
 */
#include TML_MODEL_HEADER

#include "port.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define LEARNER JOIN(TML_MODEL_NAME, _learn)

enum {
    STATE = JOIN(TML_MODEL_NAME, _learn_state_bytes),
    WORK = JOIN(TML_MODEL_NAME, _learn_work_bytes),
    WEIGHTS = JOIN(TML_MODEL_NAME, _learn_weight_count),
    INPUTS = JOIN(TML_MODEL_NAME, _learn_inputs),
    OUTPUTS = JOIN(TML_MODEL_NAME, _learn_capacity),
    SLOT_HEADER = 32,
    STACK_PAINT = 0xA5,
    STACK_MARGIN = 128,
};

static uint8_t state[STATE] TML_ALIGNED;
static uint8_t work[WORK] TML_ALIGNED;
/* Of this program, not of learning. */
static float input[INPUTS], values[OUTPUTS], weights[WEIGHTS];
static uint8_t slots[2][SLOT_HEADER + STATE];
static int commands, replies;

void tml_mark(void);
__attribute__((noinline)) void tml_mark(void) {
    __asm volatile("" ::: "memory");
}

_Noreturn static void fail(const char *text) {
    tml_print(text);
    tml_exit(1);
}

static void take(void *data, size_t size) {
    if (tml_read(commands, data, size) != (int32_t)size)
        fail("commands.bin: ends inside a command");
}

static void reply(const void *data, size_t size) {
    if (tml_write(replies, data, size) != 0) fail("replies.bin: write failed");
}

static void reply_status(tml_learn_status_t status) {
    const int32_t number = (int32_t)status;
    reply(&number, sizeof number);
}

static int erase(void *context, int slot) {
    (void)context;
    for (uint32_t i = 0; i < sizeof slots[slot]; ++i) slots[slot][i] = 0xFF;
    return 0;
}

static int write(void *context, int slot, uint32_t offset, const void *data, uint32_t size) {
    (void)context;
    for (uint32_t i = 0; i < size; ++i) slots[slot][offset + i] = ((const uint8_t *)data)[i];
    return 0;
}

static int read(void *context, int slot, uint32_t offset, void *data, uint32_t size) {
    (void)context;
    for (uint32_t i = 0; i < size; ++i) ((uint8_t *)data)[i] = slots[slot][offset + i];
    return 0;
}

static const tml_learn_storage_t storage = {
    .slot_bytes = sizeof slots[0], .erase = erase, .write = write, .read = read};

static tml_learn_target_t take_target(void) {
    tml_learn_target_t target = {.values = values};
    if (LEARNER.loss == TML_LOSS_CROSS_ENTROPY) {
        take(&target.label, sizeof target.label);
    } else {
        take(values, sizeof values);
    }
    return target;
}

static void step(tml_learn_t *learner) {
    take(input, sizeof input);
    const tml_learn_target_t target = take_target();
    float loss = 0.0f;
    tml_mark();
    const tml_learn_status_t status = tml_learn_step(learner, input, &target, &loss);
    tml_mark();
    reply_status(status);
    reply(&loss, sizeof loss);
    reply(tml_learn_output(learner), sizeof(float) * OUTPUTS);
}

static void predict(tml_learn_t *learner) {
    take(input, sizeof input);
    tml_mark();
    const tml_learn_status_t status = tml_learn_predict(learner, input, NULL);
    tml_mark();
    reply_status(status);
    reply(tml_learn_output(learner), sizeof(float) * OUTPUTS);
}

static void gradient(tml_learn_t *learner) {
    take(input, sizeof input);
    const tml_learn_target_t target = take_target();
    float loss = 0.0f;
    for (int i = 0; i < WEIGHTS; ++i) weights[i] = 0.0f;
    reply_status(tml_learn_gradient(learner, input, &target, weights, &loss));
    reply(&loss, sizeof loss);
    reply(weights, sizeof weights);
}

static void settings(tml_learn_t *learner) {
    float given[4];
    take(given, sizeof given);
    learner->rate = given[0];
    learner->momentum = given[1];
    learner->outlier_limit = given[2];
    learner->loss_limit = given[3];
    reply_status(TML_LEARN_OK);
}

static void obey(tml_learn_t *learner, int32_t command) {
    switch (command) {
    case 1:
        step(learner);
        break;
    case 2:
        predict(learner);
        break;
    case 3:
        gradient(learner);
        break;
    case 4:
        reply_status(tml_learn_get(learner, 0, WEIGHTS, weights));
        reply(weights, sizeof weights);
        break;
    case 5:
        take(weights, sizeof weights);
        reply_status(tml_learn_set(learner, 0, WEIGHTS, weights));
        break;
    case 6:
        settings(learner);
        break;
    case 7:
        reply_status(tml_learn_add_class(learner));
        break;
    case 8:
        reply_status(tml_learn_save(learner, &storage));
        break;
    case 9:
        reply_status(tml_learn_restore(learner, &storage));
        break;
    case 10:
        reply_status(TML_LEARN_OK);
        reply(tml_learn_state(learner), sizeof(tml_learn_state_t));
        break;
    default:
        fail("commands.bin: unknown command");
    }
}

static void paint_stack(void) {
    const tml_stack_t stack = tml_stack();
    volatile uint8_t here = 0;
    if (!stack.low) return;
    const uintptr_t end = (uintptr_t)&here - STACK_MARGIN;
    for (volatile uint8_t *p = stack.low; (uintptr_t)p < end; ++p) *p = STACK_PAINT;
}

static void report_stack(void) {
    const tml_stack_t stack = tml_stack();
    if (!stack.low) return;
    const uint8_t *p = stack.low;
    while (p < stack.high && *p == STACK_PAINT) ++p;
    if (p == stack.low) fail("stack overflow: the board's stack_size is too small");
    const uint32_t used = (uint32_t)(stack.high - p);
    const int file = tml_open("stack.bin", TML_WRITE);
    if (file < 0 || tml_write(file, &used, sizeof used) != 0) fail("stack.bin: write failed");
    tml_close(file);
}

int main(void) {
    commands = tml_open("commands.bin", TML_READ);
    if (commands < 0) fail("commands.bin: cannot open");
    replies = tml_open("replies.bin", TML_WRITE);
    if (replies < 0) fail("replies.bin: cannot create");
    paint_stack();
    /* What two marks cost by themselves. */
    tml_mark();
    tml_mark();
    tml_learn_t learner;
    if (tml_learn_init(&learner, &LEARNER, state, work) != TML_LEARN_OK) fail("init failed");
    learner.storage = &storage;
    for (;;) {
        int32_t command = 0;
        const int32_t got = tml_read(commands, &command, sizeof command);
        if (got == 0) break;
        if (got != (int32_t)sizeof command) fail("commands.bin: ends inside a command");
        obey(&learner, command);
    }
    tml_close(replies);
    report_stack();
    return 0;
}
