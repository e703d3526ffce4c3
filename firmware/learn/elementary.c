/* SPDX-License-Identifier: Apache-2.0
 *
 * exp, log, tanh, sigmoid and square root for firmware without a C library. The same operations
 * in the same order everywhere: every target computes the same bits. Results below the smallest
 * normal number are 0.
 */
#include "learn_bytes.h"
#include "tinyml/learn_kernels.h"

static const float LN2_HIGH = 0.693359375f; /* 9 bits: its product with an exponent is exact */
static const float LN2_LOW = -2.12194440e-4f;

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool tml_finite(float x) {
    return (bits_of(x) & 0x7F800000u) != 0x7F800000u;
}

float tml_absf(float x) {
    return of_bits(bits_of(x) & 0x7FFFFFFFu);
}

/* x = k ln 2 + r with |r| <= ln 2 / 2; the Taylor polynomial of exp(r) to r**7, then 2**k. */
float tml_expf(float x) {
    if (x != x) return x;
    if (x > 88.72283f) return of_bits(0x7F800000u);
    if (x < -87.33654f) return 0.0f;
    const float scaled = x * 1.44269504f;
    const int32_t k = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    const float n = (float)k;
    const float r = (x - n * LN2_HIGH) - n * LN2_LOW;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r * r + r;
    p = p + 1.0f;
    /* k is at most 128, one more than the largest exponent: two steps. */
    const int32_t half = k / 2;
    return p * of_bits((uint32_t)(half + 127) << 23) * of_bits((uint32_t)(k - half + 127) << 23);
}

/* x = m 2**k with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh((m - 1) / (m + 1)). */
float tml_logf(float x) {
    if (x != x || x < 0.0f) return of_bits(0x7FC00000u);
    if (x < 1.17549435e-38f) return of_bits(0xFF800000u);
    if (!tml_finite(x)) return x;
    uint32_t bits = bits_of(x);
    int32_t k = (int32_t)(bits >> 23) - 127;
    bits = (bits & 0x007FFFFFu) | 0x3F800000u;
    float m = of_bits(bits);
    if (m > 1.41421356f) {
        m *= 0.5f;
        k += 1;
    }
    /* f - s (f - tail) rather than 2 s: the rounding of s then hardly matters. */
    const float f = m - 1.0f;
    const float s = f / (2.0f + f);
    const float z = s * s;
    float tail = 2.0f / 9.0f;
    tail = tail * z + 2.0f / 7.0f;
    tail = tail * z + 2.0f / 5.0f;
    tail = tail * z + 2.0f / 3.0f;
    tail = tail * z;
    const float n = (float)k;
    return (f - s * (f - tail)) + n * LN2_LOW + n * LN2_HIGH;
}

float tml_tanhf(float x) {
    const float a = tml_absf(x);
    if (a > 9.1f) return x < 0.0f ? -1.0f : 1.0f;
    if (a < 0.625f) {
        /* Lambert's continued fraction, as x + x**3 * rational: no cancellation. */
        const float z = x * x;
        const float top = -45045.0f + z * (-2772.0f - 27.0f * z);
        const float bottom = 135135.0f + z * (62370.0f + z * (3150.0f + 28.0f * z));
        return x + x * z * (top / bottom);
    }
    const float magnitude = 1.0f - 2.0f / (tml_expf(2.0f * a) + 1.0f);
    return x < 0.0f ? -magnitude : magnitude;
}

float tml_sigmoidf(float x) {
    if (x >= 0.0f) return 1.0f / (1.0f + tml_expf(-x));
    const float e = tml_expf(x);
    return e / (1.0f + e);
}

/* Newton's iteration from half the exponent. */
float tml_sqrtf(float x) {
    if (!(x >= 1.17549435e-38f)) return x == x && x >= 0.0f ? 0.0f : of_bits(0x7FC00000u);
    if (!tml_finite(x)) return x;
    float y = of_bits((bits_of(x) >> 1) + 0x1FBD1DF5u);
    for (int step = 0; step < 4; ++step) y = 0.5f * (y + x / y);
    return y;
}
