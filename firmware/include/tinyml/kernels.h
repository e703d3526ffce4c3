/* SPDX-License-Identifier: Apache-2.0
 *
 * int8 kernels called by generated models. The numpy reference in tinyml/ops/ defines each
 * result; every implementation of a kernel equals it bit for bit.
 *
 * Each kernel takes
 *   shape    structure of the layer, a constant in code (part of the model's ABI hash);
 *   data     its record in the weights blob: zero points, clamps, multipliers, weights;
 *            little endian, 16-byte aligned. A model update replaces records, never shapes;
 *   input(s) and output in the caller's arena. They do not overlap unless a kernel says so.
 * Tensors are NHWC, batch 1. No kernel allocates, fails or reads beyond its arguments.
 */
#ifndef TINYML_KERNELS_H
#define TINYML_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* int16 tensors have zero point 0 and int8 weights. Records of their kernels are those of the int8
 * kernel but where said. */

/* -------------------------------------------------------------- recurrence */

/* A filter of rank 1 in frequency and time. state [units * rank][memory] moves by one each run. */
typedef struct {
    uint32_t inputs, units, rank, memory;
} tml_svdf_t;

/* data: this header, then int32_t bias[units], int32_t offset[units * rank], minus the input's zero
 * point times the sum of a filter's feature weights, int8_t feature weights [units * rank][inputs],
 * padded to 4 bytes, then time weights [units * rank][memory] of the state's type. */
typedef struct {
    int32_t state_zero_point, output_zero_point;
    int32_t feature_multiplier, feature_shift;
    int32_t time_multiplier, time_shift;
} tml_svdf_data_t;

void tml_svdf_s8(const tml_svdf_t *shape, const void *data, const int8_t *input, int8_t *state,
                 int8_t *output);
/* A state of int16. */
void tml_svdf_s16(const tml_svdf_t *shape, const void *data, const int8_t *input, int16_t *state,
                  int8_t *output);

/* A long short-term memory over a sequence [steps][inputs]; output [steps][units]. */
typedef struct {
    uint32_t steps, inputs, units;
} tml_lstm_t;

/* data: this header; for each gate, input, forget, cell, output: int32_t input multiplier, input
 * shift, recurrent multiplier, recurrent shift; then for each gate int32_t bias[units] less the
 * input zero point times the weights, int32_t recurrent bias[units], int8_t weights
 * [units][inputs], int8_t recurrent weights [units][units], each padded to 4 bytes. */
typedef struct {
    int32_t output_zero_point;
    int32_t cell_clip;                   /* 0 for none */
    int32_t tanh_multiplier, tanh_shift; /* of the cell's scale */
    int32_t forget_multiplier, forget_shift, input_multiplier, input_shift;
    int32_t output_multiplier, output_shift;
} tml_lstm_data_t;

/* sigmoid as for tml_logistic_s16; hidden int8_t[units], cell int16_t[units] are the state;
 * scratch int8_t[units]. */
void tml_lstm_s8(const tml_lstm_t *shape, const void *data, const void *sigmoid,
                 const int8_t *input, int8_t *hidden, int16_t *cell, int8_t *output, void *scratch);

/* ------------------------------------------------------------- convolution */

/* Window of a convolution or pooling: sizes in elements, padding on the top and left side only
 * (the other sides follow from the output size).
 *
 * A kernel with a window computes the output rows [y_begin, y_end). Its buffers may be rings: row
 * y of the input lies at input + (y % input_ring) * input_w * input_c, row y of the output at
 * output + (y % output_ring) * output_w * output_c. Whole tensors have rings of input_h and
 * output_h rows. */
typedef struct {
    uint16_t input_h, input_w, input_c;
    uint16_t output_h, output_w, output_c;
    uint16_t input_ring, output_ring;
    uint8_t kernel_h, kernel_w;
    uint8_t stride_h, stride_w;
    uint8_t dilation_h, dilation_w;
    uint8_t pad_top, pad_left;
} tml_window_t;

