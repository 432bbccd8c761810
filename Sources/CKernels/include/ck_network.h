#pragma once
#include "ck_target.h"

// Root mean square norm (Zhang & Sennrich 2019) of each row: y = gain ∘ x·r, r = 1/√(mean x² + epsilon). gain may be NULL
// (ones). reciprocal[rows] receives r.
void ck_rms_norm(const float *x, const float *gain, float epsilon, float *y, float *reciprocal, size_t rows, size_t columns);
// dx = r·(g − x·r²·mean(g∘x)) with g = gain∘dy; gain_gradient (NULL when not wanted) += Σ_rows dy∘x·r.
void ck_rms_norm_backward(const float *dy, const float *x, const float *gain, const float *reciprocal, float *dx,
                          float *gain_gradient, size_t rows, size_t columns);

// Layer norm (Ba et al. 2016) of each row: y = gain ∘ (x − m)·r + shift, m = mean x, r = 1/√(mean (x − m)² + epsilon). gain and
// shift may be NULL (ones, zeros). mean[rows] receives m, reciprocal[rows] r.
void ck_layer_norm(const float *x, const float *gain, const float *shift, float epsilon, float *y, float *mean,
                   float *reciprocal, size_t rows, size_t columns);
// With n = (x − m)·r and g = gain∘dy: dx = r·(g − mean g − n·mean(g∘n)). gain_gradient += Σ_rows dy∘n and shift_gradient +=
// Σ_rows dy, each NULL when not wanted.
void ck_layer_norm_backward(const float *dy, const float *x, const float *gain, const float *mean, const float *reciprocal,
                            float *dx, float *gain_gradient, float *shift_gradient, size_t rows, size_t columns);

// y = max(x, 0)
void ck_relu(const float *x, float *y, size_t n);
// dx = dy where y > 0, else 0; dx may be the same memory as dy.
void ck_relu_backward(const float *dy, const float *y, float *dx, size_t n);

// Rotary embedding, in place, of rows that hold `heads` heads of `d` entries: the pair (i, i + d/2) of a head turns by the
// angle of its position, whose cosines and sines are row (row mod positions) of the tables [positions, d/2].
// direction is +1, or −1 for the inverse (which is the derivative).
void ck_rope(float *x, const float *cosine, const float *sine, float direction, size_t rows, size_t positions, size_t heads,
             size_t d);

// y = silu(gate)∘up, silu(g) = g/(1 + e^−g)
void ck_swiglu(const float *gate, const float *up, float *y, size_t n);
// d_gate and d_up from dy; each may be the same memory as dy.
void ck_swiglu_backward(const float *dy, const float *gate, const float *up, float *d_gate, float *d_up, size_t n);

// Rows of causal attention: of row i of scores [rows, stride] the last `window` (or fewer, if there are no more) of the
// entries 0 … first + i are visible; they become their softmax, the other entries up to `columns` become 0. log_sum[i]
// receives log Σ exp.
void ck_softmax_causal(float *scores, float *log_sum, size_t rows, size_t columns, size_t stride, size_t first, size_t window);
// The same rows again from saved log sums: p = exp(score − log_sum).
void ck_softmax_causal_again(float *scores, const float *log_sum, size_t rows, size_t columns, size_t stride, size_t first,
                             size_t window);
// d_scores = p∘(dp − dot[i])·scale over the visible entries, 0 elsewhere; written to dp.
void ck_softmax_backward(const float *p, float *dp, const float *dot, float scale, size_t rows, size_t columns, size_t stride,
                         size_t first, size_t window);
// dot[i] = Σ_j a[i, j]·b[i, j] for rows of `columns` entries at distance `stride`.
void ck_row_dots(const float *a, const float *b, float *dot, size_t rows, size_t columns, size_t stride);

// y[i, j] += bias[j]
void ck_add_bias(float *y, const float *bias, size_t rows, size_t columns);
// sum[j] += Σ_i x[i, j]
void ck_column_sums(const float *x, float *sum, size_t rows, size_t columns);

// Cross entropy of one row of logits against `target`; the logits become scale·(softmax − onehot). Returns the loss in nats.
// With scale 0 no gradient is made, here and below: what the logits become is of no use.
float ck_cross_entropy(float *logits, size_t target, float scale, size_t columns);
// Kullback-Leibler divergence Σ p·(log p − log q) of one row, p from `teacher`, q from `logits`; logits become scale·(q − p).
float ck_kl_divergence(float *logits, const float *teacher, float scale, size_t columns);
// Rows of a and b whose largest entry, the first of equal ones, is at the same place.
size_t ck_agreements(const float *a, const float *b, size_t rows, size_t columns);
// Draws an index from softmax(logits/temperature): the first whose cumulative probability exceeds `uniform`.
size_t ck_sample(const float *logits, float temperature, float uniform, float *scratch, size_t columns);
// One token's attention over a cache: q and y [heads·d]; keys and values [length, key_value_heads·d]; scratch [length].
void ck_decode_attention(const float *q, const float *keys, const float *values, float *y, float *scratch, size_t length,
                         size_t heads, size_t key_value_heads, size_t d, float scale);
