#pragma once
#include "ck_target.h"

// Kernels of the ternary SVD. "Ternary" floats are exactly -1, 0 or 1. A bit row is a row's positive entries and its negative
// entries as two bit sets, least significant bit first.

// Ternary projection: out ← signs of the entries of a that are at least the j-th largest magnitude, where j is the smallest
// count with (sum of the j largest magnitudes)/sqrt(j) >= target, or the count of the largest such quotient if none reaches
// target. A target of 0 keeps every entry (0 as +1). scratch: n floats. Returns the number of non-zeros. A vector of zeros,
// or with an entry that is not finite, gives zeros.
size_t ck_ternary_project(const float *a, size_t n, double target, float *out, float *scratch);

// y ← Σ_i t_i·rows_i over m rows of n floats: additions of the rows where t is not 0.
void ck_ternary_gather(const float *rows, const float *t, size_t m, size_t n, float *y);
// rows_i ← rows_i - g·a_i·b for the rows where a is not 0.
void ck_ternary_deflate(float *rows, const float *a, const float *b, float g, size_t m, size_t n);

// count rows of n ternary floats to bit rows of words 64-bit words each, plus then minus: bits[i·2·words].
void ck_ternary_bits(const float *t, size_t count, size_t n, uint64_t *bits, size_t words);
// gram[i·ld + j] = gram[j·ld + i] ← dot product of bit rows i and j for first <= i < count, j <= i.
void ck_ternary_gram(const uint64_t *bits, size_t words, size_t first, size_t count, float *gram, size_t ld);

// Coordinate descent over ternary coefficients u (rows×k, row i in u + i·k) of ‖r_i − Σ_j (u_ij − u°_ij)·s_j·v_j‖² plus the
// prices of the non-zeros, one for each of the k coefficients: h = R·Vᵀ (rows×k, overwritten by its value at the end), gram =
// V·Vᵀ (leading dimension ld), of any inner product. Up to `passes` passes over each row, ended early by one that changes
// nothing. Returns the number of changes.
size_t ck_ternary_descend(
    float *u, float *h, size_t rows, size_t k, const float *s, const float *gram, size_t ld, const float *prices, int passes);

// 2:4: of the entries 4g … 4g + 3 of a row at most two are not 0; with `across`, of those of the rows 4g … 4g + 3 in a column.
// Makes the entries that cost least 0 until that is so, h going along. `weights`, one for each row, may be null: ones. Returns
// the number of changes.
size_t ck_ternary_thin(
    float *u, float *h, size_t rows, size_t k, const float *s, const float *gram, size_t ld, const float *weights, int across);
// ck_ternary_descend whose changes keep to 2:4, a non-zero moved to its neighbor's place among them where neighbors are
// in one row. The rows are `first` and those that follow it, of `total` in all; with `across` the neighbors of the first and
// the last of them are read.
size_t ck_ternary_descend_sparse(
    float *u, float *h, size_t rows, size_t k, const float *s, const float *gram, size_t ld, const float *prices, int passes,
    int across, size_t first, size_t total);

// Packed matrices, row-major without padding: the mask, whose bit e%8 of byte e/8 is set where entry e = row·columns + column
// is not 0, then one bit for each of these entries in their order, set where it is -1; both filled up to a byte.
// CK_TERNARY_SLACK readable bytes follow.
#define CK_TERNARY_SLACK 16
// packed must be zeroed by the caller, and long enough for the non-zeros of t.
void ck_ternary_pack(const float *t, size_t count, uint8_t *packed);
void ck_ternary_unpack(const uint8_t *packed, size_t count, float *t);
// Number of set bits among the first `count`: the non-zeros, of which only the mask is read.
size_t ck_ternary_count(const uint8_t *packed, size_t count);
// y ← T·x for a block of CK_TERNARY_LANES columns: x is columns×LANES, y is rows×LANES. Additions and subtractions only, in the
// same order whatever the processor.
#define CK_TERNARY_LANES 16
void ck_ternary_apply(const uint8_t *packed, size_t rows, size_t columns, const float *x, float *y);

// y_i ← y_i + sign·Σ_j t_ij·x_j for rows×inner ternary t, inner×n x, rows×n y; sign is 1 or -1. Additions only, over j in
// ascending order whatever the processor: the same bits everywhere.
void ck_ternary_accumulate(
    const float *t, size_t rows, size_t inner, const float *x, size_t n, float sign, float *y);

// out_j ← a_j·b_j, and their Σ (a_j·b_j)² returned.
double ck_ternary_kernel_row(const float *a, const float *b, size_t n, float *out);

// Tiled form of a ternary matrix (rows×inner): for each CK_TERNARY_TILE columns and each row a count, and for each of its
// non-zeros a byte, the column within the tile, plus 64 where negative. codes: rows·inner bytes; counts: rows times the number
// of tiles. Returns the number of codes. CK_TERNARY_SLACK readable bytes must follow where they are read.
#define CK_TERNARY_TILE 64
size_t ck_ternary_tile(const float *t, size_t rows, size_t inner, uint8_t *codes, uint8_t *counts);
// The factors of T·diag(s)·V as the sum reads them: codes and counts of tiled rows×inner T, and inner×columns ternary v.
typedef struct {
    const uint8_t *codes, *counts;
    const int8_t *v;
    size_t rows, inner, columns;
} ck_ternary_tiled;

// Columns from first to last of y ← T·diag(s)·V: additions of ±s_j in ascending order of j whatever the processor, as of
// ck_ternary_accumulate. CK_TERNARY_WIDTH columns are made at a time.
#define CK_TERNARY_WIDTH 128
void ck_ternary_sum(const ck_ternary_tiled *t, const float *s, size_t first, size_t last, float *y);
// The same columns of A ← w + rest, w ← diag(a)·T·diag(s)·V·diag(b) (a and b may both be null: ones), rest ← A − w.
void ck_ternary_carry_residual(
    const ck_ternary_tiled *t, const float *s, const float *a, const float *b, size_t first, size_t last, float *w,
    float *rest);

// Whole numbers of at most `largest` for the entries of a weight, each times its column's scale.
typedef struct {
    size_t rows, columns;
    const float *scales; // a column's unit
    const float *rates;  // columns×(2·limit + 1): the bits of each number from −limit on; may be null in ck_ternary_round
    float price;         // of a bit, as squared error
    size_t limit;        // of the table: numbers beyond it cost what its ends do
    size_t largest;      // at most 32767
} ck_ternary_digits;

// For j = 0, 1, …: code_j ← the number whose (w_j + Σ_{i<j} e_i·ratios_ji − code·scale)²/scale²·curves_j + price·bits is least
// of those near it, e_j ← w_j − code_j·scale_j. weights: columns×rows; ratios: columns×columns; errors: scratch, 16 for each
// column; codes: rows×columns.
void ck_ternary_round(
    ck_ternary_digits d, const float *weights, const float *ratios, const float *curves, float *errors, int16_t *codes);
// Coordinate descent over the codes (rows×columns) of e·moment·eᵀ + price·bits for each row e of the error; gradients:
// e·moment, rows×columns, overwritten by its value at the end. Up to `passes` passes over a row. Returns the number of changes.
size_t ck_ternary_recode(ck_ternary_digits d, float *gradients, const float *moment, int16_t *codes, int passes);
