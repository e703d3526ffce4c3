/* SPDX-License-Identifier: Apache-2.0 */
#include "clamp.h"
#include "depthwise_dsp.h"
#include "requantise.h"
#include "window.h"

enum {
    GROUP = 4,      /* input channels at a time: one word of an input pixel */
    MOST_ROWS = 16, /* of a kernel */
};

/* How a channel ends, in the record. */
typedef struct {
    int32_t bias; /* input zero point folded in */
    int32_t multiplier;
    int8_t shift[4]; /* three are padding */
} requantisation_t;

/* The scratch memory: planes of GROUP channels, each a ring of rows, then the output channels that
 * read them, each a depthwise_channel_t and its weights. */
typedef struct {
    const tml_window_t *shape;
    const tml_matmul_data_t *header;
    int16_t *planes;
    int32_t ring;  /* rows of a plane: those one window spans */
    int32_t row;   /* int16 of a plane's row */
    int32_t plane; /* int16 of a plane */
    int8_t *channels;
    int32_t channel; /* bytes of an output channel */
    int32_t pairs;   /* of taps in a kernel row */
    void (*row_3x3)(const int16_t *row0, const int16_t *row1, const int16_t *row2,
                    const depthwise_channel_t *channel, int8_t *output, int32_t count);
} depthwise_t;

/* Two pixels' words of four channels, as pairs into the four planes. */
static inline void store_two(int16_t *to, int32_t plane, int32_t a, int32_t b) {
    const int32_t low = low_halves(a, b), high = high_halves(a, b);
    store_word(to, even_bytes(low));
    store_word(to + plane, odd_bytes(low));
    store_word(to + 2 * plane, even_bytes(high));
    store_word(to + 3 * plane, odd_bytes(high));
}

/* One row of four channels into their planes. `from` points to the first channel of the row's
 * first pixel. Pixels go in twos, whose first may be padding and whose last too. */
