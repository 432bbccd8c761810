// Sums of what linear layers read, over many tokens.

void CK_VARIANT(ck_channel_sums)(
    const float *restrict x, size_t rows, size_t width, double *restrict sums, double *restrict squares,
    float *restrict maxima) {
    for (size_t row = 0; row < rows; row++, x += width) {
        for (size_t j = 0; j < width; j++) {
            float magnitude = fabsf(x[j]);
            sums[j] += x[j];
            // Not the larger one, which may lose a NaN.
            maxima[j] = magnitude <= maxima[j] || maxima[j] != maxima[j] ? maxima[j] : magnitude;
        }
        if (squares)
            for (size_t j = 0; j < width; j++) squares[j] += (double)x[j] * x[j];
    }
}

void CK_VARIANT(ck_accumulate)(const float *restrict x, double *restrict sum, size_t n) {
    for (size_t i = 0; i < n; i++) sum[i] += x[i];
}
