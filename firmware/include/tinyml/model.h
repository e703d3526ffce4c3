/* SPDX-License-Identifier: Apache-2.0
 *
 * What a generated model exports. A model NAME is the pair NAME.h / NAME.c:
 *
 *   enum { NAME_arena_bytes = ..., NAME_weights_bytes = ... };
 *   extern const tml_model_t NAME_model;
 *   extern const uint8_t NAME_weights[NAME_weights_bytes];
 *
 *   static uint8_t arena[NAME_arena_bytes] TML_ALIGNED;
 *   memcpy(arena + NAME_model.inputs[0].offset, sample, NAME_model.inputs[0].bytes);
 *   NAME_run(arena, NAME_weights);
 *   read arena + NAME_model.outputs[0].offset
 */
#ifndef TINYML_MODEL_H
#define TINYML_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TML_ALIGNED __attribute__((aligned(16)))

/* An input or output inside the arena: int8, int16 where bytes is two an element, or int32 ids.
 * real value = scale * (integer - zero_point). */
typedef struct {
    const char *name;
    uint32_t offset, bytes;
    float scale;
    int32_t zero_point;
} tml_io_t;

typedef struct {
    const char *name;
    uint64_t abi; /* hash of the structure; a weights blob of another hash does not fit */
    uint32_t arena_bytes;
    uint32_t weights_bytes;
    uint16_t node_count;
    uint8_t input_count, output_count;
    const tml_io_t *inputs, *outputs;
    const uint8_t *weights; /* the blob compiled in */
    /* arena: arena_bytes, 16-byte aligned, contents before the inputs are set do not matter; the
     * inputs are overwritten.
     * weights: a blob of weights_bytes, 16-byte aligned. */
    void (*run)(uint8_t *arena, const uint8_t *weights);
    /* Sets the state that the model keeps in the arena between runs to its first values; call it
     * before the first run. A null pointer where the model keeps none. */
    void (*reset)(uint8_t *arena, const uint8_t *weights);
} tml_model_t;

/* Built with -DTINYML_TRACE, a model calls this after each node, or after each row of its output
 * where rows are made one by one; the program supplies it. TML_FROM_LAST is part of the node's
 * number where rows come from the last to the first. */
#define TML_FROM_LAST 0x8000u
#ifdef TINYML_TRACE
void tml_trace(uint16_t node, const void *output, uint32_t bytes);
#define TML_TRACE(node, output, bytes) tml_trace((uint16_t)(node), (output), (bytes))
#else
#define TML_TRACE(node, output, bytes) ((void)0)
#endif

#ifdef __cplusplus
}
#endif
#endif
