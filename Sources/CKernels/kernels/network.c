// Sums below may be taken in any order: the order is fixed when the file is compiled, so results repeat bit for bit.
#pragma clang fp reassociate(on)

void CK_VARIANT(ck_rms_norm)(const float *restrict x, const float *restrict gain, float epsilon, float *restrict y,
                             float *restrict reciprocal, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, x += columns, y += columns) {
        float sum = 0;
        for (size_t j = 0; j < columns; j++) sum += x[j] * x[j];
        float r = 1.0f / SQRT(sum / (float)columns + epsilon);
        reciprocal[i] = r;
        if (gain)
            for (size_t j = 0; j < columns; j++) y[j] = x[j] * r * gain[j];
        else
            for (size_t j = 0; j < columns; j++) y[j] = x[j] * r;
    }
}

void CK_VARIANT(ck_rms_norm_backward)(const float *restrict dy, const float *restrict x, const float *restrict gain,
                                      const float *restrict reciprocal, float *restrict dx, float *restrict gain_gradient,
                                      size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, x += columns, dy += columns, dx += columns) {
        float r = reciprocal[i], dot = 0;
        if (gain)
            for (size_t j = 0; j < columns; j++) dot += dy[j] * gain[j] * x[j];
        else
            for (size_t j = 0; j < columns; j++) dot += dy[j] * x[j];
        float pull = dot * r * r / (float)columns;
        if (gain)
            for (size_t j = 0; j < columns; j++) dx[j] = r * (dy[j] * gain[j] - x[j] * pull);
        else
            for (size_t j = 0; j < columns; j++) dx[j] = r * (dy[j] - x[j] * pull);
        if (gain_gradient)
            for (size_t j = 0; j < columns; j++) gain_gradient[j] += dy[j] * x[j] * r;
    }
}

void CK_VARIANT(ck_layer_norm)(const float *restrict x, const float *restrict gain, const float *restrict shift, float epsilon,
                               float *restrict y, float *restrict mean, float *restrict reciprocal, size_t rows,
                               size_t columns) {
    for (size_t i = 0; i < rows; i++, x += columns, y += columns) {
        float sum = 0, squares = 0;
        for (size_t j = 0; j < columns; j++) sum += x[j];
        float m = sum / (float)columns;
        for (size_t j = 0; j < columns; j++) squares += (x[j] - m) * (x[j] - m);
        float r = 1.0f / SQRT(squares / (float)columns + epsilon);
        mean[i] = m;
        reciprocal[i] = r;
        for (size_t j = 0; j < columns; j++) y[j] = (x[j] - m) * r;
        if (gain)
            for (size_t j = 0; j < columns; j++) y[j] *= gain[j];
        if (shift)
            for (size_t j = 0; j < columns; j++) y[j] += shift[j];
    }
}

void CK_VARIANT(ck_layer_norm_backward)(const float *restrict dy, const float *restrict x, const float *restrict gain,
                                        const float *restrict mean, const float *restrict reciprocal, float *restrict dx,
                                        float *restrict gain_gradient, float *restrict shift_gradient, size_t rows,
                                        size_t columns) {
    for (size_t i = 0; i < rows; i++, x += columns, dy += columns, dx += columns) {
        float m = mean[i], r = reciprocal[i], sum = 0, dot = 0;
        if (gain)
            for (size_t j = 0; j < columns; j++) dx[j] = dy[j] * gain[j];
        else
            for (size_t j = 0; j < columns; j++) dx[j] = dy[j];
        for (size_t j = 0; j < columns; j++) {
            sum += dx[j];
            dot += dx[j] * (x[j] - m);
        }
        float level = sum / (float)columns, pull = dot * r * r / (float)columns;
        for (size_t j = 0; j < columns; j++) dx[j] = r * (dx[j] - level - (x[j] - m) * pull);
        if (gain_gradient)
            for (size_t j = 0; j < columns; j++) gain_gradient[j] += dy[j] * (x[j] - m) * r;
        if (shift_gradient)
            for (size_t j = 0; j < columns; j++) shift_gradient[j] += dy[j];
    }
}

