#pragma once
#include "ck_quantize.h"
#include "ck_target.h"

// Products of matrices of small integers with tokens that are rounded to 8 bits or fewer, summed in int32:
//   y[t, r] = Σ_g (D[t, r, g]·w_scale[r, g])·x_scale[t, g],  D = Σ_{c in g} (w[r, c] − w_zero[r, g])·(x[t, c] − x_zero[t, g])
// D is exact while |w − w_zero|·128·group < 2^31; the two products and the sum over groups, in ascending order, are each
// rounded to float32, so that every processor returns the same bits.

// The most columns to a group: so many products of 255·128 stay far below 2^31.
#define CK_INTEGER_GROUP 32768
// Rows that are laid out together.
#define CK_INTEGER_PANEL 32
// Columns to whose multiple groups are filled up: four to a step, and four steps to a line of two-bit codes.
#define CK_INTEGER_FILL 16
// Tokens that are laid out together: 12, and of the rest 8, 4, 2 and 1.
static inline size_t ck_integer_tile(size_t left) {
    return left >= 12 ? 12 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Rows of `columns` codes, of which each `group` share scale and zero point; the last group may be shorter.
typedef struct {
    size_t columns, group;
} ck_integer_row;

static inline size_t ck_integer_groups(ck_integer_row row) { return (row.columns + row.group - 1) / row.group; }
// Steps of four columns of one group but the last, and of the whole row, fillings included.
static inline size_t ck_integer_group_steps(ck_integer_row row) {
    return (row.group + CK_INTEGER_FILL - 1) / CK_INTEGER_FILL * (CK_INTEGER_FILL / 4);
}
static inline size_t ck_integer_steps(ck_integer_row row) {
    size_t before = ck_integer_groups(row) - 1, last = row.columns - before * row.group;
    return before * ck_integer_group_steps(row) + (last + CK_INTEGER_FILL - 1) / CK_INTEGER_FILL * (CK_INTEGER_FILL / 4);
}

// A matrix of codes 0 … 2^bits−1. A panel of CK_INTEGER_PANEL rows is a sequence of lines: a line has four bytes a row, and
// byte j of row r holds columns 4i + j of 8/bits successive steps i, the first in the lowest bits. steps·bits/8 lines a panel.
typedef struct {
    size_t rows;
    ck_integer_row row;
    int bits;              // 2, 4 or 8
    const uint8_t *codes;  // [panels][lines][panel][4]
    const float *scales;   // [panels][groups][panel]
    const int16_t *zeros;  // likewise; NULL where all are `zero`
    int zero;
    const int32_t *totals; // likewise, Σ_{c in g} (w − w_zero); read where tokens have zero points
} ck_integer_matrix;

// Rounded tokens, by tiles (ck_integer_tile): T tokens of a tile that begins at token t have codes from byte 4·steps·t on,
// sums, scales and zeros from groups·t on.
typedef struct {
    size_t tokens;
    int8_t *codes;  // [tiles][steps][T][4], 0 where filled up
    int32_t *sums;  // [tiles][groups][T], Σ_{c in g} x
    float *scales;  // likewise
    float *zeros;   // likewise, whole numbers; NULL where all are 0
} ck_integer_tokens;

// Lays out one panel: `rows` ≤ CK_INTEGER_PANEL rows of codes, a byte each. target: steps·CK_INTEGER_PANEL·bits/2 bytes.
// sums [groups][panel] receives Σ_{c in g} code, 0 for the rows that there are not.
void ck_integer_lay_out(const uint8_t *codes, size_t rows, ck_integer_row row, int bits, uint8_t *target, int32_t *sums);

// Rounds `out->tokens` rows of x, each entry times its column's factor (NULL: 1), as ck_quantize_codes does with `range` values
// to a range; asymmetric codes and zero points are moved by −2^(bits−1). Each group lies within one range. A range with an
// entry that is NaN or infinite gets the scale NaN. values: scratch of row.columns floats; codes: of as many bytes.
void ck_integer_round(
    const float *x, const float *factor, ck_integer_row row, ck_quantizer q, size_t range, const ck_integer_tokens *out,
    float *values, int8_t *codes);

// y[t·stride + r] as above for all tokens and the rows of the panels first ≤ panel < last.
void ck_integer_product(
    const ck_integer_matrix *w, const ck_integer_tokens *x, size_t first, size_t last, float *y, size_t stride);

// Does `rounds` rounds of products of bytes on registers alone, by the instruction that ck_integer_product multiplies narrow
// codes with. Returns the number of products in a round.
size_t ck_integer_peak(size_t rounds);

// The codes 0, 1 and 2 of the −1, 0 and 1 of packed entries (ck_ternary.h) first … first + n − 1 of `count`. position: the
// non-zeros before `first`. Returns those before first + n.
size_t ck_ternary_codes(const uint8_t *packed, size_t count, size_t first, size_t n, size_t position, uint8_t *codes);
