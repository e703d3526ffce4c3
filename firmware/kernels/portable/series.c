/* SPDX-License-Identifier: Apache-2.0
 *
 * Instance scaling of a time series. All in integers of 64 bits where products need them; once
 * for each inference and sample, so speed is not what matters here. */
#include "tinyml/kernels.h"

#define COUNT_LIMIT ((1 << 25) - 1)
#define VARIANCE_LIMIT (((uint64_t)1 << 53) - 1u)
#define MISSING INT32_MIN

static int32_t limited(int32_t x) {
    return x < -COUNT_LIMIT ? -COUNT_LIMIT : x > COUNT_LIMIT ? COUNT_LIMIT : x;
}

static uint32_t root(uint64_t x) {
    uint64_t result = 0, bit = (uint64_t)1 << 62;
    while (bit > x) bit >>= 2;
    for (; bit; bit >>= 2) {
        if (x >= result + bit) {
            x -= result + bit;
            result = (result >> 1) + bit;
        } else {
            result >>= 1;
        }
    }
    return (uint32_t)result;
}

/* sum / count to the nearest integer, half up. */
static int32_t mean_of(int64_t sum, int64_t count) {
    const int64_t numerator = 2 * sum + count, denominator = 2 * count;
    int64_t quotient = numerator / denominator;
    if (numerator % denominator < 0) --quotient;
    return (int32_t)quotient;
}

void tml_series_statistics(const tml_series_t *shape, const void *data, const int32_t *input,
                           int32_t *output) {
    const tml_series_statistics_data_t *d = (const tml_series_statistics_data_t *)data;
    const uint64_t epsilon = ((uint64_t)d->epsilon_high << 32) | d->epsilon_low;
    for (uint32_t c = 0; c < shape->channels; ++c) {
        int64_t sum = 0, count = 0;
        for (uint32_t t = 0; t < shape->time; ++t) {
            const int32_t x = input[t * shape->channels + c];
            if (x == MISSING) continue;
            sum += limited(x);
            ++count;
        }
        count = count ? count : 1;
        const int32_t mean = mean_of(sum, count);
        uint64_t squares = 0;
        for (uint32_t t = 0; t < shape->time; ++t) {
            const int32_t x = input[t * shape->channels + c];
            if (x == MISSING) continue;
            const int64_t difference = (int64_t)limited(x) - mean;
            squares += (uint64_t)(difference * difference);
        }
        uint64_t variance = squares / (uint64_t)count;
        variance = epsilon > VARIANCE_LIMIT - variance ? VARIANCE_LIMIT : variance + epsilon;
        const uint32_t deviation = root(variance << 8);
        output[c] = mean;
        output[shape->channels + c] = deviation ? (int32_t)deviation : 1;
    }
}

/* The deviation with its highest bit at bit 31, and how far it was shifted. */
static uint32_t normalised(int32_t deviation, int32_t *shift) {
    /* 0 only where a caller wrote the statistics: then as 1. */
    uint32_t x = deviation > 0 ? (uint32_t)deviation : 1u;
    *shift = 0;
    for (; !(x & 0x80000000u); x <<= 1) ++*shift;
    return x;
}

static int32_t standard(int32_t x, int32_t mean, int64_t factor, int32_t right) {
    if (x == MISSING) return 0;
    const int64_t value =
        (((int64_t)limited(x) - mean) * factor + ((int64_t)1 << (right - 1))) >> right;
    return value > INT16_MAX * 2   ? INT16_MAX * 2
           : value < INT16_MIN * 2 ? INT16_MIN * 2
                                   : (int32_t)value;
}

#define STANDARDISE_LOOP(type, low, high)                                                          \
    const tml_series_data_t *d = (const tml_series_data_t *)data;                                  \
    for (uint32_t c = 0; c < shape->channels; ++c) {                                               \
        const int32_t *of = statistics + shape->first + c;                                         \
        int32_t bits;                                                                              \
        const uint32_t deviation = normalised(of[shape->statistics], &bits);                       \
        const int64_t factor = ((int64_t)d->multiplier << 31) / deviation;                         \
        const int32_t right = 62 - d->shift - bits;                                                \
        for (uint32_t t = 0; t < shape->time; ++t) {                                               \
            const uint32_t at = t * shape->channels + c;                                           \
            const int32_t y = standard(input[at], *of, factor, right) + d->zero_point;             \
            output[at] = (type)(y < low ? low : y > high ? high : y);                              \
        }                                                                                          \
    }

void tml_series_standardise_s8(const tml_series_t *shape, const void *data, const int32_t *input,
                               const int32_t *statistics, int8_t *output) {
    STANDARDISE_LOOP(int8_t, INT8_MIN, INT8_MAX)
}

void tml_series_standardise_s16(const tml_series_t *shape, const void *data, const int32_t *input,
                                const int32_t *statistics, int16_t *output) {
    STANDARDISE_LOOP(int16_t, INT16_MIN, INT16_MAX)
}

#define RESTORE_LOOP                                                                               \
    const tml_series_data_t *d = (const tml_series_data_t *)data;                                  \
    for (uint32_t c = 0; c < shape->channels; ++c) {                                               \
        const int32_t *of = statistics + shape->first + c;                                         \
        int32_t bits;                                                                              \
        const uint64_t deviation = normalised(of[shape->statistics], &bits);                       \
        const uint64_t product = deviation * (uint64_t)(uint32_t)d->multiplier;                    \
        const int64_t factor = (int64_t)((product + 0x80000000u) >> 32);                           \
        const int32_t right = bits - d->shift - 1;                                                 \
        const int64_t half = ((int64_t)1 << right) >> 1;                                           \
        for (uint32_t t = 0; t < shape->time; ++t) {                                               \
            const uint32_t at = t * shape->channels + c;                                           \
            const int64_t x = (int64_t)input[at] - d->zero_point;                                  \
            output[at] = within32(*of + ((x * factor + half) >> right));                           \
        }                                                                                          \
    }

/* INT32_MIN marks what is missing, so no forecast may be it. */
static int32_t within32(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x <= INT32_MIN ? INT32_MIN + 1 : (int32_t)x;
}

void tml_series_restore_s8(const tml_series_t *shape, const void *data, const int8_t *input,
                           const int32_t *statistics, int32_t *output) {
    RESTORE_LOOP
}

void tml_series_restore_s16(const tml_series_t *shape, const void *data, const int16_t *input,
                            const int32_t *statistics, int32_t *output) {
    RESTORE_LOOP
}