void CK_VARIANT(ck_relu)(const float *restrict x, float *restrict y, size_t n) {
    // What is not a number stays so.
    for (size_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

void CK_VARIANT(ck_relu_backward)(const float *dy, const float *y, float *dx, size_t n) {
#pragma clang loop vectorize(assume_safety)
    for (size_t i = 0; i < n; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

void CK_VARIANT(ck_rope)(float *x, const float *cosine, const float *sine, float direction, size_t rows, size_t positions,
                         size_t heads, size_t d) {
    size_t half = d / 2;
    for (size_t i = 0; i < rows; i++) {
        const float *restrict c = cosine + (i % positions) * half, *restrict s = sine + (i % positions) * half;
        for (size_t h = 0; h < heads; h++) {
            float *restrict a = x + (i * heads + h) * d, *restrict b = a + half;
            for (size_t j = 0; j < half; j++) {
                float u = a[j], v = b[j], t = direction * s[j];
                a[j] = u * c[j] - v * t;
                b[j] = v * c[j] + u * t;
            }
        }
    }
}

void CK_VARIANT(ck_swiglu)(const float *restrict gate, const float *restrict up, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + ck_exp(-gate[i])) * up[i];
}

void CK_VARIANT(ck_swiglu_backward)(const float *dy, const float *gate, const float *up, float *d_gate, float *d_up, size_t n) {
#pragma clang loop vectorize(assume_safety)
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], d = dy[i];
        float sigmoid = 1.0f / (1.0f + ck_exp(-g));
        float u = up[i];
        d_up[i] = d * g * sigmoid;
        d_gate[i] = d * u * sigmoid * (1.0f + g * (1.0f - sigmoid));
    }
}

INLINE float row_max(const float *restrict x, size_t n) {
    float lane[16], best = x[0];
    size_t i = 0;
    if (n >= 16) {
        for (int j = 0; j < 16; j++) lane[j] = x[j];
        for (i = 16; i + 16 <= n; i += 16)
            for (int j = 0; j < 16; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
        for (int j = 0; j < 16; j++) best = lane[j] > best ? lane[j] : best;
    }
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    return best;
}

// Row i of a block of causal attention sees the entries from `begin` up to `end`.
static inline __attribute__((always_inline)) size_t visible_begin(size_t end, size_t window) {
    return end > window ? end - window : 0;
}

void CK_VARIANT(ck_softmax_causal)(float *scores, float *log_sum, size_t rows, size_t columns, size_t stride, size_t first,
                                   size_t window) {
    for (size_t i = 0; i < rows; i++) {
        size_t end = first + i + 1, begin = visible_begin(end, window), valid = end - begin;
        float *restrict p = scores + i * stride + begin;
        float top = row_max(p, valid), sum = 0;
        for (size_t j = 0; j < valid; j++) {
            p[j] = ck_exp(p[j] - top);
            sum += p[j];
        }
        log_sum[i] = top + logf(sum);
        float inverse = 1.0f / sum;
        for (size_t j = 0; j < valid; j++) p[j] *= inverse;
        memset(p - begin, 0, begin * sizeof(float));
        memset(p + valid, 0, (columns - end) * sizeof(float));
    }
}

void CK_VARIANT(ck_softmax_causal_again)(float *scores, const float *log_sum, size_t rows, size_t columns, size_t stride,
                                         size_t first, size_t window) {
    for (size_t i = 0; i < rows; i++) {
        size_t end = first + i + 1, begin = visible_begin(end, window), valid = end - begin;
        float *restrict p = scores + i * stride + begin;
        float shift = log_sum[i];
        for (size_t j = 0; j < valid; j++) p[j] = ck_exp(p[j] - shift);
        memset(p - begin, 0, begin * sizeof(float));
        memset(p + valid, 0, (columns - end) * sizeof(float));
    }
}

void CK_VARIANT(ck_softmax_backward)(const float *restrict p, float *restrict dp, const float *restrict dot, float scale,
                                     size_t rows, size_t columns, size_t stride, size_t first, size_t window) {
    for (size_t i = 0; i < rows; i++, p += stride, dp += stride) {
        size_t end = first + i + 1, begin = visible_begin(end, window);
        memset(dp, 0, begin * sizeof(float));
        for (size_t j = begin; j < end; j++) dp[j] = p[j] * (dp[j] - dot[i]) * scale;
        memset(dp + end, 0, (columns - end) * sizeof(float));
    }
}

void CK_VARIANT(ck_row_dots)(const float *restrict a, const float *restrict b, float *restrict dot, size_t rows, size_t columns,
                             size_t stride) {
    for (size_t i = 0; i < rows; i++, a += stride, b += stride) {
        float sum = 0;
        for (size_t j = 0; j < columns; j++) sum += a[j] * b[j];
        dot[i] = sum;
    }
}

void CK_VARIANT(ck_add_bias)(float *restrict y, const float *restrict bias, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, y += columns)
        for (size_t j = 0; j < columns; j++) y[j] += bias[j];
}

void CK_VARIANT(ck_column_sums)(const float *restrict x, float *restrict sum, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, x += columns)
        for (size_t j = 0; j < columns; j++) sum[j] += x[j];
}

