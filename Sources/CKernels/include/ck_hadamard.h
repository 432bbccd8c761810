#pragma once
#include "ck_target.h"

// x ← scale·x·H_n in place, for each of `rows` contiguous rows of n values; H_n is Sylvester's matrix of order n, a power of 2.
void ck_fwht(float *x, size_t rows, size_t n, float scale);
