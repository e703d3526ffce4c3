/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "depthwise_dsp.h"
#include "requantise.h"
#include "window.h"

enum {
    GROUP = 4,      /* input channels at a time: one word of an input pixel */
    MOST_ROWS = 16, /* of a kernel */
    /* Planes of so many bytes hold the rows under several output rows, which are spread and
     * computed in one go: of a small image all. Where few output rows would fit, planes hold the
     * rows under one window, in a ring. */
    PLANES = 2048,
};

typedef struct {
    const tml_window_t *shape;
    const tml_matmul_data_t *header;
    depthwise_rows_3x3_t *rows_3x3;
    int16_t *planes;  /* the scratch memory: GROUP planes */
    int32_t window;   /* rows that one window spans */
    int32_t held;     /* rows of a plane */
    int32_t together; /* output rows that are computed in one go */
    int in_one_go;    /* whether those of this call are */
    int32_t row;      /* int16 of a plane's row */
    int32_t plane;    /* int16 of a plane */
    int32_t pairs;    /* of taps in a kernel row */
    int32_t record_step;
    spread_t spread;
} depthwise_t;

static __attribute__((noinline)) void fill_padding(const depthwise_t *d, int16_t *to,
                                                   int32_t count) {
    const pair_t zeros = even_bytes(d->spread.padding);
    for (; count >= 8; count -= 8, to += 8) {
        store_word(to, zeros);
        store_word(to + 2, zeros);
        store_word(to + 4, zeros);
        store_word(to + 6, zeros);
    }
    for (; count > 0; count -= 2, to += 2) store_word(to, zeros);
}

/* One row of one channel into its plane, whose padding is there. */
static void load_one(const depthwise_t *d, const int8_t *from, int16_t *to) {
    const int32_t step = d->shape->input_c, left = d->shape->pad_left;
    const int32_t room = d->row - left;
    int32_t x = room < d->shape->input_w ? room : d->shape->input_w;
    for (to += left; x > 0; --x, from += step) *to++ = *from;
}

/* Input rows [y, y + rows) of up to four channels from channel c on, of which those outside the
 * input are padding. */
static void load_rows(const depthwise_t *d, const int8_t *input, int32_t y, int32_t rows, int32_t c,
                      int32_t channels, int16_t *to) {
    const tml_window_t *shape = d->shape;
    for (int32_t count; rows > 0; rows -= count, y += count, to += count * d->row) {
        if (y < 0 || y >= shape->input_h) {
            count = 1;
            /* Rows that are filled once for all groups stay padding. */
            if (d->in_one_go) continue;
            for (int32_t k = 0; k < channels; ++k) fill_padding(d, to + k * d->plane, d->row);
            continue;
        }
        const int32_t at = y < shape->input_ring ? y : y % shape->input_ring;
        const int32_t behind = shape->input_h - y, together = shape->input_ring - at;
        count = rows < behind ? rows : behind;
        count = count < together ? count : together;
        const int8_t *from = input + at * shape->input_w * shape->input_c + c;
        if (channels == GROUP) {
            tml_dsp_spread_four(from, to + (shape->pad_left & ~1), &d->spread, count);
            continue;
        }
        for (int32_t i = 0; i < count; ++i) {
            for (int32_t k = 0; k < channels; ++k) {
                load_one(d, from + k, to + i * d->row + k * d->plane);
            }
            from += shape->input_w * shape->input_c;
        }
    }
}

/* Moves rows to the begin of their planes. */
static void keep_rows(const depthwise_t *d, int32_t first, int32_t rows) {
    for (int32_t k = 0; k < GROUP && k < d->shape->input_c; ++k) {
        int16_t *to = d->planes + k * d->plane;
        const int16_t *from = to + first * d->row;
        for (int32_t i = rows * d->row; i > 0; i -= 2, to += 2, from += 2) {
            store_word(to, load_word(from));
        }
    }
}

/* Outputs of any kernel, four at a time. offsets: of the window's rows in the plane. Where stride
 * and pairs are constants the compiler needs one address for all four, and loads an input that
 * two of them read once. */
