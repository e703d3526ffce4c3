/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "depthwise_dsp.h"
#include "requantise.h"
#include "window.h"

enum {
    GROUP = 4,      /* input channels at a time: one word of an input pixel */
    MOST_ROWS = 16, /* of a kernel */
};

/* The scratch memory: planes of GROUP channels, each a ring of rows. */
typedef struct {
    const tml_window_t *shape;
    const tml_matmul_data_t *header;
    int16_t *planes;
    int32_t ring;    /* rows of a plane: those one window spans */
    int32_t row;     /* int16 of a plane's row */
    int32_t plane;   /* int16 of a plane */
    int32_t pairs;   /* of taps in a kernel row */
    int32_t padding; /* the zero point of four channels */
    /* A row of four channels: words of padding, whether the first pixel shares a word with it,
     * words of two pixels, whether the last pixel shares one, words of padding. */
    int32_t left_words, left, twos, right, right_words;
    depthwise_row_t *row_3x3;
} depthwise_t;

/* Padding of four channels into their planes: `words` of two pixels. */
static void pad_four(const depthwise_t *d, int16_t *to, int32_t words) {
    const pair_t zeros = even_bytes(d->padding);
    for (; words > 0; --words, to += 2) {
        for (int32_t k = 0; k < GROUP; ++k) store_word(to + k * d->plane, zeros);
    }
}

/* One row of four channels into their planes. `from` points to the first channel of the row's
 * first pixel. */
static inline void load_four(const depthwise_t *d, const int8_t *from, int16_t *to) {
    if (d->left_words) pad_four(d, to, d->left_words);
    to += 2 * d->left_words;
    tml_dsp_spread_four(from, d->shape->input_c, to, 2 * d->plane, d->padding, d->left, d->twos,
                        d->right);
    if (d->right_words) {
        pad_four(d, to + 2 * (d->left + d->twos + d->right), d->right_words);
    }
}

/* One row of one channel into its plane. */
static void load_one(const depthwise_t *d, const int8_t *from, int16_t *to) {
    const int32_t step = d->shape->input_c;
    const int16_t zero = (int16_t)d->header->input_zero_point;
    const int32_t room = d->row - d->shape->pad_left;
    int16_t *const end = to + d->row;
    for (int32_t x = d->shape->pad_left; x > 0; --x) *to++ = zero;
    for (int32_t x = room < d->shape->input_w ? room : d->shape->input_w; x > 0;
         --x, from += step) {
        *to++ = *from;
    }
    while (to != end) *to++ = zero;
}

static __attribute__((noinline)) void load_padding(const depthwise_t *d, int32_t channels,
                                                   int16_t *to) {
    const pair_t zeros = low_halves(d->header->input_zero_point, d->header->input_zero_point);
    for (int32_t k = 0; k < channels; ++k, to += d->plane) {
        for (int32_t x = 0; x < d->row; x += 2) store_word(to + x, zeros);
    }
}

/* Row y, which may be padding, of up to four channels from channel c on. */
static void load_row(const depthwise_t *d, const int8_t *input, int32_t y, int32_t c,
                     int32_t channels, int16_t *to) {
    if (y < 0 || y >= d->shape->input_h) {
        load_padding(d, channels, to);
        return;
    }
    const int8_t *from = window_input_row(d->shape, input, y) + c;
    if (channels == GROUP) {
        load_four(d, from, to);
    } else {
        for (int32_t k = 0; k < channels; ++k) load_one(d, from + k, to + k * d->plane);
    }
}

/* Outputs of any kernel, four at a time. offsets: of the window's rows in the plane. Where the
 * stride is a constant the compiler needs one address for all four. */
static inline __attribute__((always_inline)) void
row_by(const depthwise_t *d, int32_t stride, const int16_t *plane, const int32_t *offsets,
       const depthwise_channel_t *channel, int8_t *output) {
    const int32_t kernel_h = d->shape->kernel_h, pairs = d->pairs;
    const int32_t step = d->shape->output_c;
    for (int32_t left = d->shape->output_w; left > 0; left -= 4, plane += 4 * stride) {
        int32_t s0 = channel->bias, s1 = s0, s2 = s0, s3 = s0;
        const pair_t *weights = (const pair_t *)(channel + 1);
        for (int32_t i = 0; i < kernel_h; ++i) {
            const int16_t *from = plane + offsets[i];
            for (const pair_t *end = weights + pairs; weights != end; from += 2) {
                const pair_t w = *weights++;
                s0 = dual_multiply(load_word(from), w, s0);
                s1 = dual_multiply(load_word(from + stride), w, s1);
                s2 = dual_multiply(load_word(from + 2 * stride), w, s2);
                s3 = dual_multiply(load_word(from + 3 * stride), w, s3);
            }
        }
        const int32_t sums[4] = {s0, s1, s2, s3};
        for (int32_t k = 0; k < 4 && k < left; ++k, output += step) {
            *output = (int8_t)requantised(sums[k], channel->multiplier, channel->shift,
                                          channel->constant);
        }
    }
}