/* Record of conv2d, depthwise_conv2d and fully_connected. After the header, each part padded
 * with zeros to a multiple of 4 bytes:
 *   int32_t bias[output_c]; int32_t multiplier[output_c]; int8_t shift[output_c];
 *   int8_t  weights[]   conv2d: [output_c][kernel_h][kernel_w][input_c]
 *                       depthwise_conv2d: [kernel_h][kernel_w][output_c]
 *                       fully_connected: [outputs][inputs]
 * output = clamp(requantise(bias + sum((input - input_zero_point) * weight)) + output_zero_point)
 */
typedef struct {
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t output_min, output_max;
} tml_matmul_data_t;

typedef struct {
    uint16_t rows, inputs, outputs;
} tml_fully_connected_t;

void tml_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input, int8_t *output,
                   int32_t y_begin, int32_t y_end);
/* output_c = input_c * multiplier; output channel c reads input channel c / multiplier. */
void tml_depthwise_conv2d_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                             int8_t *output, int32_t y_begin, int32_t y_end);
void tml_fully_connected_s8(const tml_fully_connected_t *shape, const void *data,
                            const int8_t *input, int8_t *output);

/* The same layers for cores with dual 16-bit multiplications (Armv7E-M, and Armv8-M with the DSP
 * extension). They take
 *   data     the header above, then weights interleaved for the core, with biases that hold the
 *            input zero point, multipliers and right shifts: tinyml/kernels/pack.py.
 *   scratch  4-byte aligned memory that holds nothing before or after. Bytes: conv2d 8 * taps,
 *            where taps = kernel_h * kernel_w * input_c rounded up to 4, and 4 * taps more
 *            where input_c is no multiple of 4; fully_connected the inputs rounded up to 8 where
 * they are no multiple of 8, else none. A 1x1 convolution of stride 1 may run in place where
 * output_c <= input_c. */
void tml_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                       int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_depthwise_conv2d_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
/* Along one column, all widths 1 and dilation 1, input_c = output_c a multiple of 4. Weights: of
 * four channels at a time, each tap a word. */
void tml_depthwise_column_s8_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end);
void tml_fully_connected_s8_dsp(const tml_fully_connected_t *shape, const void *data,
                                const int8_t *input, int8_t *output, void *scratch);

/* The same layers for cores with vectors (Armv8.1-M MVE). scratch, 4-byte aligned: conv2d four
 * times its taps, none for 1x1 without padding; depthwise_conv2d (depth multiplier 1, at most 64
 * taps) the padded rows under one window, and 16 bytes. */
void tml_conv2d_s8_mve(const tml_window_t *shape, const void *data, const int8_t *input,
                       int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_depthwise_conv2d_s8_mve(const tml_window_t *shape, const void *data, const int8_t *input,
                                 int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);

/* int16: the bias is int64_t and the accumulator is rounded once; _b32: an int32_t bias and the
 * arithmetic of int8. */
void tml_conv2d_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                    int16_t *output);
void tml_conv2d_s16_b32(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output);
void tml_depthwise_conv2d_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                              int16_t *output);
void tml_fully_connected_s16(const tml_fully_connected_t *shape, const void *data,
                             const int16_t *input, int16_t *output);

/* The same, where no sum can leave 32 bits. Record: the header; for each four outputs int32_t
 * bias[4] and multiplier[4], the high words of products with which are the outputs; the weights.
 * Of a convolution, for each four outputs four inputs of each in turn, in the order 0 2 1 3 (_dsp),
 * or eight (_mve): inputs under the window, and zeros up to a multiple of 8. Of a depthwise
 * convolution (depth multiplier 1, channels a multiple of 4), for each four outputs those of each
 * tap, in the order 0 2 1 3 (_dsp). Outputs that fill the last four are zeros.
 * input, scratch: word-aligned. scratch: the inputs under one window as int16_t, as many as there
 * are weights of an output; unused (may be null) for 1x1 without padding where they fill up
 * nothing. */
void tml_conv2d_s16_dsp(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output, void *scratch);
void tml_conv2d_s16_mve(const tml_window_t *shape, const void *data, const int16_t *input,
                        int16_t *output, void *scratch);
void tml_depthwise_conv2d_s16_dsp(const tml_window_t *shape, const void *data, const int16_t *input,
                                  int16_t *output);