static inline __attribute__((always_inline)) void
row_by(const depthwise_t *d, int32_t stride, int32_t pairs, const int16_t *plane,
       const int32_t *offsets, const depthwise_channel_t *channel, int8_t *output) {
    const int32_t kernel_h = d->shape->kernel_h;
    const int32_t step = d->shape->output_c;
    for (int32_t left = d->shape->output_w; left > 0; left -= 4, plane += 4 * stride) {
        int32_t s0 = channel->bias, s1 = s0, s2 = s0, s3 = s0;
        const pair_t *weights = (const pair_t *)(channel + 1);
        for (int32_t i = 0; i < kernel_h; ++i, weights += pairs) {
            const int16_t *from = plane + offsets[i];
#pragma GCC unroll 3
            for (int32_t j = 0; j < pairs; ++j, from += 2) {
                const pair_t w = weights[j];
                s0 = dual_multiply(load_word(from), w, s0);
                s1 = dual_multiply(load_word(from + stride), w, s1);
                s2 = dual_multiply(load_word(from + 2 * stride), w, s2);
                s3 = dual_multiply(load_word(from + 3 * stride), w, s3);
            }
        }
        const int32_t sums[4] = {s0, s1, s2, s3};
        for (int32_t k = 0; k < 4 && k < left; ++k, output += step) {
            *output = (int8_t)requantised_twice(sums[k], channel->multiplier, channel->shift,
                                                channel->constant);
        }
    }
}

static __attribute__((noinline)) void row_any(const depthwise_t *d, const int16_t *plane,
                                              const int32_t *offsets,
                                              const depthwise_channel_t *channel, int8_t *output) {
    const int32_t stride = d->shape->stride_w;
    if (stride == 1 && d->pairs == 3) {
        row_by(d, 1, 3, plane, offsets, channel, output);
    } else if (stride == 1) {
        row_by(d, 1, d->pairs, plane, offsets, channel, output);
    } else {
        row_by(d, stride, d->pairs, plane, offsets, channel, output);
    }
}

/* `rows` output rows of all output channels that read `channels` planes, of which row `first` is
 * the first under the windows. */
static void compute_3x3(const depthwise_t *d, const int8_t *record, int8_t *output, int32_t first,
                        int32_t rows, int32_t channels) {
    const tml_window_t *shape = d->shape;
    const int32_t multiplier = shape->output_c / shape->input_c;
    depthwise_rows_t r;
    for (int32_t i = 0, at = first; i < 3; ++i, at += shape->dilation_h) {
        r.rows[i] = d->planes + (at < d->held ? at : at - d->held) * d->row;
    }
    r.next_row = 2 * shape->stride_h * d->row;
    r.output = output;
    r.step = shape->output_c;
    r.output_row = shape->output_w * shape->output_c;
    r.count = shape->output_w;
    r.output_rows = rows;
    /* Either each plane has an output channel, or all output channels read one plane. */
    r.plane = multiplier == 1 ? 2 * d->plane : 0;
    r.channels = multiplier == 1 ? channels : multiplier;
    for (int32_t k = multiplier == 1 ? 1 : channels;;) {
        r.channel = (const depthwise_channel_t *)(const void *)record;
        d->rows_3x3(&r);
        if (--k == 0) return;
        record += multiplier * d->record_step;
        r.output += multiplier;
        for (int i = 0; i < 3; ++i) r.rows[i] += d->plane;
    }
}

static void compute_any(const depthwise_t *d, const int8_t *record, int8_t *output, int32_t first,
                        int32_t channels) {
    const tml_window_t *shape = d->shape;
    const int32_t multiplier = shape->output_c / shape->input_c;
    int32_t offsets[MOST_ROWS];
    for (int32_t i = 0, at = first; i < shape->kernel_h; ++i, at += shape->dilation_h) {
        offsets[i] = (at < d->held ? at : at - d->held) * d->row;
    }
    const int16_t *plane = d->planes;
    for (int32_t k = 0; k < channels; ++k, plane += d->plane) {
        for (int32_t m = 0; m < multiplier; ++m, record += d->record_step) {
            row_any(d, plane, offsets, (const depthwise_channel_t *)(const void *)record, output++);
        }
    }
}

