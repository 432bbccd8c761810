#pragma once
#include "ck_target.h"

// Sums over the rows of x (rows×width) in double precision: sums_j ← sums_j + Σ x_j; squares_j likewise with x_j², unless NULL;
// maxima_j ← max(maxima_j, |x_j|), NaN once a value was.
void ck_channel_sums(const float *x, size_t rows, size_t width, double *sums, double *squares, float *maxima);
// sum ← sum + x
void ck_accumulate(const float *x, double *sum, size_t n);
