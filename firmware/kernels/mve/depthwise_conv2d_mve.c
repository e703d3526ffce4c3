/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes_mve.h"
#include "clamp.h"
#include "depthwise_mve.h"
#include "window.h"

enum { LANES = 16, MOST_TAPS = 64 };

/* The scratch memory: a ring of padded input rows, and LANES bytes more, which are read only. */
typedef struct {
    const tml_window_t *shape;
    int8_t zero;
    int8_t *rows;
    int32_t ring; /* rows that one window spans */
    int32_t row;  /* bytes */
} depthwise_t;

/* Row y with its padding, which it may be altogether. */
static void load_row(const depthwise_t *d, const int8_t *input, int32_t y, int8_t *to) {
    const tml_window_t *shape = d->shape;
    if (y < 0 || y >= shape->input_h) {
        fill_bytes(to, d->zero, d->row);
        return;
    }
    const int32_t left = shape->pad_left * shape->input_c;
    const int32_t room = d->row - left, whole = shape->input_w * shape->input_c;
    const int32_t bytes = whole < room ? whole : room;
    fill_bytes(to, d->zero, left);
    copy_bytes(to + left, window_input_row(shape, input, y), bytes);
    fill_bytes(to + left + bytes, d->zero, room - bytes);
}

void tml_depthwise_conv2d_s8_mve(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const int32_t channels = shape->input_c;
    const int32_t taps = (shape->kernel_h * shape->kernel_w + 1) & ~1;
    const int32_t group_bytes = (int32_t)sizeof(mve_lanes_t) + taps * LANES;
    /* With few channels the lanes hold several pixels, whose weights the record repeats. */
    const int32_t pixels = shape->stride_w == 1 && LANES % channels == 0 ? LANES / channels : 1;
    depthwise_t d = {.shape = shape, .zero = (int8_t)header->input_zero_point};
    d.rows = (int8_t *)scratch;
    d.ring = (shape->kernel_h - 1) * shape->dilation_h + 1;
    d.row =
        ((shape->output_w - 1) * shape->stride_w + (shape->kernel_w - 1) * shape->dilation_w + 1) *
        channels;
    if (d.row < shape->pad_left * channels) d.row = shape->pad_left * channels;

    int32_t next = y_begin * shape->stride_h; /* the first row not loaded, counting padding */
    for (int32_t y = y_begin; y < y_end; ++y) {
        const int32_t top = y * shape->stride_h;
        for (next = next < top ? top : next; next < top + d.ring; ++next) {
            load_row(&d, input, next - shape->pad_top, d.rows + next % d.ring * d.row);
        }
        int32_t offsets[MOST_TAPS], count = 0;
        for (int32_t i = 0; i < shape->kernel_h; ++i) {
            const int32_t row = (top + i * shape->dilation_h) % d.ring * d.row;
            for (int32_t j = 0; j < shape->kernel_w; ++j) {
                offsets[count++] = row + j * shape->dilation_w * channels;
            }
        }
        if (count < taps) offsets[count] = offsets[0]; /* its weights are zero */
        int8_t *to = window_output_row(shape, output, y);
        const int8_t *record = (const int8_t *)(header + 1);
        const int32_t places = shape->output_w / pixels, rest = shape->output_w % pixels;
        for (int32_t c = 0; c < channels; c += LANES, record += group_bytes) {
            const mve_lanes_t *lanes = (const mve_lanes_t *)(const void *)record;
            const int32_t left = channels - c < LANES ? channels - c : LANES;
            const int32_t step = pixels * channels;
            tml_mve_depthwise_row(lanes, d.rows + c, step * shape->stride_w, offsets, taps, to + c,
                                  step, places, pixels > 1 ? LANES : left);
            if (rest) {
                tml_mve_depthwise_row(lanes, d.rows + places * step, step, offsets, taps,
                                      to + places * step, step, 1, rest * channels);
            }
        }
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
