/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of a two-input elementwise kernel. EXPRESSION computes an int32_t from the int32_t
 * values a and b, the inputs less their zero points.
 */
#ifndef TINYML_PORTABLE_BROADCAST_H
#define TINYML_PORTABLE_BROADCAST_H

#define TML_BROADCAST_LOOP(shape, record, input_a, input_b, output, EXPRESSION)                    \
    for (uint32_t i0 = 0; i0 < (shape)->dims[0]; ++i0) {                                           \
        for (uint32_t i1 = 0; i1 < (shape)->dims[1]; ++i1) {                                       \
            for (uint32_t i2 = 0; i2 < (shape)->dims[2]; ++i2) {                                   \
                const int8_t *row_a = (input_a) + i0 * (shape)->stride_a[0] +                      \
                                      i1 * (shape)->stride_a[1] + i2 * (shape)->stride_a[2];       \
                const int8_t *row_b = (input_b) + i0 * (shape)->stride_b[0] +                      \
                                      i1 * (shape)->stride_b[1] + i2 * (shape)->stride_b[2];       \
                for (uint32_t i3 = 0; i3 < (shape)->dims[3]; ++i3) {                               \
                    const int32_t a = *row_a - (record)->a_zero_point;                             \
                    const int32_t b = *row_b - (record)->b_zero_point;                             \
                    const int32_t result = (EXPRESSION) + (record)->output_zero_point;             \
                    *(output)++ =                                                                  \
                        (int8_t)tml_clamp(result, (record)->output_min, (record)->output_max);     \
                    row_a += (shape)->stride_a[3];                                                 \
                    row_b += (shape)->stride_b[3];                                                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#endif
