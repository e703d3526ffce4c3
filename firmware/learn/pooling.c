/* SPDX-License-Identifier: Apache-2.0
 *
 * Maximum, average and mean, forward and backward.
 */
#include "learn_bytes.h"
#include "tinyml/learn_kernels.h"
#include "window.h"

static uint32_t input_count(const tml_window_t *w) {
    return (uint32_t)w->input_h * w->input_w * w->input_c;
}

/* The taps of an output position inside the input: rows [y0, y1) and columns [x0, x1) in steps of
 * the dilation. */
typedef struct {
    int32_t y0, y1, x0, x1;
} taps_t;

static taps_t taps_of(const tml_window_t *w, int32_t y, int32_t x) {
    const window_span_t v =
        window_span(y, w->stride_h, w->pad_top, w->dilation_h, w->kernel_h, w->input_h);
    const window_span_t h =
        window_span(x, w->stride_w, w->pad_left, w->dilation_w, w->kernel_w, w->input_w);
    return (taps_t){v.origin + v.begin * w->dilation_h, v.origin + v.end * w->dilation_h,
                    h.origin + h.begin * w->dilation_w, h.origin + h.end * w->dilation_w};
}

static int32_t largest_tap(const tml_window_t *w, const taps_t *t, const float *input, int32_t c) {
    int32_t best = (t->y0 * w->input_w + t->x0) * w->input_c + c;
    for (int32_t y = t->y0; y < t->y1; y += w->dilation_h) {
        for (int32_t x = t->x0; x < t->x1; x += w->dilation_w) {
            const int32_t at = (y * w->input_w + x) * w->input_c + c;
            if (input[at] > input[best]) best = at;
        }
    }
    return best;
}

void tml_learn_max_pool(const tml_window_t *w, const float *input, float *output) {
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x) {
            const taps_t t = taps_of(w, y, x);
            for (int32_t c = 0; c < w->output_c; ++c) {
                *output++ = input[largest_tap(w, &t, input, c)];
            }
        }
    }
}

void tml_learn_max_pool_backward(const tml_window_t *w, const float *input, const float *delta,
                                 float *delta_in, bool accumulate) {
    if (!accumulate) memset(delta_in, 0, input_count(w) * sizeof *delta_in);
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x) {
            const taps_t t = taps_of(w, y, x);
            for (int32_t c = 0; c < w->output_c; ++c) {
                delta_in[largest_tap(w, &t, input, c)] += *delta++;
            }
        }
    }
}

static float tap_count(const tml_window_t *w, const taps_t *t) {
    const int32_t rows = (t->y1 - t->y0) / w->dilation_h, columns = (t->x1 - t->x0) / w->dilation_w;
    return (float)(rows * columns);
}

void tml_learn_average_pool(const tml_window_t *w, const float *input, float *output) {
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x) {
            const taps_t t = taps_of(w, y, x);
            const float count = tap_count(w, &t);
            for (int32_t c = 0; c < w->output_c; ++c) {
                float sum = 0.0f;
                for (int32_t i = t.y0; i < t.y1; i += w->dilation_h) {
                    for (int32_t j = t.x0; j < t.x1; j += w->dilation_w) {
                        sum += input[(i * w->input_w + j) * w->input_c + c];
                    }
                }
                *output++ = sum / count;
            }
        }
    }
}

void tml_learn_average_pool_backward(const tml_window_t *w, const float *delta, float *delta_in,
                                     bool accumulate) {
    if (!accumulate) memset(delta_in, 0, input_count(w) * sizeof *delta_in);
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x) {
            const taps_t t = taps_of(w, y, x);
            const float count = tap_count(w, &t);
            for (int32_t c = 0; c < w->output_c; ++c) {
                const float part = *delta++ / count;
                for (int32_t i = t.y0; i < t.y1; i += w->dilation_h) {
                    for (int32_t j = t.x0; j < t.x1; j += w->dilation_w) {
                        delta_in[(i * w->input_w + j) * w->input_c + c] += part;
                    }
                }
            }
        }
    }
}

void tml_learn_mean(uint32_t count, uint32_t channels, const float *input, float *output) {
    for (uint32_t c = 0; c < channels; ++c) {
        float sum = 0.0f;
        for (uint32_t p = 0; p < count; ++p) sum += input[p * channels + c];
        output[c] = sum / (float)count;
    }
}

void tml_learn_mean_backward(uint32_t count, uint32_t channels, const float *delta, float *delta_in,
                             bool accumulate) {
    if (!accumulate) memset(delta_in, 0, count * channels * sizeof *delta_in);
    for (uint32_t c = 0; c < channels; ++c) {
        const float part = delta[c] / (float)count;
        for (uint32_t p = 0; p < count; ++p) delta_in[p * channels + c] += part;
    }
}