void tml_depthwise_conv2d_s16_mve(const tml_window_t *shape, const void *data, const int16_t *input,
                                  int16_t *output);

/* a [batches][rows][depth] times b, whose element (k, n) is at
 * k * b_row_stride + n * b_column_stride of its batch; output [batches][rows][columns]. */
typedef struct {
    uint32_t batches, rows, depth, columns;
    uint32_t b_row_stride, b_column_stride;
} tml_batch_matmul_t;

typedef struct {
    int32_t a_zero_point, b_zero_point, output_zero_point;
    int32_t multiplier, shift;
} tml_batch_matmul_data_t;

void tml_batch_matmul_s8(const tml_batch_matmul_t *shape, const void *data, const int8_t *a,
                         const int8_t *b, int8_t *output);
void tml_batch_matmul_s16(const tml_batch_matmul_t *shape, const void *data, const int16_t *a,
                          const int16_t *b, int16_t *output);

/* The same layers with most weights zero, for any core (blocks_dsp for those above). They take
 *   data     the header above; biases that hold the input zero point, multipliers, shifts; then
 *            the weights that are not zero: tinyml/kernels/sparse.py.
 *   scratch  bytes: kernel_h * kernel_w * input_c, or the inputs, rounded up to 4. Unused (may be
 *            null) where inputs are read as they lie: fully connected layers and 1x1 convolutions
 *            without padding; for blocks only if the inputs are a multiple of 4. */
void tml_fully_connected_s8_bitmap(const tml_fully_connected_t *shape, const void *data,
                                   const int8_t *input, int8_t *output, void *scratch);
void tml_conv2d_s8_bitmap(const tml_window_t *shape, const void *data, const int8_t *input,
                          int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_fully_connected_s8_gaps(const tml_fully_connected_t *shape, const void *data,
                                 const int8_t *input, int8_t *output, void *scratch);
void tml_conv2d_s8_gaps(const tml_window_t *shape, const void *data, const int8_t *input,
                        int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_fully_connected_s8_blocks(const tml_fully_connected_t *shape, const void *data,
                                   const int8_t *input, int8_t *output, void *scratch);
void tml_conv2d_s8_blocks(const tml_window_t *shape, const void *data, const int8_t *input,
                          int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_fully_connected_s8_blocks_dsp(const tml_fully_connected_t *shape, const void *data,
                                       const int8_t *input, int8_t *output, void *scratch);
void tml_conv2d_s8_blocks_dsp(const tml_window_t *shape, const void *data, const int8_t *input,
                              int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);

/* The same layers for 32-bit RISC-V with multiplication. scratch: conv2d twice its taps, none for
 * 1x1 without padding; depthwise_conv2d (depth multiplier 1, at most 16 kernel rows) the padded
 * rows under one window. */
void tml_conv2d_s8_rv32(const tml_window_t *shape, const void *data, const int8_t *input,
                        int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);
void tml_depthwise_conv2d_s8_rv32(const tml_window_t *shape, const void *data, const int8_t *input,
                                  int8_t *output, int32_t y_begin, int32_t y_end, void *scratch);

/* ------------------------------------------------------------------ pooling */

typedef struct {
    int32_t output_min, output_max;
} tml_pool_data_t;

/* Mean of the taps inside the input, rounded half away from zero. */
void tml_average_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                         int8_t *output, int32_t y_begin, int32_t y_end);
void tml_max_pool_s8(const tml_window_t *shape, const void *data, const int8_t *input,
                     int8_t *output, int32_t y_begin, int32_t y_end);

void tml_average_pool_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                          int16_t *output);
void tml_max_pool_s16(const tml_window_t *shape, const void *data, const int16_t *input,
                      int16_t *output);

/* A reduction of [rows][count][channels] to [rows][channels]. */
typedef struct {
    uint32_t rows, count, channels;
} tml_reduce_t;

typedef struct {
    int32_t input_zero_point, output_zero_point;
    int32_t multiplier; /* of a mean, 1 / count is part of it */
    int32_t shift;
} tml_mean_data_t;

/* Mean or sum, as the multiplier says. */
void tml_mean_s8(const tml_reduce_t *shape, const void *data, const int8_t *input, int8_t *output);
void tml_mean_s16(const tml_reduce_t *shape, const void *data, const int16_t *input,
                  int16_t *output);

void tml_reduce_max_s8(const tml_reduce_t *shape, const int8_t *input, int8_t *output);
void tml_reduce_min_s8(const tml_reduce_t *shape, const int8_t *input, int8_t *output);

/* -------------------------------------------------------------- elementwise */

/* Two-input operator over up to 4 dimensions. A stride of 0 broadcasts. Output is dense. */
typedef struct {
    uint16_t dims[4];
    uint32_t stride_a[4], stride_b[4]; /* in elements */
} tml_broadcast_t;

typedef struct {
    int32_t a_zero_point, b_zero_point, output_zero_point;
    int32_t a_multiplier, a_shift, b_multiplier, b_shift;
    int32_t output_multiplier, output_shift;
    int32_t left_shift; /* 20 in TFLite */
    int32_t output_min, output_max;
} tml_add_data_t;

typedef struct {
    int32_t a_zero_point, b_zero_point, output_zero_point;
    int32_t output_multiplier, output_shift;
    int32_t output_min, output_max;
} tml_mul_data_t;

/* The output may be the same buffer as a dense (not broadcast) input. */
void tml_add_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a, const int8_t *b,
                int8_t *output);
