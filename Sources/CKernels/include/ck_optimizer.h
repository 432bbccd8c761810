#pragma once
#include "ck_target.h"

// One step of AdamW (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2), with gradient g = gradient_scale·given:
//   m ← β1·m + (1−β1)·g    v ← β2·v + (1−β2)·g²
//   w ← w − rate·(m·correction1 / (√(v·correction2) + ε) + decay·w)
typedef struct {
    float rate, beta1, beta2, epsilon, decay, gradient_scale;
    float correction1, correction2; // 1/(1−β1^t), 1/(1−β2^t) of step t, the first being 1
} ck_adamw;
void ck_adamw_step(float *w, const float *g, float *m, float *v, size_t n, ck_adamw c);

// One step of gradient descent with momentum, decay added to the gradient (both as in Sutskever et al., ICML 2013, without
// Nesterov):
//   b ← momentum·b + gradient_scale·g + decay·w    w ← w − rate·b
void ck_momentum_step(
    float *w, const float *g, float *b, size_t n, float rate, float momentum, float decay, float gradient_scale);
