#pragma once
#include "ck_target.h"

// m ← m − (a − b)ᵀ·z for a, b, z [rows, n] and m [n, n], where a and b differ in few entries: work is done for those only. Rows
// begin … end − 1 of m.
void ck_subtract_sparse_product(const float *a, const float *b, const float *z, float *m, size_t rows, size_t n, size_t begin,
                                size_t end);

// packed ← packed + ½(m − mᵀ), the n(n−1)/2 entries above the diagonal, row by row, for m [n, n]. Those of the
// rows begin … end − 1.
void ck_add_skew(const float *m, double *packed, size_t n, size_t begin, size_t end);

// a ← a + b.
void ck_add_doubles(double *a, const double *b, size_t n);

// Losses of rows y [rows, n], summed, and dy ← their gradients: see RowLoss in module Rotation.
//
// Σ over rows w², w the width of the row's range as soft extremes give it: from −ln(Σ e^−py)/p to ln(Σ e^py)/p; with `zero`, 0
// counts among the entries; with `symmetric` from −v to v, v = ln(Σ e^py + e^−py)/p.
double ck_range_loss(const float *y, float *dy, size_t rows, size_t n, float p, int symmetric, int zero);
// Σ e^−|y|.
double ck_whip_loss(const float *y, float *dy, size_t rows, size_t n);
// Σ over rows |mean y⁴ − target|.
double ck_kurtosis_loss(const float *y, float *dy, size_t rows, size_t n, float target);
// scale·Σ w⁴, and dw ← its gradient.
double ck_fourth_power_loss(const float *w, float *dw, size_t n, double scale);
