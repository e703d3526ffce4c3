/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "padded_rows.h"
#include "requantise.h"

/* An output channel in the record, followed by its weights, int8[kernel_h][kernel_w] padded to a
 * multiple of 4. */
typedef struct {
    int32_t bias; /* input zero point folded in */
    int32_t multiplier;
    int32_t left_shift; /* negative: to the right */
    int32_t constant;
} channel_t;

enum { MOST_ROWS = 16 };

static inline int8_t finished(const channel_t *channel, int32_t sum) {
    return (int8_t)requantised(sum, channel->multiplier, -channel->left_shift, channel->constant);
}

/* One channel of one row. Of the nine inputs under a window, stride 1 loads three anew. */
static void row_3x3(const channel_t *channel, const int8_t *const rows[3], int32_t step,
                    int32_t stride, int8_t *output, int32_t output_step, int32_t count) {
    const int8_t *w = (const int8_t *)(channel + 1);
    const int32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4];
    const int32_t w5 = w[5], w6 = w[6], w7 = w[7], w8 = w[8];
    const int8_t *p = rows[0], *q = rows[1], *r = rows[2];
    const int32_t bias = channel->bias;
    if (stride == 1) {
        int32_t a0 = p[0], a1 = q[0], a2 = r[0];
        int32_t b0 = p[step], b1 = q[step], b2 = r[step];
        p += 2 * step, q += 2 * step, r += 2 * step;
        for (; count > 0; --count, output += output_step) {
            const int32_t c0 = *p, c1 = *q, c2 = *r;
            p += step, q += step, r += step;
            const int32_t sum = bias + a0 * w0 + b0 * w1 + c0 * w2 + a1 * w3 + b1 * w4 + c1 * w5 +
                                a2 * w6 + b2 * w7 + c2 * w8;
            *output = finished(channel, sum);
            a0 = b0, a1 = b1, a2 = b2;
            b0 = c0, b1 = c1, b2 = c2;
        }
        return;
    }
    const int32_t far = stride * step;
    for (; count > 0; --count, output += output_step, p += far, q += far, r += far) {
        const int32_t sum = bias + p[0] * w0 + p[step] * w1 + p[2 * step] * w2 + q[0] * w3 +
                            q[step] * w4 + q[2 * step] * w5 + r[0] * w6 + r[step] * w7 +
                            r[2 * step] * w8;
        *output = finished(channel, sum);
    }
}

static void row_any(const channel_t *channel, const tml_window_t *shape, const int8_t *const *rows,
                    int8_t *output) {
    const int32_t step = shape->dilation_w * shape->input_c;
    for (int32_t x = 0; x < shape->output_w; ++x, output += shape->output_c) {
        const int8_t *w = (const int8_t *)(channel + 1);
        int32_t sum = channel->bias;
        for (int32_t i = 0; i < shape->kernel_h; ++i) {
            const int8_t *from = rows[i] + x * shape->stride_w * shape->input_c;
            for (int32_t j = shape->kernel_w; j > 0; --j, from += step) sum += *from * *w++;
        }
        *output = finished(channel, sum);
    }
}

void tml_depthwise_conv2d_s8_rv32(const tml_window_t *shape, const void *data, const int8_t *input,
                                  int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const padded_rows_t padded =
        padded_rows(shape, (int8_t)header->input_zero_point, (int8_t *)scratch);
    const int32_t channels = shape->input_c;
    const int32_t record_step =
        (int32_t)sizeof(channel_t) + ((shape->kernel_h * shape->kernel_w + 3) & ~3);
    const int is_3x3 = shape->kernel_h == 3 && shape->kernel_w == 3 && shape->dilation_w == 1;
    int32_t next = y_begin * shape->stride_h;
    for (int32_t y = y_begin; y < y_end; ++y) {
        next = load_padded_rows(&padded, input, y, next);
        const int8_t *rows[MOST_ROWS];
        for (int32_t i = 0; i < shape->kernel_h; ++i) rows[i] = padded_row(&padded, y, i);
        int8_t *to = window_output_row(shape, output, y);
        const int8_t *record = (const int8_t *)(header + 1);
        for (int32_t c = 0; c < channels; ++c, record += record_step, ++to) {
            const channel_t *channel = (const channel_t *)(const void *)record;
            if (is_3x3) {
                row_3x3(channel, rows, channels, shape->stride_w, to, channels, shape->output_w);
            } else {
                row_any(channel, shape, rows, to);
            }
            for (int32_t i = 0; i < shape->kernel_h; ++i) ++rows[i];
        }
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
