void CK_VARIANT(ck_adamw_step)(
    float *restrict w, const float *restrict g, float *restrict m, float *restrict v, size_t n, ck_adamw c) {
    for (size_t i = 0; i < n; i++) {
        float slope = c.gradient_scale * g[i];
        m[i] = c.beta1 * m[i] + (1 - c.beta1) * slope;
        v[i] = c.beta2 * v[i] + (1 - c.beta2) * (slope * slope);
        float direction = m[i] * c.correction1 / (SQRT(v[i] * c.correction2) + c.epsilon);
        w[i] -= c.rate * (direction + c.decay * w[i]);
    }
}

void CK_VARIANT(ck_momentum_step)(
    float *restrict w, const float *restrict g, float *restrict b, size_t n, float rate, float momentum, float decay,
    float gradient_scale) {
    for (size_t i = 0; i < n; i++) {
        b[i] = momentum * b[i] + (gradient_scale * g[i] + decay * w[i]);
        w[i] -= rate * b[i];
    }
}
