void CK_VARIANT(ck_subtract_sparse_product)(const float *restrict a, const float *restrict b, const float *restrict z,
                                            float *restrict m, size_t rows, size_t n) {
    for (size_t i = 0; i < rows; i++, a += n, b += n, z += n)
        for (size_t first = 0; first < n; first += 16) {
            size_t last = first + 16 < n ? first + 16 : n;
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

void CK_VARIANT(ck_add_skew)(const float *restrict m, double *restrict packed, size_t n) {
    // Blocks of 32 rows and columns: the columns read lie in the first cache.
    enum { SIDE = 32 };
    for (size_t top = 0; top < n; top += SIDE) {
        size_t bottom = top + SIDE < n ? top + SIDE : n;
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