void tml_sub_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a, const int8_t *b,
                int8_t *output);
void tml_mul_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a, const int8_t *b,
                int8_t *output);

void tml_add_s16(const tml_broadcast_t *shape, const void *data, const int16_t *a, const int16_t *b,
                 int16_t *output);
void tml_sub_s16(const tml_broadcast_t *shape, const void *data, const int16_t *a, const int16_t *b,
                 int16_t *output);
void tml_mul_s16(const tml_broadcast_t *shape, const void *data, const int16_t *a, const int16_t *b,
                 int16_t *output);
/* (a - b)**2; the record is tml_add_data_t. */
void tml_squared_difference_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a,
                               const int8_t *b, int8_t *output);
void tml_squared_difference_s16(const tml_broadcast_t *shape, const void *data, const int16_t *a,
                                const int16_t *b, int16_t *output);

/* The same on cores with dual 16-bit multiplications, for inputs of one shape, or of which one is
 * repeated over the other, or has one element for all of a row; see common/requantise.h for the
 * shifts, to the right, and constants. Of additions and differences `wide` is the input with the
 * larger scale: alignment only shifts it, by 19 (int8 sums), 14 (int16 sums) or 6 (squares). The
 * output has `repeats` * `period` elements. From a repeat to the next an input moves on by its
 * step, from an element to the next by 0 or 1 as `along` says. int16 has no zero points. */
typedef struct {
    uint32_t repeats, period, wide_step, fine_step, wide_along, fine_along;
} tml_add_dsp_t;

typedef struct {
    int32_t wide_offset; /* -zero point << that shift */
    int32_t fine_offset; /* -zero point << two more */
    int32_t fine_multiplier, fine_shift, fine_constant;
    int32_t output_multiplier, output_shift, output_constant;
    int32_t output_min, output_max;
    int32_t negative; /* -1 of a subtraction that takes `wide` from the other, else 0 */
} tml_add_dsp_data_t;

typedef struct {
    int32_t a_zero_point, b_zero_point;
    int32_t multiplier, shift, constant;
    int32_t output_min, output_max;
} tml_mul_dsp_data_t;

/* a has `repeats` * `period` elements: 1 repeat of all elements where the shapes are equal, a
 * repeat for each pixel where b is a factor for each channel, or for each row where b has one for
 * it. b moves on by `step` and `along`. */
typedef struct {
    uint32_t repeats, period, step, along;
} tml_repeated_t;

void tml_add_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                    const int8_t *fine, int8_t *output);
void tml_sub_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                    const int8_t *fine, int8_t *output);
void tml_squared_difference_s8_dsp(const tml_add_dsp_t *shape, const void *data, const int8_t *wide,
                                   const int8_t *fine, int8_t *output);