static __attribute__((noinline)) void row_any(const depthwise_t *d, const int16_t *plane,
                                              const int32_t *offsets,
                                              const depthwise_channel_t *channel, int8_t *output) {
    if (d->shape->stride_w == 1) {
        row_by(d, 1, plane, offsets, channel, output);
    } else if (d->shape->stride_w == 2) {
        row_by(d, 2, plane, offsets, channel, output);
    } else {
        row_by(d, d->shape->stride_w, plane, offsets, channel, output);
    }
}

/* All rows of the output channels that read the input channels [c, c + channels). Returns the
 * output channel that follows in the record. */
static __attribute__((noinline)) const int8_t *one_group(const depthwise_t *d, const int8_t *record,
                                                         const int8_t *input, int8_t *output,
                                                         int32_t c, int32_t channels,
                                                         int32_t y_begin, int32_t y_end) {
    const tml_window_t *shape = d->shape;
    const int32_t multiplier = shape->output_c / shape->input_c;
    const int32_t record_step =
        (int32_t)sizeof(depthwise_channel_t) + shape->kernel_h * d->pairs * 4;
    const int8_t *next_channel = record;
    int32_t next = y_begin * shape->stride_h; /* the first row not loaded, counting padding */
    for (int32_t y = y_begin; y < y_end; ++y) {
        const int32_t top = y * shape->stride_h;
        const int32_t first = top % d->ring * d->row; /* where the window's first row lies */
        for (next = next < top ? top : next; next < top + d->ring; ++next) {
            const int32_t at = first + (next - top) * d->row;
            load_row(d, input, next - shape->pad_top, c, channels,
                     d->planes + (at < d->plane ? at : at - d->plane));
        }
        int32_t offsets[MOST_ROWS];
        for (int32_t i = 0, at = first; i < shape->kernel_h; ++i) {
            offsets[i] = at < d->plane ? at : at - d->plane;
            at += shape->dilation_h * d->row;
        }
        int8_t *to = window_output_row(shape, output, y) + c * multiplier;
        const int16_t *plane = d->planes;
        next_channel = record;
        /* Of one output channel for each input channel, all at once. */
        const int32_t together = d->row_3x3 && multiplier == 1 ? channels : 1;
        for (int32_t k = 0; k < channels; k += together, plane += d->plane) {
            for (int32_t m = 0; m < multiplier; ++m, next_channel += together * record_step, ++to) {
                const depthwise_channel_t *channel =
                    (const depthwise_channel_t *)(const void *)next_channel;
                if (d->row_3x3) {
                    d->row_3x3(plane + offsets[0], plane + offsets[1], plane + offsets[2], channel,
                               to, shape->output_w, shape->output_c, 2 * d->plane, together);
                } else {
                    row_any(d, plane, offsets, channel, to);
                }
            }
        }
    }
    return next_channel;
}

void tml_depthwise_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    depthwise_t d = {.shape = shape, .header = header, .planes = (int16_t *)scratch};
    if (shape->kernel_h == 3 && shape->kernel_w == 3) {
        d.row_3x3 = shape->stride_w == 1   ? tml_dsp_depthwise_row_3x3_1
                    : shape->stride_w == 2 ? tml_dsp_depthwise_row_3x3_2
                                           : 0;
    }
    d.ring = (shape->kernel_h - 1) * shape->dilation_h + 1;
    d.pairs = (shape->kernel_w + 1) / 2;
    if (d.row_3x3) {
        d.row = shape->stride_w * ((shape->output_w + 1) & ~1) + 2;
    } else {
        d.row = shape->stride_w * (((shape->output_w + 3) & ~3) - 1) + 2 * d.pairs;
    }
    d.row = ((d.row > shape->pad_left ? d.row : shape->pad_left) + 1) & ~1;
    d.plane = d.ring * d.row;
    d.left_words = shape->pad_left / 2;
    d.left = shape->pad_left & 1;
    const int32_t room = d.row - 2 * (d.left_words + d.left);
    const int32_t pixels = shape->input_w - d.left < room ? shape->input_w - d.left : room;
    d.twos = pixels / 2;
    d.right = pixels & 1;
    d.right_words = room / 2 - d.twos - d.right;
    d.padding = (int32_t)((uint32_t)(header->input_zero_point & 0xFF) * 0x01010101u);
    const int8_t *record = (const int8_t *)(header + 1);
    for (int32_t c = 0; c < shape->input_c; c += GROUP) {
        const int32_t channels = shape->input_c - c < GROUP ? shape->input_c - c : GROUP;
        record = one_group(&d, record, input, output, c, channels, y_begin, y_end);
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
