/* SPDX-License-Identifier: Apache-2.0
 *
 * Running statistics and the drift test.
 */
#include "tinyml/learn_kernels.h"

/* A feature that never changes has no scale; this one keeps a later change finite. */
static const float SMALLEST_VARIANCE = 1e-6f;

void tml_moments_clear(tml_moments_t *moments) {
    moments->count = 0;
    for (uint32_t i = 0; i < moments->features; ++i) moments->mean[i] = moments->m2[i] = 0.0f;
}

void tml_moments_add(tml_moments_t *moments, const float *sample, uint32_t window) {
    const bool fades = window > 0 && moments->count >= window;
    if (!fades && moments->count < UINT32_MAX) ++moments->count;
    const float n = (float)moments->count;
    for (uint32_t i = 0; i < moments->features; ++i) {
        const float d = sample[i] - moments->mean[i];
        moments->mean[i] += d / n;
        if (fades) {
            /* The variance m2 / n moves by 1/n toward d**2 (1 - 1/n), and n stays. */
            moments->m2[i] = (1.0f - 1.0f / n) * (moments->m2[i] + d * d);
        } else {
            moments->m2[i] += d * (sample[i] - moments->mean[i]);
        }
    }
}

void tml_moments_merge(tml_moments_t *moments, uint32_t count, const float *mean, const float *m2) {
    if (count == 0) return;
    const float a = (float)moments->count, b = (float)count;
    const uint32_t room = UINT32_MAX - moments->count;
    for (uint32_t i = 0; i < moments->features; ++i) {
        const float d = mean[i] - moments->mean[i];
        moments->mean[i] += d * (b / (a + b));
        moments->m2[i] += m2[i] + d * d * (a * (b / (a + b)));
    }
    moments->count += count < room ? count : room;
}

static float deviation(const tml_moments_t *moments, uint32_t i) {
    const float variance = moments->count > 1 ? moments->m2[i] / (float)(moments->count - 1) : 0.0f;
    return tml_sqrtf(variance > SMALLEST_VARIANCE ? variance : SMALLEST_VARIANCE);
}

void tml_moments_standardise(const tml_moments_t *moments, const float *sample, float *result) {
    for (uint32_t i = 0; i < moments->features; ++i) {
        result[i] = (sample[i] - moments->mean[i]) / deviation(moments, i);
    }
}

float tml_moments_distance(const tml_moments_t *moments, const float *sample) {
    float largest = 0.0f;
    for (uint32_t i = 0; i < moments->features; ++i) {
        const float z = tml_absf(sample[i] - moments->mean[i]) / deviation(moments, i);
        if (z > largest) largest = z;
    }
    return largest;
}

void tml_drift_clear(tml_drift_t *drift) {
    drift->count = 0;
    drift->mean = drift->sum = drift->lowest = 0.0f;
}

bool tml_drift_add(tml_drift_t *drift, float value) {
    if (drift->count < UINT32_MAX) ++drift->count;
    drift->mean += (value - drift->mean) / (float)drift->count;
    drift->sum += value - drift->mean - drift->tolerance;
    if (drift->sum < drift->lowest) drift->lowest = drift->sum;
    if (drift->sum - drift->lowest <= drift->threshold) return false;
    tml_drift_clear(drift);
    return true;
}
