/* SPDX-License-Identifier: Apache-2.0
 *
 * What generated learners call: float32 layers, forward and backward. Programs use
 * tinyml/learn.h.
 *
 * Tensors are NHWC, batch 1. Sums run in the order of the loops and nothing is contracted
 * (-ffp-contract=off, the default of -std=c11), so every target computes the same bits.
 */
#ifndef TINYML_LEARN_KERNELS_H
#define TINYML_LEARN_KERNELS_H

#include "tinyml/kernels.h"
#include "tinyml/learn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    TML_LEARN_DENSE = 0,     /* rows: outputs, of `inputs` weights */
    TML_LEARN_CONV2D = 1,    /* rows: output channels, of kernel_h * kernel_w * input_c weights */
    TML_LEARN_DEPTHWISE = 2, /* rows: kernel positions, of output_c weights */
} tml_learn_kind_t;

/* A layer with weights. Trained are the rows [row_first, row_first + row_count) and the biases
 * [bias_first, bias_first + bias_count); the others are read where they were exported. */
struct tml_learn_layer {
    const char *name;
    tml_learn_kind_t kind;
    tml_window_t window; /* convolutions */
    uint32_t positions;  /* outputs of each channel */
    uint32_t input_count;
    uint32_t rows, row_length, channels;
    uint32_t row_first, row_count, bias_first, bias_count;
    uint32_t weights_at, bias_at; /* in the trained weights */
    bool is_output;               /* dense; only the active outputs are computed */
    const float *weights, *bias;  /* as exported, all of them */
};

typedef enum {
    TML_PASS_UPDATE = 0,   /* weights -= rate * gradient */
    TML_PASS_GRADIENT = 1, /* gradient += */
    TML_PASS_CAPTURE = 2,  /* copy input and delta of one layer */
} tml_learn_mode_t;

/* One forward or backward pass. */
struct tml_learn_pass {
    tml_learn_mode_t mode;
    float *memory;                  /* the float part of `work` */
    float *weights;                 /* trained */
    float *velocity;                /* NULL without momentum */
    float *gradient;                /* GRADIENT */
    float *row;                     /* scratch, the longest trained row */
    float rate, momentum;           /* UPDATE */
    uint32_t outputs;               /* active */
    const tml_learn_layer_t *layer; /* CAPTURE, or whose channels `moments` observes */
    float *input, *delta;           /* CAPTURE */
    tml_moments_t *moments;         /* NULL: observe nothing */
};

/* output = weights * input + bias. */
void tml_learn_forward(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                       const float *input, float *output);
/* Row by row: adds what the row contributes to delta_in (NULL: nothing below learns), then updates
 * the row. `accumulate` false: delta_in is cleared first. */
void tml_learn_backward(const tml_learn_pass_t *pass, const tml_learn_layer_t *layer,
                        const float *input, const float *delta, float *delta_in, bool accumulate);

/* The parts of which the two above are made, by kind. `weights` is one row. */
void tml_learn_dense_row(const tml_learn_layer_t *layer, const float *weights, float bias,
                         const float *input, uint32_t row, float *output);
void tml_learn_dense_delta(const tml_learn_layer_t *layer, const float *weights, const float *delta,
                           uint32_t row, float *delta_in);
void tml_learn_dense_gradient(const tml_learn_layer_t *layer, const float *input,
                              const float *delta, uint32_t row, float *gradient);
void tml_learn_conv2d_row(const tml_learn_layer_t *layer, const float *weights, float bias,
                          const float *input, uint32_t row, float *output);
void tml_learn_conv2d_delta(const tml_learn_layer_t *layer, const float *weights,
                            const float *delta, uint32_t row, float *delta_in);
void tml_learn_conv2d_gradient(const tml_learn_layer_t *layer, const float *input,
                               const float *delta, uint32_t row, float *gradient);
/* output += what this kernel position contributes. */
void tml_learn_depthwise_row(const tml_learn_layer_t *layer, const float *weights,
                             const float *input, uint32_t row, float *output);
void tml_learn_depthwise_delta(const tml_learn_layer_t *layer, const float *weights,
                               const float *delta, uint32_t row, float *delta_in);
void tml_learn_depthwise_gradient(const tml_learn_layer_t *layer, const float *input,
                                  const float *delta, uint32_t row, float *gradient);
/* gradient += the gradient of one row. */
void tml_learn_row_gradient(const tml_learn_layer_t *layer, const float *input, const float *delta,
                            uint32_t row, float *gradient);

typedef enum {
    TML_RELU = 0,
    TML_RELU6 = 1,
    TML_TANH = 2,
    TML_SIGMOID = 3,
} tml_learn_activation_t;

/* May run in place. */
void tml_learn_activate(tml_learn_activation_t kind, const float *input, float *output,
                        uint32_t count);
/* From outputs, not inputs. delta_in may be delta when accumulate is false. */
void tml_learn_activate_backward(tml_learn_activation_t kind, const float *output,
                                 const float *delta, float *delta_in, uint32_t count,
                                 bool accumulate);

void tml_learn_add(const float *a, const float *b, float *output, uint32_t count);
/* delta_in (+)= delta. */
void tml_learn_pass_on(const float *delta, float *delta_in, uint32_t count, bool accumulate);

void tml_learn_max_pool(const tml_window_t *window, const float *input, float *output);
/* The first largest tap takes the delta. */
void tml_learn_max_pool_backward(const tml_window_t *window, const float *input, const float *delta,
                                 float *delta_in, bool accumulate);
/* Mean of the taps inside the input. */
void tml_learn_average_pool(const tml_window_t *window, const float *input, float *output);
void tml_learn_average_pool_backward(const tml_window_t *window, const float *delta,
                                     float *delta_in, bool accumulate);
/* Mean over `count` positions of each channel. */
void tml_learn_mean(uint32_t count, uint32_t channels, const float *input, float *output);
void tml_learn_mean_backward(uint32_t count, uint32_t channels, const float *delta, float *delta_in,
                             bool accumulate);

/* Network output to the learner's outputs (softmax, sigmoid, or as it is). */
void tml_learn_outputs(tml_learn_loss_t loss, const float *logits, float *output, uint32_t count);
/* The loss, and its gradient by each logit. */
float tml_learn_loss(tml_learn_loss_t loss, const float *logits, const float *output,
                     const tml_learn_target_t *target, float *delta, uint32_t count);

/* Elementary functions within 2 units in the last place; see firmware/learn/elementary.c. */
float tml_expf(float x);
float tml_logf(float x);
float tml_tanhf(float x);
float tml_sigmoidf(float x);
float tml_sqrtf(float x);
/* Neither NaN nor infinite. */
bool tml_finite(float x);
float tml_absf(float x);

#ifdef __cplusplus
}
#endif
#endif
