/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "depthwise_mve.h"
#include "padded_rows.h"

enum { LANES = 16, MOST_TAPS = 64 };

void tml_depthwise_conv2d_s8_mve(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const int32_t channels = shape->input_c;
    const int32_t taps = (shape->kernel_h * shape->kernel_w + 1) & ~1;
    const int32_t group_bytes = (int32_t)sizeof(mve_lanes_t) + taps * LANES;
    /* With few channels the lanes hold several pixels, whose weights the record repeats. */
    const int32_t pixels = shape->stride_w == 1 && LANES % channels == 0 ? LANES / channels : 1;
    const int is_3x3 = shape->kernel_h == 3 && shape->kernel_w == 3 && channels % 4 == 0;
    const int32_t places = shape->output_w / pixels, rest = shape->output_w % pixels;
    const int32_t step = pixels * channels;
    const padded_rows_t rows =
        padded_rows(shape, (int8_t)header->input_zero_point, (int8_t *)scratch);

    int32_t next = y_begin * shape->stride_h;
    for (int32_t y = y_begin; y < y_end; ++y) {
        next = load_padded_rows(&rows, input, y, next);
        const int8_t *inputs[MOST_TAPS];
        int32_t count = 0;
        for (int32_t i = 0; i < shape->kernel_h; ++i) {
            const int8_t *row = padded_row(&rows, y, i);
            for (int32_t j = 0; j < shape->kernel_w; ++j, row += shape->dilation_w * channels) {
                inputs[count++] = row;
            }
        }
        if (count < taps) inputs[count] = inputs[0]; /* its weights are zero */
        int8_t *to = window_output_row(shape, output, y);
        const int8_t *record = (const int8_t *)(header + 1);
        if (is_3x3) {
            const int32_t lanes = pixels > 1 ? LANES : channels;
            tml_mve_depthwise_3x3(record, inputs, step * shape->stride_w, to, step, places, lanes);
            if (rest) {
                for (int32_t t = 0; t < count; ++t) inputs[t] += places * step;
                tml_mve_depthwise_3x3(record, inputs, 0, to + places * step, 0, 1, rest * channels);
            }
            continue;
        }
        for (int32_t c = 0; c < channels; c += LANES, record += group_bytes) {
            const mve_lanes_t *lanes = (const mve_lanes_t *)(const void *)record;
            const int32_t left = channels - c < LANES ? channels - c : LANES;
            tml_mve_depthwise_row(lanes, inputs, c, step * shape->stride_w, taps, to + c, step,
                                  places, pixels > 1 ? LANES : left);
            if (rest) {
                tml_mve_depthwise_row(lanes, inputs, places * step, 0, taps, to + places * step, 0,
                                      1, rest * channels);
            }
        }
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
