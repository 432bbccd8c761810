#pragma once
#include "ck_target.h"

// m ← m − (a − b)ᵀ·z for a, b, z [rows, n] and m [n, n], where a and b differ in few entries: work is done for those only.
void ck_subtract_sparse_product(const float *a, const float *b, const float *z, float *m, size_t rows, size_t n);

// packed ← packed + ½(m − mᵀ), the n(n−1)/2 entries above the diagonal, row by row, for m [n, n].
void ck_add_skew(const float *m, double *packed, size_t n);

// a ← a + b.
void ck_add_doubles(double *a, const double *b, size_t n);
