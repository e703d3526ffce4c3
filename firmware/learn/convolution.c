/* SPDX-License-Identifier: Apache-2.0
 *
 * One filter of a convolution (conv2d), or one kernel position of all filters (depthwise).
 */
#include "tinyml/learn_kernels.h"
#include "window.h"

/* Walks the taps of one output position that lie inside the input: `in` and `tap` are the offsets
 * of a tap's first channel in the image and in the filter. */
#define FOR_EACH_TAP(w, y, x)                                                                      \
    const window_span_t v =                                                                        \
        window_span(y, (w)->stride_h, (w)->pad_top, (w)->dilation_h, (w)->kernel_h, (w)->input_h); \
    const window_span_t h = window_span(x, (w)->stride_w, (w)->pad_left, (w)->dilation_w,          \
                                        (w)->kernel_w, (w)->input_w);                              \
    for (int32_t i = v.begin; i < v.end; ++i)                                                      \
        for (int32_t j = h.begin; j < h.end; ++j)

#define IN_OFFSET(w)                                                                               \
    (((v.origin + i * (w)->dilation_h) * (w)->input_w + h.origin + j * (w)->dilation_w) *          \
     (w)->input_c)
#define TAP_OFFSET(w) ((i * (w)->kernel_w + j) * (w)->input_c)

void tml_learn_conv2d_row(const tml_learn_layer_t *layer, const float *weights, float bias,
                          const float *input, uint32_t row, float *output) {
    const tml_window_t *w = &layer->window;
    output += row;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, output += w->output_c) {
            float sum = bias;
            FOR_EACH_TAP(w, y, x) {
                const float *in = input + IN_OFFSET(w), *filter = weights + TAP_OFFSET(w);
                for (int32_t c = 0; c < w->input_c; ++c) sum += in[c] * filter[c];
            }
            *output = sum;
        }
    }
}

void tml_learn_conv2d_delta(const tml_learn_layer_t *layer, const float *weights,
                            const float *delta, uint32_t row, float *delta_in) {
    const tml_window_t *w = &layer->window;
    delta += row;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, delta += w->output_c) {
            const float d = *delta;
            if (d == 0.0f) continue; /* usual behind a ReLU */
            FOR_EACH_TAP(w, y, x) {
                float *in = delta_in + IN_OFFSET(w);
                const float *filter = weights + TAP_OFFSET(w);
                for (int32_t c = 0; c < w->input_c; ++c) in[c] += d * filter[c];
            }
        }
    }
}

void tml_learn_conv2d_gradient(const tml_learn_layer_t *layer, const float *input,
                               const float *delta, uint32_t row, float *gradient) {
    const tml_window_t *w = &layer->window;
    delta += row;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, delta += w->output_c) {
            const float d = *delta;
            if (d == 0.0f) continue;
            FOR_EACH_TAP(w, y, x) {
                const float *in = input + IN_OFFSET(w);
                float *filter = gradient + TAP_OFFSET(w);
                for (int32_t c = 0; c < w->input_c; ++c) filter[c] += d * in[c];
            }
        }
    }
}

/* Where a depthwise kernel position reads for an output position: the offset of the pixel, or -1
 * in the padding. */
static int32_t pixel(const tml_window_t *w, uint32_t row, int32_t y, int32_t x) {
    const int32_t i = (int32_t)row / w->kernel_w, j = (int32_t)row % w->kernel_w;
    const int32_t from_y = y * w->stride_h - w->pad_top + i * w->dilation_h;
    const int32_t from_x = x * w->stride_w - w->pad_left + j * w->dilation_w;
    const bool inside = from_y >= 0 && from_y < w->input_h && from_x >= 0 && from_x < w->input_w;
    return inside ? (from_y * w->input_w + from_x) * w->input_c : -1;
}

void tml_learn_depthwise_row(const tml_learn_layer_t *layer, const float *weights,
                             const float *input, uint32_t row, float *output) {
    const tml_window_t *w = &layer->window;
    const int32_t multiplier = w->output_c / w->input_c;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, output += w->output_c) {
            const int32_t at = pixel(w, row, y, x);
            if (at < 0) continue;
            for (int32_t c = 0; c < w->output_c; ++c) {
                output[c] += weights[c] * input[at + c / multiplier];
            }
        }
    }
}

void tml_learn_depthwise_delta(const tml_learn_layer_t *layer, const float *weights,
                               const float *delta, uint32_t row, float *delta_in) {
    const tml_window_t *w = &layer->window;
    const int32_t multiplier = w->output_c / w->input_c;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, delta += w->output_c) {
            const int32_t at = pixel(w, row, y, x);
            if (at < 0) continue;
            for (int32_t c = 0; c < w->output_c; ++c) {
                delta_in[at + c / multiplier] += weights[c] * delta[c];
            }
        }
    }
}

void tml_learn_depthwise_gradient(const tml_learn_layer_t *layer, const float *input,
                                  const float *delta, uint32_t row, float *gradient) {
    const tml_window_t *w = &layer->window;
    const int32_t multiplier = w->output_c / w->input_c;
    for (int32_t y = 0; y < w->output_h; ++y) {
        for (int32_t x = 0; x < w->output_w; ++x, delta += w->output_c) {
            const int32_t at = pixel(w, row, y, x);
            if (at < 0) continue;
            for (int32_t c = 0; c < w->output_c; ++c) {
                gradient[c] += delta[c] * input[at + c / multiplier];
            }
        }
    }
}
