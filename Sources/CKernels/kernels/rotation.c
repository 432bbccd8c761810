void CK_VARIANT(ck_subtract_sparse_product)(const float *restrict a, const float *restrict b, const float *restrict z,
                                            float *restrict m, size_t rows, size_t n, size_t begin, size_t end) {
    for (size_t i = 0; i < rows; i++, a += n, b += n, z += n)
        for (size_t first = begin; first < end; first += 16) {
            size_t last = first + 16 < end ? first + 16 : end;
            unsigned differ = 0;
            for (size_t j = first; j < last; j++) differ |= a[j] != b[j];
            if (!differ) continue;
            for (size_t j = first; j < last; j++) {
                float d = a[j] - b[j];
                if (d == 0) continue;
                float *restrict row = m + j * n;
                for (size_t k = 0; k < n; k++) row[k] -= d * z[k];
            }
        }
}

void CK_VARIANT(ck_add_skew)(const float *restrict m, double *restrict packed, size_t n, size_t begin, size_t end) {
    // Blocks of 32 rows and columns: the columns read lie in the first cache.
    enum { SIDE = 32 };
    for (size_t top = begin; top < end; top += SIDE) {
        size_t bottom = top + SIDE < end ? top + SIDE : end;
        for (size_t left = top; left < n; left += SIDE) {
            size_t right = left + SIDE < n ? left + SIDE : n;
            for (size_t i = top; i < bottom; i++) {
                // Row i begins with entry (i, i + 1), after n − 1, n − 2, … entries of the rows above.
                double *row = packed + i * (n - 1) - i * (i - 1) / 2;
                for (size_t j = left > i ? left : i + 1; j < right; j++)
                    row[j - i - 1] += 0.5 * ((double)m[i * n + j] - (double)m[j * n + i]);
            }
        }
    }
}

void CK_VARIANT(ck_add_doubles)(double *restrict a, const double *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] += b[i];
}

INLINE float sum_of_floats(const float sums[LANES]) {
    float sum = sums[0];
    for (size_t k = 1; k < LANES; k++) sum += sums[k];
    return sum;
}

// target ← e^(p·(y − most)); their sum.
INLINE float ck_weights(const float *restrict y, size_t n, float p, float most, float *restrict target) {
    float sums[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (size_t k = 0; k < LANES; k++) {
            float e = ck_exp(p * (y[j + k] - most));
            target[j + k] = e;
            sums[k] += e;
        }
    for (; j < n; j++) sums[0] += target[j] = ck_exp(p * (y[j] - most));
    return sum_of_floats(sums);
}

// dy ← a·dy − b·e^(p·(least − y)).
INLINE void ck_weigh(const float *restrict y, float *restrict dy, size_t n, float a, float p, float least, float b) {
    for (size_t j = 0; j < n; j++) dy[j] = a * dy[j] - b * ck_exp(p * (least - y[j]));
}

// The sum of e^(p·(least − y)).
INLINE float ck_weights_below(const float *restrict y, size_t n, float p, float least) {
    float sums[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += ck_exp(p * (least - y[j + k]));
    for (; j < n; j++) sums[0] += ck_exp(p * (least - y[j]));
    return sum_of_floats(sums);
}

double CK_VARIANT(ck_range_loss)(const float *restrict y, float *restrict dy, size_t rows, size_t n, float p, int symmetric,
                                 int zero) {
    double sum = 0;
    for (size_t i = 0; i < rows; i++, y += n, dy += n) {
        range_t r = widened(range_of(y, n), zero);
        float least = r.low, most = r.high;
        if (symmetric) {
            most = most > -least ? most : -least;
            least = -most;
        }
        float above = ck_weights(y, n, p, most, dy), below = ck_weights_below(y, n, p, least);
        if (zero) above += ck_exp(-p * most), below += ck_exp(p * least);
        if (symmetric) {
            float width = 2 * (most + logf(above + below) / p);
            sum += (double)width * width;
            ck_weigh(y, dy, n, 4 * width / (above + below), p, least, 4 * width / (above + below));
            continue;
        }
        float width = most - least + (logf(above) + logf(below)) / p;
        sum += (double)width * width;
        ck_weigh(y, dy, n, 2 * width / above, p, least, 2 * width / below);
    }
    return sum;
}

// e^−|y|, and its derivative.
INLINE float whip(float y, float *dy) {
    float e = ck_exp(y < 0 ? y : -y);
    *dy = y > 0 ? -e : y < 0 ? e : 0;
    return e;
}

double CK_VARIANT(ck_whip_loss)(const float *restrict y, float *restrict dy, size_t rows, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < rows; i++, y += n, dy += n) {
        float sums[LANES] = {0};
        size_t j = 0;
        for (; j + LANES <= n; j += LANES)
            for (size_t k = 0; k < LANES; k++) sums[k] += whip(y[j + k], dy + j + k);
        for (; j < n; j++) sums[0] += whip(y[j], dy + j);
        sum += sum_of_floats(sums);
    }
    return sum;
}

INLINE float sum_of_fourth_powers(const float *y, size_t n) {
    float sums[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += y[j + k] * y[j + k] * y[j + k] * y[j + k];
    for (; j < n; j++) sums[0] += y[j] * y[j] * y[j] * y[j];
    return sum_of_floats(sums);
}

double CK_VARIANT(ck_kurtosis_loss)(const float *restrict y, float *restrict dy, size_t rows, size_t n, float target) {
    double sum = 0;
    for (size_t i = 0; i < rows; i++, y += n, dy += n) {
        float rest = sum_of_fourth_powers(y, n) / (float)n - target;
        float slope = rest < 0 ? -4 / (float)n : 4 / (float)n;
        sum += rest < 0 ? -rest : rest;
        for (size_t j = 0; j < n; j++) dy[j] = slope * y[j] * y[j] * y[j];
    }
    return sum;
}

double CK_VARIANT(ck_fourth_power_loss)(const float *restrict w, float *restrict dw, size_t n, double scale) {
    enum { PART = 1024 };
    double sum = 0;
    for (size_t first = 0; first < n; first += PART) {
        size_t last = first + PART < n ? first + PART : n;
        sum += sum_of_fourth_powers(w + first, last - first);
        for (size_t j = first; j < last; j++) dw[j] = (float)(4 * scale) * w[j] * w[j] * w[j];
    }
    return scale * sum;
}