void tml_mul_s8_dsp(const tml_repeated_t *shape, const void *data, const int8_t *a, const int8_t *b,
                    int8_t *output);
void tml_add_s16_dsp(const tml_add_dsp_t *shape, const void *data, const int16_t *wide,
                     const int16_t *fine, int16_t *output);
void tml_sub_s16_dsp(const tml_add_dsp_t *shape, const void *data, const int16_t *wide,
                     const int16_t *fine, int16_t *output);
void tml_mul_s16_dsp(const tml_repeated_t *shape, const void *data, const int16_t *a,
                     const int16_t *b, int16_t *output);

typedef struct {
    uint32_t count;
} tml_table_t;

/* data: int8_t table[256], output = table[input + 128]. May run in place. */
void tml_table_s8(const tml_table_t *shape, const void *data, const int8_t *input, int8_t *output);

/* x where not negative, x * slope elsewhere, each with its own multiplier. b is the slope. */
typedef struct {
    int32_t input_zero_point, slope_zero_point, output_zero_point;
    int32_t identity_multiplier, identity_shift;
    int32_t slope_multiplier, slope_shift;
} tml_prelu_data_t;

void tml_prelu_s8(const tml_broadcast_t *shape, const void *data, const int8_t *a, const int8_t *b,
                  int8_t *output);

/* Larger or smaller of two integers of one grid. */
void tml_maximum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b, int8_t *output);
void tml_minimum_s8(const tml_broadcast_t *shape, const int8_t *a, const int8_t *b, int8_t *output);
void tml_maximum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output);
void tml_minimum_s16(const tml_broadcast_t *shape, const int16_t *a, const int16_t *b,
                     int16_t *output);

/* Truth values, 0 or 1 in an int8_t: a < b and a == b, or their negation. int8 operands are
 * compared by their real value with 8 bits below the point. */
typedef struct {
    uint16_t dims[4];
    uint32_t stride_a[4], stride_b[4]; /* in elements */
    uint8_t negated;
} tml_compare_t;

typedef struct {
    int32_t zero_point, multiplier, shift;
} tml_compare_side_t;

typedef struct {
    tml_compare_side_t a, b;
} tml_compare_data_t;

void tml_less_s8(const tml_compare_t *shape, const void *data, const int8_t *a, const int8_t *b,
                 int8_t *output);
void tml_equal_s8(const tml_compare_t *shape, const void *data, const int8_t *a, const int8_t *b,
                  int8_t *output);
void tml_less_s32(const tml_compare_t *shape, const int32_t *a, const int32_t *b, int8_t *output);
void tml_equal_s32(const tml_compare_t *shape, const int32_t *a, const int32_t *b, int8_t *output);
void tml_logical_not(const tml_table_t *shape, const int8_t *input, int8_t *output);

/* a where the flag is not 0, else b. */
typedef struct {
    uint16_t dims[4];
    uint32_t stride_flags[4], stride_a[4], stride_b[4]; /* in elements */
} tml_select_t;

void tml_select_s8(const tml_select_t *shape, const int8_t *flags, const int8_t *a, const int8_t *b,
                   int8_t *output);
void tml_select_s16(const tml_select_t *shape, const int8_t *flags, const int16_t *a,
                    const int16_t *b, int16_t *output);
void tml_select_s32(const tml_select_t *shape, const int8_t *flags, const int32_t *a,
                    const int32_t *b, int32_t *output);

/* Another grid; int16 on at least one side (int8 to int8 is a table). */
typedef struct {
    int32_t input_zero_point, output_zero_point;
    int32_t multiplier, shift;
} tml_requantise_data_t;

void tml_requantise_s8_s16(const tml_table_t *shape, const void *data, const int8_t *input,
                           int16_t *output);
void tml_requantise_s16_s8(const tml_table_t *shape, const void *data, const int16_t *input,
                           int8_t *output);
void tml_requantise_s16_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                            int16_t *output);

/* The same on cores with dual 16-bit multiplications: the input shifted left by `left`, plus
 * `offset`, is twice what is multiplied; constants as above. away: -1 where right > 0, else 0. */
