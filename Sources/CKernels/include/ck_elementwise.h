#pragma once
#include "ck_target.h"

// y ← y + a·x
void ck_axpy(float a, const float *x, float *y, size_t n);
// z ← x + a·y
void ck_weighted_sum(const float *x, float a, const float *y, float *z, size_t n);
// x ← a·x
void ck_scale(float a, float *x, size_t n);
// Σ x², in double precision
double ck_sum_squares(const float *x, size_t n);
// max |x|; NaN where any element is
float ck_max_abs(const float *x, size_t n);
// 1 when no element is NaN or infinite
int ck_all_finite(const float *x, size_t n);
// target (columns×rows) ← source (rows×columns) transposed.
void ck_transpose(const float *source, size_t rows, size_t columns, float *target);
