/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a generated model over a file of samples, on any port.
 *
 * Reads input.bin: samples back to back, each all inputs in order. Writes output.bin: for each
 * sample all outputs in order; stack.bin: the stack's high-water mark in bytes, uint32, where the
 * port knows its stack. Built with TINYML_TRACE, also trace.bin: for every output of a node, or
 * row of it where rows are made one by one, its index and size as two uint32, and the bytes.
 *
 * Build with -DTML_MODEL_NAME=name -DTML_MODEL_HEADER='"name.h"'.
 */
#include TML_MODEL_HEADER

#include "port.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define MODEL JOIN(TML_MODEL_NAME, _model)

static uint8_t arena[JOIN(TML_MODEL_NAME, _arena_bytes)] TML_ALIGNED;

/* An instruction counter recognises this function; see ports/qemu/count.c. */
void tml_mark(void);
__attribute__((noinline)) void tml_mark(void) {
    __asm volatile("" ::: "memory");
}

#ifdef TINYML_TRACE
static int trace_file;

void tml_trace(uint16_t node, const void *output, uint32_t bytes) {
    tml_mark();
    const uint32_t header[2] = {node, bytes};
    if (tml_write(trace_file, header, sizeof header) != 0 ||
        tml_write(trace_file, output, bytes) != 0) {
        tml_print("trace.bin: write failed");
        tml_exit(1);
    }
    tml_mark();
}
#endif

enum { STACK_PAINT = 0xA5, STACK_MARGIN = 128 };

static void paint_stack(void) {
    const tml_stack_t stack = tml_stack();
    volatile uint8_t here = 0;
    if (!stack.low) return;
    const uintptr_t end = (uintptr_t)&here - STACK_MARGIN;
    for (volatile uint8_t *p = stack.low; (uintptr_t)p < end; ++p) *p = STACK_PAINT;
}

static int fail(const char *text) {
    tml_print(text);
    return 1;
}

static int report_stack(void) {
    const tml_stack_t stack = tml_stack();
    if (!stack.low) return 0;
    const uint8_t *p = stack.low;
    while (p < stack.high && *p == STACK_PAINT) ++p;
    /* Below the stack lie the arena and the port's data: what the program wrote is worthless. */
    if (p == stack.low) return fail("stack overflow: the board's stack_size is too small");
    const uint32_t used = (uint32_t)(stack.high - p);
    const int file = tml_open("stack.bin", TML_WRITE);
    if (file < 0 || tml_write(file, &used, sizeof used) != 0) {
        return fail("stack.bin: write failed");
    }
    tml_close(file);
    return 0;
}

int main(void) {
    const tml_model_t *model = &MODEL;
    const int input = tml_open("input.bin", TML_READ);
    if (input < 0) return fail("input.bin: cannot open");
    const int output = tml_open("output.bin", TML_WRITE);
    if (output < 0) return fail("output.bin: cannot create");
#ifdef TINYML_TRACE
    trace_file = tml_open("trace.bin", TML_WRITE);
    if (trace_file < 0) return fail("trace.bin: cannot create");
#endif
    paint_stack();
    if (model->reset) model->reset(arena, model->weights);
    /* What two marks cost by themselves. */
    tml_mark();
    tml_mark();
    for (;;) {
        for (int i = 0; i < model->input_count; ++i) {
            const tml_io_t *io = &model->inputs[i];
            const int32_t got = tml_read(input, arena + io->offset, io->bytes);
            if (got == 0 && i == 0) {
                tml_close(output);
#ifdef TINYML_TRACE
                tml_close(trace_file);
#endif
                return report_stack();
            }
            if (got != (int32_t)io->bytes) return fail("input.bin: ends inside a sample");
        }
        tml_mark();
        model->run(arena, model->weights);
        tml_mark();
        for (int i = 0; i < model->output_count; ++i) {
            const tml_io_t *io = &model->outputs[i];
            if (tml_write(output, arena + io->offset, io->bytes) != 0) {
                return fail("output.bin: write failed");
            }
        }
    }
}
