/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

void tml_prelu_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a, const int8_t *b,
                  int8_t *output) {
    const tml_prelu_data_t d = *(const tml_prelu_data_t *)data;
    const uint32_t *sa = shape->stride_a, *sb = shape->stride_b;
    for (uint32_t i0 = 0; i0 < shape->dims[0]; ++i0) {
        for (uint32_t i1 = 0; i1 < shape->dims[1]; ++i1) {
            for (uint32_t i2 = 0; i2 < shape->dims[2]; ++i2) {
                const int8_t *x = a + i0 * sa[0] + i1 * sa[1] + i2 * sa[2];
                const int8_t *slope = b + i0 * sb[0] + i1 * sb[1] + i2 * sb[2];
                for (uint32_t i3 = 0; i3 < shape->dims[3]; ++i3) {
                    const int32_t value = x[i3 * sa[3]] - d.input_zero_point;
                    const int32_t factor = slope[i3 * sb[3]] - d.slope_zero_point;
                    const int32_t scaled =
                        value >= 0
                            ? tml_requantise(value, d.identity_multiplier, d.identity_shift)
                            : tml_requantise(value * factor, d.slope_multiplier, d.slope_shift);
                    *output++ = (int8_t)tml_clamp(scaled + d.output_zero_point, -128, 127);
                }
            }
        }
    }
}