static void load_four(const depthwise_t *d, const int8_t *from, int16_t *to) {
    const int32_t step = d->shape->input_c, plane = d->plane;
    const int32_t zero = d->header->input_zero_point & 0xFF;
    const int32_t padding = low_halves(zero | zero << 8, zero | zero << 8);
    int16_t *const end = to + d->row;
    int32_t left = d->shape->pad_left, pixels = d->shape->input_w;
    for (; left >= 2; left -= 2, to += 2) store_two(to, plane, padding, padding);
    if (left) {
        store_two(to, plane, padding, load_word(from));
        from += step;
        to += 2;
        --pixels;
    }
    for (; pixels >= 2 && to != end; pixels -= 2, from += 2 * step, to += 2) {
        store_two(to, plane, load_word(from), load_word(from + step));
    }
    if (pixels == 1 && to != end) {
        store_two(to, plane, load_word(from), padding);
        to += 2;
    }
    for (; to < end; to += 2) store_two(to, plane, padding, padding);
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

static void load_padding(const depthwise_t *d, int32_t channels, int16_t *to) {
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

/* Output channel c as the row functions want it. */
static void load_channel(const depthwise_t *d, const requantisation_t *ends, int32_t c,
                         depthwise_channel_t *to) {
    const tml_window_t *shape = d->shape;
    const int32_t words = (shape->kernel_w + 3) / 4;
    const int8_t *from = (const int8_t *)(ends + shape->output_c) + c * shape->kernel_h * words * 4;
    const requantisation_t *end = ends + c;
    to->bias = end->bias;
    to->multiplier = end->multiplier;
    to->shift = end->shift[0];
    to->constant = rounding_constant(2 * d->header->output_zero_point + 1, end->shift[0]);
    to->step = shape->output_c;
    pair_t *weights = (pair_t *)(to + 1);
    if (d->row_3x3) {
        for (int32_t i = shape->kernel_h; i > 0; --i, from += 4, weights += 2) {
            const int32_t four = load_word(from);
            weights[0] = even_bytes(four);
            weights[1] = low_halves(weights[0] >> 16, odd_bytes(four));
        }
        return;
    }
    for (int32_t i = shape->kernel_h; i > 0; --i, weights += d->pairs) {
        for (int32_t j = 0; j < words; ++j, from += 4) {
            const int32_t four = load_word(from);
            weights[2 * j] = even_bytes(four);
            if (2 * j + 1 < d->pairs) weights[2 * j + 1] = odd_bytes(four);
        }
    }
}

/* Outputs of any kernel and stride, four at a time. */
static void row_any(const depthwise_t *d, const int16_t *const *rows,
                    const depthwise_channel_t *channel, int8_t *output) {
    const int32_t kernel_h = d->shape->kernel_h, stride = d->shape->stride_w, pairs = d->pairs;
    const int32_t count = d->shape->output_w;
    for (int32_t x = 0; x < count; x += 4) {
        int32_t sums[4] = {channel->bias, channel->bias, channel->bias, channel->bias};
        const pair_t *weights = (const pair_t *)(channel + 1);
        for (int32_t i = 0; i < kernel_h; ++i) {
            const int16_t *a = rows[i] + x * stride;
            const int16_t *b = a + stride, *c = b + stride, *e = c + stride;
            for (int32_t j = pairs; j > 0; --j, a += 2, b += 2, c += 2, e += 2) {
                const pair_t w = *weights++;
                sums[0] = dual_multiply(load_word(a), w, sums[0]);
                sums[1] = dual_multiply(load_word(b), w, sums[1]);
                sums[2] = dual_multiply(load_word(c), w, sums[2]);
                sums[3] = dual_multiply(load_word(e), w, sums[3]);
            }
        }
        for (int32_t k = 0; k < 4 && x + k < count; ++k, output += channel->step) {
            *output = (int8_t)requantised(sums[k], channel->multiplier, channel->shift,
                                          channel->constant);
        }
    }
}

/* All rows of the output channels that read the input channels [c, c + channels). */
static void one_group(const depthwise_t *d, const int8_t *input, int8_t *output, int32_t c,
                      int32_t channels, int32_t y_begin, int32_t y_end) {
    const tml_window_t *shape = d->shape;
    const int32_t multiplier = shape->output_c / shape->input_c;
    int32_t next = y_begin * shape->stride_h; /* the first row not loaded, counting padding */
    for (int32_t y = y_begin; y < y_end; ++y) {
        const int32_t top = y * shape->stride_h;
        for (next = next < top ? top : next; next < top + d->ring; ++next) {
            load_row(d, input, next - shape->pad_top, c, channels,
                     d->planes + next % d->ring * d->row);
        }
        const int16_t *rows[MOST_ROWS];
        for (int32_t i = 0; i < shape->kernel_h; ++i) {
            rows[i] = d->planes + (top + i * shape->dilation_h) % d->ring * d->row;
        }
        int8_t *to = window_output_row(shape, output, y) + c * multiplier;
        const int8_t *next_channel = d->channels;
        for (int32_t k = 0; k < channels; ++k) {
            for (int32_t m = 0; m < multiplier; ++m, next_channel += d->channel, ++to) {
                const depthwise_channel_t *channel =
                    (const depthwise_channel_t *)(const void *)next_channel;
                if (d->row_3x3) {
                    d->row_3x3(rows[0], rows[1], rows[2], channel, to, shape->output_w);
                } else {
                    row_any(d, rows, channel, to);
                }
            }
            for (int32_t i = 0; i < shape->kernel_h; ++i) rows[i] += d->plane;
        }
    }
}

void tml_depthwise_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch) {
    const tml_matmul_data_t *header = (const tml_matmul_data_t *)data;
    const requantisation_t *ends = (const requantisation_t *)(header + 1);
    const int32_t multiplier = shape->output_c / shape->input_c;
    const int32_t group = shape->input_c < GROUP ? shape->input_c : GROUP;
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
    d.row = ((d.row > shape->pad_left ? d.row : shape->pad_left) + 3) & ~1;
    d.plane = d.ring * d.row;
    d.channels = (int8_t *)(d.planes + group * d.plane);
    d.channel = (int32_t)sizeof(depthwise_channel_t) + shape->kernel_h * d.pairs * 4;
    for (int32_t c = 0; c < shape->input_c; c += GROUP) {
        const int32_t channels = shape->input_c - c < GROUP ? shape->input_c - c : GROUP;
        for (int32_t k = 0; k < channels * multiplier; ++k) {
            load_channel(&d, ends, c * multiplier + k,
                         (depthwise_channel_t *)(void *)(d.channels + k * d.channel));
        }
        one_group(&d, input, output, c, channels, y_begin, y_end);
    }
    clamp_rows(shape, header, output, y_begin, y_end);
}
