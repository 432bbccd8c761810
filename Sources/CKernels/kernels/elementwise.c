void CK_VARIANT(ck_axpy)(float a, const float *restrict x, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

void CK_VARIANT(ck_weighted_sum)(const float *restrict x, float a, const float *restrict y, float *restrict z, size_t n) {
    for (size_t i = 0; i < n; i++) z[i] = x[i] + a * y[i];
}

void CK_VARIANT(ck_scale)(float a, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

// Eight partial sums: an order of additions that vectorizes and is the same for every dispatch target.
double CK_VARIANT(ck_sum_squares)(const float *x, size_t n) {
    double part[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += (double)x[i + j] * x[i + j];
    for (; i < n; i++) part[i & 7] += (double)x[i] * x[i];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

// Magnitudes compare as integers, and NaN's are above infinity's: the maximum of the bits is the answer.
float CK_VARIANT(ck_max_abs)(const float *x, size_t n) {
    uint32_t best = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffffu;
        best = bits > best ? bits : best;
    }
    float result;
    memcpy(&result, &best, 4);
    return result;
}

void CK_VARIANT(ck_transpose)(const float *restrict source, size_t rows, size_t columns, float *restrict target) {
    enum { TILE = 16 };
    for (size_t i0 = 0; i0 < rows; i0 += TILE)
        for (size_t j0 = 0; j0 < columns; j0 += TILE) {
            size_t iEnd = i0 + TILE < rows ? i0 + TILE : rows, jEnd = j0 + TILE < columns ? j0 + TILE : columns;
            for (size_t j = j0; j < jEnd; j++)
                for (size_t i = i0; i < iEnd; i++) target[j * rows + i] = source[i * columns + j];
        }
}
