#pragma once
#include "ck_target.h"

// x ← scale·x·H_n in place, for each of `rows` contiguous rows of n values; H_n is Sylvester's matrix of order n, a power of 2.
void ck_fwht(float *x, size_t rows, size_t n, float scale);

// X ← H·X in place for each of `blocks` contiguous [m, power] blocks of x; H is an m×m matrix of ±1, 4 divides m, power is a
// power of 2 above 1.
//
// The sums of four rows under all sixteen choices of sign are formed once, so that an entry of the product takes m/4 additions
// instead of m (the "four Russians" method of Arlazarov et al. for products with matrices of few values).
//   signs: [m, m/4], the signs of four entries of a row of H each, bit k set where entry 4g + k is −1.
//   sums: scratch of 4·m·min(power, 32) values.
void ck_mix_signs(float *x, const uint8_t *signs, float *sums, size_t blocks, size_t m, size_t power);
