/* SPDX-License-Identifier: Apache-2.0
 *
 * A depthwise convolution over planes: a channel's rows lie as int16 side by side, padding
 * included, so that neighbouring taps are the two halves of a word.
 */
#ifndef TINYML_DSP_DEPTHWISE_H
#define TINYML_DSP_DEPTHWISE_H

#include <stdint.h>

/* An output channel in the record, followed by its weights as pairs of int16: for each kernel row,
 * taps (0, 1), (2, 3) and so on; for the functions below (0, 1) and (1, 2). Bias and weights are
 * twice what they are, for requantised_twice. */
typedef struct {
    int32_t bias; /* input zero point folded in */
    int32_t multiplier;
    int32_t shift;    /* to the right */
    int32_t constant; /* see requantise.h */
} depthwise_channel_t;

/* Output rows of a 3x3 kernel. The functions below know the places of the fields. */
typedef struct {
    const int16_t *rows[3]; /* under the first output row's windows, 4-byte aligned; of an odd
                               count, inputs under one more window are read */
    int32_t next_row;       /* bytes from an output row's inputs to the next one's */
    int32_t plane;          /* bytes from a channel's inputs to the next one's */
    const depthwise_channel_t *channel;
    int8_t *output;
    int32_t step; /* bytes from an output to the next; channels lie side by side */
    int32_t output_row;
    int32_t count; /* outputs in a row */
    int32_t output_rows;
    int32_t channels;
} depthwise_rows_t;

/* With stride 1 and 2 along the row. */
typedef void depthwise_rows_3x3_t(const depthwise_rows_t *rows);
depthwise_rows_3x3_t tml_dsp_depthwise_rows_3x3_1;
depthwise_rows_3x3_t tml_dsp_depthwise_rows_3x3_2;

/* How rows of four channels become words of two int16. The function below knows the places of the
 * fields. */
typedef struct {
    int32_t step;    /* bytes from a pixel to the next */
    int32_t plane;   /* bytes from a channel's plane to the next */
    int32_t padding; /* four bytes */
    int32_t left;    /* whether the first pixel shares a word with padding */
    int32_t twos;    /* words of two pixels */
    int32_t right;   /* whether the last pixel shares a word with padding */
    int32_t gap;     /* bytes from behind a row's last pixel to the next row */
    int32_t to_gap;  /* bytes from behind the last word to the next row's first */
} spread_t;

void tml_dsp_spread_four(const int8_t *from, int16_t *to, const spread_t *spread, int32_t rows);

#endif
