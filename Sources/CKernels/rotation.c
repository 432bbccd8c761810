#include "CKernels.h"

CK_DISPATCH void ck_subtract_sparse_product(const float *restrict a, const float *restrict b, const float *restrict z,
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
