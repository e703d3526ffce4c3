/* SPDX-License-Identifier: Apache-2.0
 *
 * A small network for tests of the agent: two inputs, four outputs, each the low byte of a sum that
 * takes every byte of the weights into account. Its blob is a few flash pages long.
 */
#ifndef TINYML_TEST_SAMPLE_MODEL_H
#define TINYML_TEST_SAMPLE_MODEL_H

#include "tinyml/model.h"

enum { SAMPLE_ARENA = 64, SAMPLE_WEIGHTS = 10000, SAMPLE_INPUT = 8, SAMPLE_OUTPUT = 4 };

static const tml_io_t sample_inputs[] = {{"a", 0, 5, 0.5f, 1}, {"b", 16, 3, 0.5f, 1}};
static const tml_io_t sample_outputs[] = {{"y", 32, SAMPLE_OUTPUT, 0.25f, -2}};
static TML_ALIGNED uint8_t sample_weights[SAMPLE_WEIGHTS];

static void sample_run(uint8_t *arena, const uint8_t *weights) {
    for (uint32_t k = 0; k < SAMPLE_OUTPUT; ++k) {
        uint32_t sum = k;
        for (uint32_t i = 0; i < SAMPLE_WEIGHTS; ++i) sum = sum * 31 + weights[i];
        for (uint32_t i = 0; i < 5; ++i) sum = sum * 31 + arena[i];
        for (uint32_t i = 0; i < 3; ++i) sum = sum * 31 + arena[16 + i];
        arena[32 + k] = (uint8_t)sum;
    }
}

static const tml_model_t sample_model = {
    .name = "sample",
    .abi = UINT64_C(0x1122334455667788),
    .arena_bytes = SAMPLE_ARENA,
    .weights_bytes = SAMPLE_WEIGHTS,
    .node_count = 1,
    .input_count = 2,
    .output_count = 1,
    .inputs = sample_inputs,
    .outputs = sample_outputs,
    .weights = sample_weights,
    .run = sample_run,
};

#endif