typedef struct {
    int32_t left, offset, multiplier, right, constant, away;
} tml_requantise_dsp_data_t;

void tml_requantise_s8_s16_dsp(const tml_table_t *shape, const void *data, const int8_t *input,
                               int16_t *output);
void tml_requantise_s16_s8_dsp(const tml_table_t *shape, const void *data, const int16_t *input,
                               int8_t *output);
void tml_requantise_s16_s16_dsp(const tml_table_t *shape, const void *data, const int16_t *input,
                                int16_t *output);

void tml_requantise_s16_s32(const tml_table_t *shape, const void *data, const int16_t *input,
                            int32_t *output);
void tml_requantise_s8_s32(const tml_table_t *shape, const void *data, const int8_t *input,
                           int32_t *output);
void tml_requantise_s8_u8(const tml_table_t *shape, const void *data, const int8_t *input,
                          uint8_t *output);
void tml_requantise_u8_s8(const tml_table_t *shape, const void *data, const uint8_t *input,
                          int8_t *output);

/* Functions of one int16 value. data: int32_t multiplier, shift (rsqrt, abs); right shift
 * (logistic, tanh); multiplier and shift from 0 up, then below 0 (leaky_relu).
 * sigmoid: uint16_t[256], sigmoid(i / 24) in Q0.16. May run in place. */
void tml_logistic_s16(const tml_table_t *shape, const void *data, const void *sigmoid,
                      const int16_t *input, int16_t *output);
void tml_tanh_s16(const tml_table_t *shape, const void *data, const void *sigmoid,
                  const int16_t *input, int16_t *output);
void tml_leaky_relu_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                        int16_t *output);
void tml_abs_s16(const tml_table_t *shape, const void *data, const int16_t *input, int16_t *output);
void tml_rsqrt_s16(const tml_table_t *shape, const void *data, const int16_t *input,
                   int16_t *output);

typedef struct {
    uint32_t rows, depth;
} tml_softmax_t;

typedef struct {
    int32_t multiplier, shift; /* beta * input scale, as Q5.26 */
    int32_t diff_min;          /* smaller differences to the row maximum count as zero */
} tml_softmax_data_t;

/* Over the innermost dimension; output scale 1/256, zero point -128. May run in place. */
void tml_softmax_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                    int8_t *output);

/* The same by a table. data: int32_t exponentials[256], exp(-i * input scale) in Q0.31. */
void tml_softmax_s8_table(const tml_softmax_t *shape, const void *data, const int8_t *input,
                          int8_t *output);

/* The logarithm of the same; output scale 1/16, zero point 127. May run in place. */
typedef struct {
    int32_t multiplier, shift; /* of tml_softmax_data_t */
    int32_t back_multiplier, back_shift;
    int32_t diff_min;
} tml_log_softmax_data_t;

void tml_log_softmax_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                        int8_t *output);

/* Each row divided by its length; output scale 1/128, zero point 0. data: int32_t zero point. May
 * run in place. */
void tml_l2_normalize_s8(const tml_softmax_t *shape, const void *data, const int8_t *input,
                         int8_t *output);

/* Output scale 1/65536, zero point -32768; the record of tml_softmax_s8. */
void tml_softmax_s8_s16(const tml_softmax_t *shape, const void *data, const int8_t *input,
                        int16_t *output);

/* Output scale 1/32768, zero point 0. data: int32_t multiplier, shift that take a difference of
 * 10.0 to 65535; tables: int16_t exp[513] over [-10, 0], 1 / (1 + x)[513] over [0, 1]. May run in
 * place. */
void tml_softmax_s16(const tml_softmax_t *shape, const void *data, const void *tables,
                     const int16_t *input, int16_t *output);
/* Followed by int16_t exponentials[256], exp(-i * scale of the scores) in Q0.15. */
typedef struct {
    int32_t value_zero_point;
    int32_t multiplier, shift;
} tml_gate_data_t;
/* values * softmax(scores) over the innermost dimension; the shares are those of tml_softmax_s16.
 * reciprocal: 1 / (1 + x), the second of that kernel's tables. */