float CK_VARIANT(ck_cross_entropy)(float *restrict logits, size_t target, float scale, size_t columns) {
    float top = row_max(logits, columns), at_target = logits[target], sum = 0;
    for (size_t j = 0; j < columns; j++) {
        logits[j] = ck_exp(logits[j] - top);
        sum += logits[j];
    }
    if (scale != 0) {
        float factor = scale / sum;
        for (size_t j = 0; j < columns; j++) logits[j] *= factor;
        logits[target] -= scale;
    }
    return logf(sum) + top - at_target;
}

float CK_VARIANT(ck_kl_divergence)(float *restrict logits, const float *restrict teacher, float scale, size_t columns) {
    float top_q = row_max(logits, columns), top_p = row_max(teacher, columns), sum_q = 0, sum_p = 0, cross = 0;
    // Σ p·(log p − log q) = Σ p·((t − top_p) − (l − top_q)) − log Σ_p + log Σ_q
    for (size_t j = 0; j < columns; j++) {
        float t = teacher[j] - top_p, l = logits[j] - top_q, p = ck_exp(t);
        sum_p += p;
        cross += p * (t - l);
        sum_q += ck_exp(l);
    }
    float to_p = scale / sum_p, to_q = scale / sum_q;
    if (scale != 0)
        for (size_t j = 0; j < columns; j++)
            logits[j] = to_q * ck_exp(logits[j] - top_q) - to_p * ck_exp(teacher[j] - top_p);
    return cross / sum_p - logf(sum_p) + logf(sum_q);
}

size_t CK_VARIANT(ck_agreements)(const float *restrict a, const float *restrict b, size_t rows, size_t columns) {
    size_t agreed = 0;
    for (size_t i = 0; i < rows; i++, a += columns, b += columns) {
        float top_a = row_max(a, columns), top_b = row_max(b, columns);
        // The first of equal ones counts.
        size_t j = 0;
        while (j < columns && a[j] != top_a && b[j] != top_b) j++;
        agreed += j < columns && a[j] == top_a && b[j] == top_b;
    }
    return agreed;
}

size_t CK_VARIANT(ck_sample)(const float *restrict logits, float temperature, float uniform, float *restrict scratch,
                             size_t columns) {
    float top = row_max(logits, columns), inverse = 1.0f / temperature;
    // In double: what float sums of so many terms lose would make the last token likelier than it is.
    double sum = 0, reached = 0;
    for (size_t j = 0; j < columns; j++) {
        scratch[j] = ck_exp((logits[j] - top) * inverse);
        sum += scratch[j];
    }
    double wanted = uniform * sum;
    for (size_t j = 0; j < columns; j++) {
        reached += scratch[j];
        if (reached > wanted) return j;
    }
    // Sums in two orders, or a number that was rounded to 1: nothing is left to draw, so the likeliest.
    size_t likeliest = 0;
    while (likeliest + 1 < columns && logits[likeliest] != top) likeliest++;
    return likeliest;
}

void CK_VARIANT(ck_decode_attention)(const float *restrict q, const float *restrict keys, const float *restrict values,
                                     float *restrict y, float *restrict scratch, size_t length, size_t heads,
                                     size_t key_value_heads, size_t d, float scale) {
    size_t stride = key_value_heads * d;
    for (size_t h = 0; h < heads; h++) {
        const float *k = keys + h * key_value_heads / heads * d, *v = values + h * key_value_heads / heads * d;
        const float *restrict query = q + h * d;
        float *restrict out = y + h * d;
        for (size_t t = 0; t < length; t++) {
            float dot = 0;
            for (size_t j = 0; j < d; j++) dot += query[j] * k[t * stride + j];
            scratch[t] = dot * scale;
        }
        float top = row_max(scratch, length), sum = 0;
        for (size_t t = 0; t < length; t++) {
            scratch[t] = ck_exp(scratch[t] - top);
            sum += scratch[t];
        }
        memset(out, 0, d * sizeof(float));
        for (size_t t = 0; t < length; t++) {
            float p = scratch[t] / sum;
            for (size_t j = 0; j < d; j++) out[j] += p * v[t * stride + j];
        }
    }
}