/* The output channels that read the input channels [c, c + channels). */
static void one_group(const depthwise_t *d, const int8_t *record, const int8_t *input,
                      int8_t *output, int32_t c, int32_t channels, int32_t y_begin, int32_t y_end) {
    const tml_window_t *shape = d->shape;
    const int32_t to_channel = c * (shape->output_c / shape->input_c);
    int32_t top = y_begin * shape->stride_h - shape->pad_top;
    int32_t kept = 0; /* rows in the planes, which an output in place may have overwritten */
    for (int32_t y = y_begin, count; d->together > 1 && y < y_end; y += count) {
        const int32_t left = y_end - y, ring = shape->output_ring - y % shape->output_ring;
        count = left < d->together ? left : d->together;
        count = count < ring ? count : ring;
        const int32_t rows = (count - 1) * shape->stride_h + d->window;
        load_rows(d, input, top + kept, rows - kept, c, channels, d->planes + kept * d->row);
        int8_t *to = window_output_row(shape, output, y) + to_channel;
        compute_3x3(d, record, to, 0, count, channels);
        top += count * shape->stride_h;
        kept = d->window > shape->stride_h ? d->window - shape->stride_h : 0;
        if (count < left) keep_rows(d, count * shape->stride_h, kept);
    }
    if (d->together > 1) return;
    int32_t first = 0, loaded = 0; /* the window's first row in the ring, and how many are there */
    for (int32_t y = y_begin; y < y_end; ++y, top += shape->stride_h) {
        for (int32_t count; loaded < d->window; loaded += count) {
            const int32_t missing = d->window - loaded;
            const int32_t at = first + loaded < d->held ? first + loaded : first + loaded - d->held;
            count = missing < d->held - at ? missing : d->held - at;
            load_rows(d, input, top + loaded, count, c, channels, d->planes + at * d->row);
        }
        int8_t *to = window_output_row(shape, output, y) + to_channel;
        if (d->rows_3x3) {
            compute_3x3(d, record, to, first, 1, channels);
        } else {
            compute_any(d, record, to, first, channels);
        }
        loaded -= shape->stride_h;
        first += shape->stride_h;
        if (loaded <= 0) loaded = first = 0;
        if (first >= d->held) first -= d->held;
    }
}

void tml_depthwise_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    depthwise_t d = {.shape = shape, .header = header, .planes = (int16_t *)scratch};
    if (shape->kernel_h == 3 && shape->kernel_w == 3) {
        d.rows_3x3 = shape->stride_w == 1   ? tml_dsp_depthwise_rows_3x3_1
                     : shape->stride_w == 2 ? tml_dsp_depthwise_rows_3x3_2
                                            : 0;
    }
    const int32_t most = shape->input_c < GROUP ? shape->input_c : GROUP;
    d.window = (shape->kernel_h - 1) * shape->dilation_h + 1;
    d.pairs = (shape->kernel_w + 1) / 2;
    d.record_step = (int32_t)sizeof(depthwise_channel_t) + shape->kernel_h * d.pairs * 4;
    if (d.rows_3x3) {
        d.row = shape->stride_w * ((shape->output_w + 1) & ~1) + 2;
    } else {
        d.row = shape->stride_w * (((shape->output_w + 3) & ~3) - 1) + 2 * d.pairs;
    }
    d.row = ((d.row > shape->pad_left ? d.row : shape->pad_left) + 1) & ~1;
    const int32_t fit = PLANES / (2 * d.row * most) - d.window;
    d.together = fit < 0 ? 1 : fit / shape->stride_h + 1;
    if (d.together > shape->output_h) d.together = shape->output_h;
    const int32_t again = d.window - shape->stride_h; /* rows spread for the next ones too */
    if (!d.rows_3x3 || (d.together < shape->output_h && d.together < 3 * again)) d.together = 1;
    d.in_one_go = y_end - y_begin <= d.together &&
                  y_begin % shape->output_ring + y_end - y_begin <= shape->output_ring;
    d.held = (d.together - 1) * shape->stride_h + d.window;
    d.plane = d.held * d.row;
    const int32_t before = shape->pad_left & ~1;
    d.spread.step = shape->input_c;
    d.spread.plane = 2 * d.plane;
    d.spread.padding = (int32_t)((uint32_t)(header->input_zero_point & 0xFF) * 0x01010101u);
    d.spread.left = shape->pad_left & 1;
    const int32_t room = d.row - before - d.spread.left, width = shape->input_w;
    const int32_t pixels = width < room ? width : room;
    d.spread.twos = (pixels - d.spread.left) / 2;
    d.spread.right = (pixels - d.spread.left) & 1;
    d.spread.gap = (width - pixels) * shape->input_c;
    d.spread.to_gap = 2 * d.row - 4 * (d.spread.left + d.spread.twos + d.spread.right);
    int32_t rows = (y_end - y_begin - 1) * shape->stride_h + d.window;
    rows = rows < d.held ? rows : d.held;
    for (int32_t k = 0; k < most; ++k) fill_padding(&d, d.planes + k * d.plane, rows * d.row);
    const int8_t *record = (const int8_t *)(header + 1);
    for (int32_t c = 0; c < shape->input_c; c += GROUP) {
        const int32_t channels = shape->input_c - c < GROUP ? shape->input_c - c : GROUP;
        one_group(&d, record, input, output, c, channels, y_begin, y_end);
        record += channels * (shape->output_c / shape->input_c) * d.record_step;
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