void tml_gate_s8_s16(const tml_softmax_t *shape, const void *data, const void *reciprocal,
                     const int8_t *values, const int8_t *scores, int16_t *output);

/* ---------------------------------------------------------------- attention */

/* A key whose id is `padding` has weight 0. ids: [keys]. */
typedef struct {
    uint32_t rows, keys;
    int32_t padding;
} tml_masked_softmax_t;

/* data: int32_t exponentials[256], exp(-i * input scale) in Q0.31. input and output [rows][keys];
 * output scale 1/32768, zero point 0. */
void tml_masked_softmax_s8_s16(const tml_masked_softmax_t *shape, const void *data,
                               const int8_t *input, const int32_t *ids, int16_t *output);

/* The rows of a text that are worth computing: up to its last id that is no padding, and at least
 * one. All of them where every row is traced. */
static inline uint32_t tml_used_rows(const int32_t *ids, uint32_t count, int32_t padding) {
#ifndef TINYML_TRACE
    while (count > 1 && ids[count - 1] == padding) --count;
#else
    (void)ids;
    (void)padding;
#endif
    return count;
}

typedef struct {
    uint32_t queries, keys, depth;
    int32_t padding;
} tml_attention_t;

typedef struct {
    int32_t query_zero_point, key_zero_point, score_zero_point;
    int32_t score_multiplier, score_shift;
    int32_t context_multiplier, context_shift;
    int32_t exponentials[256]; /* see tml_masked_softmax_s8_s16 */
} tml_attention_data_t;

/* softmax(query keys^T) keys, one query row at a time: the keys are the values. At most 257 keys.
 * query [queries][depth], keys [keys][depth], output like query;
 * scratch: 4 * depth + 3 * keys bytes, 4-byte aligned. */
void tml_attention_s8_s16(const tml_attention_t *shape, const void *data, const int8_t *query,
                          const int8_t *keys, const int32_t *ids, int16_t *output, void *scratch);

/* The same; depth is a multiple of 8; scratch: 2 * depth + 3 * keys + 2 bytes. */
void tml_attention_s8_s16_dsp(const tml_attention_t *shape, const void *data, const int8_t *query,
                              const int8_t *keys, const int32_t *ids, int16_t *output,
                              void *scratch);

/* The same; depth is a multiple of 16; scratch: 3 * keys bytes. */
void tml_attention_s8_s16_mve(const tml_attention_t *shape, const void *data, const int8_t *query,
                              const int8_t *keys, const int32_t *ids, int16_t *output,
                              void *scratch);

/* The first position of the largest, or smallest, of each row. */
void tml_arg_max_s8(const tml_softmax_t *shape, const int8_t *input, int32_t *output);
void tml_arg_min_s8(const tml_softmax_t *shape, const int8_t *input, int32_t *output);

/* ------------------------------------------------------------ data movement */

typedef struct {
    uint16_t input_dims[4];
    uint16_t before[4], after[4];
} tml_pad_t;

typedef struct {
    int32_t value;
} tml_pad_data_t;

void tml_pad_s8(const tml_pad_t *shape, const void *data, const int8_t *input, int8_t *output);
void tml_pad_s16(const tml_pad_t *shape, const void *data, const int16_t *input, int16_t *output);
void tml_pad_s32(const tml_pad_t *shape, const void *data, const int32_t *input, int32_t *output);

/* Copies `rows` runs of `length` bytes; one such copy is one input of a concatenation, or a
 * slice. */
typedef struct {
    uint32_t rows, length;
    uint32_t input_offset, input_stride;
    uint32_t output_offset, output_stride;
} tml_copy_rows_t;

void tml_copy_rows_s8(const tml_copy_rows_t *shape, const int8_t *input, int8_t *output);

/* Moves bytes; ranges may overlap where they go to a lower address. */
void tml_move_rows(int8_t *to, const int8_t *from, uint32_t bytes);

void tml_fill_s8(uint32_t bytes, int8_t value, int8_t *output);

/* Walks the output densely, the input by strides. */
typedef struct {
    uint16_t output_dims[4];
    uint32_t input_stride[4];
} tml_transpose_t;

