/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "lookup.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

typedef struct {
    int32_t input_multiplier, input_shift, recurrent_multiplier, recurrent_shift;
} scales_t;

typedef struct {
    scales_t scales;
    const int32_t *bias, *recurrent_bias;
    const int8_t *weights, *recurrent;
} gate_t;

static inline int32_t saturated(int32_t x) {
    return tml_clamp(x, INT16_MIN, INT16_MAX);
}

static inline uint32_t padded(uint32_t bytes) {
    return (bytes + 3u) & ~3u;
}

/* The argument of a gate's function, Q3.12, from the sums over input and hidden state. */
static int32_t argument(const gate_t *gate, uint32_t unit, int32_t sum, int32_t back) {
    const scales_t *s = &gate->scales;
    sum += gate->bias[unit];
    back += gate->recurrent_bias[unit];
    return saturated(saturated(tml_requantise(sum, s->input_multiplier, s->input_shift)) +
                     saturated(tml_requantise(back, s->recurrent_multiplier, s->recurrent_shift)));
}

void tml_lstm_s8(const tml_lstm_t *shape, const void *data, const void *sigmoid,
                 const int8_t *input, int8_t *hidden, int16_t *cell, int8_t *output,
                 void *scratch) {
    const tml_lstm_data_t d = *(const tml_lstm_data_t *)data;
    const scales_t *scales = (const scales_t *)(const void *)((const tml_lstm_data_t *)data + 1);
    const uint16_t *table = (const uint16_t *)sigmoid;
    int8_t *next = (int8_t *)scratch;
    const uint32_t units = shape->units;
    gate_t gates[4];
    const int8_t *part = (const int8_t *)(scales + 4);
    for (int g = 0; g < 4; ++g) {
        gates[g].scales = scales[g];
        gates[g].bias = (const int32_t *)(const void *)part;
        gates[g].recurrent_bias = gates[g].bias + units;
        gates[g].weights = (const int8_t *)(gates[g].recurrent_bias + units);
        gates[g].recurrent = gates[g].weights + padded(units * shape->inputs);
        part = gates[g].recurrent + padded(units * units);
    }
    /* All gates are laid out alike. */
    const int32_t step = (int32_t)(gates[1].weights - gates[0].weights);
    for (uint32_t t = 0; t < shape->steps; ++t, input += shape->inputs, output += units) {
        for (uint32_t u = 0; u < units; ++u) {
            int32_t value[4], sums[4], backs[4];
            dot_4_s8(gates[0].weights + u * shape->inputs, step, input, (int32_t)shape->inputs,
                     sums);
            dot_4_s8(gates[0].recurrent + u * units, step, hidden, (int32_t)units, backs);
            for (int g = 0; g < 4; ++g) {
                const int32_t position = 3 * argument(&gates[g], u, sums[g], backs[g]);
                value[g] = g == 2 ? lookup_tanh(position, table) : lookup_sigmoid(position, table);
            }
            const int32_t kept =
                saturated(tml_requantise(value[1] * cell[u], d.forget_multiplier, d.forget_shift));
            const int32_t added =
                saturated(tml_requantise(value[0] * value[2], d.input_multiplier, d.input_shift));
            int32_t state = saturated(kept + added);
            if (d.cell_clip > 0) state = tml_clamp(state, -d.cell_clip, d.cell_clip);
            cell[u] = (int16_t)state;
            const int32_t position = lookup_position(state, d.tanh_multiplier, d.tanh_shift);
            const int32_t product = lookup_tanh(position, table) * value[3];
            const int32_t zero = d.output_zero_point;
            const int32_t x = tml_requantise(product, d.output_multiplier, d.output_shift);
            next[u] = (int8_t)(tml_clamp(x, INT8_MIN - zero, INT8_MAX - zero) + zero);
        }
        for (uint32_t u = 0; u < units; ++u) output[u] = hidden[u] = next[u];
    }
}
