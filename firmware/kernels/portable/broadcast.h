/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of a two-input elementwise kernel on TYPE. EXPRESSION computes an int32_t from the
 * int32_t values a and b, the inputs less their zero points. `record` is a copy of the layer's
 * record, not a pointer to it: the compiler must assume that storing an int8_t changes what a
 * pointer shows.
 */
#ifndef TINYML_PORTABLE_BROADCAST_H
#define TINYML_PORTABLE_BROADCAST_H

#define TML_BROADCAST_LOOP(TYPE, shape, record, input_a, input_b, output, EXPRESSION)              \
    const uint32_t step_a = (shape)->stride_a[3], step_b = (shape)->stride_b[3];                   \
    const uint32_t length = (shape)->dims[3];                                                      \
    /* The zero point is added after the clamp, where it cannot overflow. */                       \
    const int32_t low = (record).output_min - (record).output_zero_point;                          \
    const int32_t high = (record).output_max - (record).output_zero_point;                         \
    for (uint32_t i0 = 0; i0 < (shape)->dims[0]; ++i0) {                                           \
        for (uint32_t i1 = 0; i1 < (shape)->dims[1]; ++i1) {                                       \
            for (uint32_t i2 = 0; i2 < (shape)->dims[2]; ++i2) {                                   \
                const TYPE *row_a = (input_a) + i0 * (shape)->stride_a[0] +                        \
                                    i1 * (shape)->stride_a[1] + i2 * (shape)->stride_a[2];         \
                const TYPE *row_b = (input_b) + i0 * (shape)->stride_b[0] +                        \
                                    i1 * (shape)->stride_b[1] + i2 * (shape)->stride_b[2];         \
                for (uint32_t i3 = 0; i3 < length; ++i3, row_a += step_a, row_b += step_b) {       \
                    const int32_t a = *row_a - (record).a_zero_point;                              \
                    const int32_t b = *row_b - (record).b_zero_point;                              \
                    *(output)++ =                                                                  \
                        (TYPE)(tml_clamp((EXPRESSION), low, high) + (record).output_zero_point);   \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#endif