/* An image in other sizes, blended from the nearest 4 pixels in steps of 1/1024 of a pixel. */
typedef struct {
    uint16_t input_h, input_w, channels;
    uint16_t output_h, output_w;
    int32_t scale_h, scale_w;   /* input pixels for each output pixel, times 1024 */
    int32_t offset_h, offset_w; /* of the first output pixel, times 1024 */
} tml_resize_t;

void tml_resize_bilinear_s8(const tml_resize_t *shape, const int8_t *input, int8_t *output);

void tml_transpose_s8(const tml_transpose_t *shape, const int8_t *input, int8_t *output);
void tml_transpose_s16(const tml_transpose_t *shape, const int16_t *input, int16_t *output);
void tml_transpose_s32(const tml_transpose_t *shape, const int32_t *input, int32_t *output);

/* Output [rows][ids][bytes] from table [rows][entries][bytes]; an id outside the table takes its
 * nearest end. */
typedef struct {
    uint32_t rows, entries, ids, bytes;
} tml_gather_t;

void tml_gather_s8(const tml_gather_t *shape, const int8_t *table, const int32_t *ids,
                   int8_t *output);

/* ------------------------------------------------------------ normalisation */

typedef struct {
    int32_t multiplier, shift;
} tml_multiplier_t;

enum {
    TML_NORM_CENTRE = 1, /* the mean is subtracted */
    TML_NORM_FLOOR = 2,  /* a constant is added to the variance */
    TML_NORM_GAIN = 4,
    TML_NORM_OFFSET = 8,
    TML_NORM_NARROW = 16, /* the output is int8 */
};

typedef struct {
    uint32_t rows;
    uint16_t width, flags;
} tml_norm_t;

/* Followed by int16_t gain[width], padded to 4 bytes, and int32_t offset[width], as flags say. */
typedef struct {
    tml_multiplier_t mean;
    tml_multiplier_t centred_input, centred_mean, centred_output;
    tml_multiplier_t square, variance;
    tml_multiplier_t floor_input;
    int32_t floor;
    tml_multiplier_t floor_output;
    tml_multiplier_t rsqrt, normal, gain;
    tml_multiplier_t offset_input, offset_output;
    tml_multiplier_t narrow;
    int32_t narrow_zero_point;
} tml_norm_data_t;

/* Rows to mean 0 and deviation 1. May not run in place. */
void tml_norm_s16_s8(const tml_norm_t *shape, const void *data, const int16_t *input,
                     int8_t *output);
void tml_norm_s16_s16(const tml_norm_t *shape, const void *data, const int16_t *input,
                      int16_t *output);

/* -------------------------------------------------------------- time series */

/* A series [time][channels] of int32 in any unit; INT32_MIN marks a missing sample, and values
 * beyond +-(2**25 - 1) saturate. Statistics: int32_t mean[channels], deviation[channels], the
 * latter in 1/16. */
typedef struct {
    uint32_t time, channels;
    uint32_t first, statistics; /* the series' first channel, and all channels, of the statistics */
} tml_series_t;

typedef struct {
    uint32_t epsilon_low, epsilon_high; /* added to the variance */
} tml_series_statistics_data_t;

typedef struct {
    int32_t multiplier, shift; /* of the network's scale and 1/16 */
    int32_t zero_point;
} tml_series_data_t;

void tml_series_statistics(const tml_series_t *shape, const void *data, const int32_t *input,
                           int32_t *output);
/* (series - mean) / deviation, in the network's integers. */
void tml_series_standardise_s8(const tml_series_t *shape, const void *data, const int32_t *input,
                               const int32_t *statistics, int8_t *output);
void tml_series_standardise_s16(const tml_series_t *shape, const void *data, const int32_t *input,
                                const int32_t *statistics, int16_t *output);
/* mean + forecast * deviation, in the unit of the series. */
void tml_series_restore_s8(const tml_series_t *shape, const void *data, const int8_t *input,
                           const int32_t *statistics, int32_t *output);
void tml_series_restore_s16(const tml_series_t *shape, const void *data, const int16_t *input,
                            const int32_t *statistics, int32_t *output);

#ifdef __cplusplus
}
#endif
#endif
