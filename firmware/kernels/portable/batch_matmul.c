/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "sums.h"
#include "tinyml/fixedpoint.h"
#include "tinyml/kernels.h"

static inline int8_t finished(const tml_batch_matmul_data_t *d, int32_t sum) {
    const int32_t zero = d->output_zero_point;
    const int32_t scaled = tml_requantise(sum, d->multiplier, d->shift);
    return (int8_t)(tml_clamp(scaled, INT8_MIN - zero, INT8_MAX - zero) + zero);
}

/* Columns lie as rows: a product of neighbours. The zero points come in at the end, by the sums of
 * a row and of a column: (a - z) (b - y) = ab - za - yb + zy, with z and y in each other's place.
 */
static void transposed(const tml_batch_matmul_t *shape, const tml_batch_matmul_data_t *d,
                       const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t depth = (int32_t)shape->depth, columns = (int32_t)shape->columns;
    const int32_t step = (int32_t)shape->b_column_stride;
    const int32_t both = depth * d->a_zero_point * d->b_zero_point;
    for (int32_t c = 0; c < columns; c += 4) {
        const int32_t count = columns - c < 4 ? columns - c : 4;
        const int8_t *column = b + c * step;
        int32_t offset[4];
        for (int32_t k = 0; k < count; ++k) {
            const int32_t sum = sum_of_bytes(column + k * step, shape->depth);
            offset[k] = both - d->a_zero_point * sum;
        }
        const int8_t *row = a;
        for (uint32_t r = 0; r < shape->rows; ++r, row += depth) {
            int32_t sums[4];
            if (count == 4) {
                dot_4_s8(column, step, row, depth, sums);
            } else {
                for (int32_t k = 0; k < count; ++k) sums[k] = dot_s8(column + k * step, row, depth);
            }
            const int32_t of_row =
                d->b_zero_point ? d->b_zero_point * sum_of_bytes(row, shape->depth) : 0;
            int8_t *to = output + (int32_t)r * columns + c;
            for (int32_t k = 0; k < count; ++k) {
                to[k] = finished(d, sums[k] + offset[k] - of_row);
            }
        }
    }
}

#if TML_USE_DSP

/* Four columns at a time, whose elements at two depths are the halves of words. */
static int32_t four_columns(const tml_batch_matmul_t *shape, const tml_batch_matmul_data_t *d,
                            const int8_t *row, const int8_t *b, int8_t *to) {
    const int32_t depth = (int32_t)shape->depth, step = (int32_t)shape->b_row_stride;
    const int32_t a_zero = d->a_zero_point, b_zero = d->b_zero_point;
    const pair_t a_zeros = low_halves(a_zero, a_zero);
    const int32_t of_row = b_zero ? b_zero * (sum_of_bytes(row, shape->depth) - depth * a_zero) : 0;
    int32_t c = 0;
    for (; c + 4 <= (int32_t)shape->columns; c += 4) {
        int32_t s0 = -of_row, s1 = s0, s2 = s0, s3 = s0, k = 0;
        const int8_t *in = b + c;
        for (; k + 2 <= depth; k += 2, in += 2 * step) {
            const int32_t upper = load_word(in), lower = load_word(in + step);
            const int32_t front = low_halves(upper, lower), back = high_halves(upper, lower);
            const pair_t x = subtract_pairs(low_halves(row[k], row[k + 1]), a_zeros);
            s0 = dual_multiply(even_bytes(front), x, s0);
            s1 = dual_multiply(odd_bytes(front), x, s1);
            s2 = dual_multiply(even_bytes(back), x, s2);
            s3 = dual_multiply(odd_bytes(back), x, s3);
        }
        if (k < depth) {
            const int32_t x = row[k] - a_zero;
            s0 += x * in[0];
            s1 += x * in[1];
            s2 += x * in[2];
            s3 += x * in[3];
        }
        to[c] = finished(d, s0);
        to[c + 1] = finished(d, s1);
        to[c + 2] = finished(d, s2);
        to[c + 3] = finished(d, s3);
    }
    return c;
}

#else

static int32_t four_columns(const tml_batch_matmul_t *shape, const tml_batch_matmul_data_t *d,
                            const int8_t *row, const int8_t *b, int8_t *to) {
    const int32_t depth = (int32_t)shape->depth, step = (int32_t)shape->b_row_stride;
    const int32_t a_zero = d->a_zero_point, b_zero = d->b_zero_point;
    int32_t c = 0;
    for (; c + 4 <= (int32_t)shape->columns; c += 4) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, of_row = 0;
        const int8_t *in = b + c;
        for (int32_t k = 0; k < depth; ++k, in += step) {
            const int32_t x = row[k] - a_zero;
            of_row += x;
            s0 += x * in[0];
            s1 += x * in[1];
            s2 += x * in[2];
            s3 += x * in[3];
        }
        of_row *= b_zero;
        to[c] = finished(d, s0 - of_row);
        to[c + 1] = finished(d, s1 - of_row);
        to[c + 2] = finished(d, s2 - of_row);
        to[c + 3] = finished(d, s3 - of_row);
    }
    return c;
}

#endif

static void straight(const tml_batch_matmul_t *shape, const tml_batch_matmul_data_t *d,
                     const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t depth = (int32_t)shape->depth, columns = (int32_t)shape->columns;
    for (uint32_t r = 0; r < shape->rows; ++r, a += depth, output += columns) {
        for (int32_t c = four_columns(shape, d, a, b, output); c < columns; ++c) {
            int32_t sum = 0;
            for (int32_t k = 0; k < depth; ++k) {
                sum += (a[k] - d->a_zero_point) *
                       (b[k * (int32_t)shape->b_row_stride + c] - d->b_zero_point);
            }
            output[c] = finished(d, sum);
        }
    }
}

void tml_batch_matmul_s8(const tml_batch_matmul_t *shape, const void *data, const int8_t *a,
                         const int8_t *b, int8_t *output) {
    const tml_batch_matmul_data_t d = *(const tml_batch_matmul_data_t *)data;
    const uint32_t rows = shape->rows, depth = shape->depth, columns = shape->columns;
    for (uint32_t n = 0; n < shape->batches; ++n) {
        if (shape->b_row_stride == 1) {
            transposed(shape, &d, a, b, output);
        } else {
            straight(shape, &d, a, b, output);
        }
        a += rows * depth;
        b += depth * columns;
        output += rows * columns;
    }
}

void tml_batch_matmul_s16(const tml_batch_matmul_t *shape, const void *data, const int16_t *a,
                          const int16_t *b, int16_t *output) {
    const tml_batch_matmul_data_t d = *(const tml_batch_matmul_data_t *)data;
    const uint32_t depth = shape->depth, columns = shape->columns, step = shape->b_row_stride;
    const int as_rows = step == 1 && d.a_zero_point == 0 && d.b_zero_point == 0;
    const int32_t zero = d.output_zero_point;
    for (uint32_t n = 0; n < shape->batches; ++n, b += depth * columns) {
        for (uint32_t r = 0; r < shape->rows; ++r, a += depth) {
            for (uint32_t c = 0; c < columns; ++c) {
                const int16_t *column = b + c * shape->b_column_stride;
                int64_t sum = as_rows ? dot_s16(a, column, (int32_t)depth) : 0;
                for (uint32_t k = 0; !as_rows && k < depth; ++k, column += step) {
                    sum += (int64_t)(a[k] - d.a_zero_point) * (*column - d.b_zero_point);
                }
                const int32_t scaled = tml_requantise_wide(sum, d.multiplier, d.shift);
                *output++ = (int16_t)(tml_clamp(scaled, INT16_MIN - zero, INT16_MAX - zero) + zero);
            }
        }
    }
}
