#pragma once
#include "ck_quantize.h"
#include "ck_target.h"

// What making one token after the other takes: products of a matrix with one vector, and attention over a cache of keys and
// values.

// Forms that a matrix's floats rest in.
typedef enum { CK_F32, CK_F16, CK_BF16 } ck_float_form;

// y[r] = Σ_c w[r, c]·x[c] for the rows first ≤ r < last of a row-major matrix, in float32.
void ck_matrix_vector(
    const void *w, ck_float_form form, size_t first, size_t last, size_t columns, const float *x, float *y);

// Codes of 8 bits or fewer at rest, for products with floats: value = (code − zero)·scale, with a scale and a zero point for
// each row or for each group of `group` columns of it. With 8 bits byte c of a row is code c. With 4 bits, byte j of each run
// of 16 holds code j of its 32 columns in its low half, and code j + 16 in its high half.
typedef struct {
    int bits;               // 8 or 4
    size_t columns, group;  // multiples of 32, the first of the second
    const uint8_t *codes;
    const float *scales;    // [rows, columns/group]
    const float *zeros;     // shaped as scales
} ck_code_matrix;

static inline size_t ck_code_row_bytes(int bits, size_t columns) { return bits == 8 ? columns : columns / 2; }

// Puts one row's codes, 0 … 2^bits − 1, into their places.
void ck_codes_store(int bits, size_t columns, const int16_t *codes, uint8_t *row);
// y[r] = Σ_c value[r, c]·x[c] for the rows first ≤ r < last. sums: scratch, a float a group.
void ck_codes_vector(const ck_code_matrix *w, size_t first, size_t last, const float *x, float *sums, float *y);
// y [last − first, columns] ← the values of the rows.
void ck_codes_widen(const ck_code_matrix *w, size_t first, size_t last, float *y);

// The keys or the values of one head: rows of d values. With 16 bits they are in half precision, value = half·scale with a
// power of two for each row; with 8 or 4 they are codes, value = (code − zero)·scale with a scale and a zero point a row.
// Byte j of a row of 4-bit codes holds value j in its low half and value j + (d + 1)/2 in its high half.
typedef struct {
    int bits;
    size_t d;
    uint8_t *rows;
    float *scales, *zeros; // no zeros with 16 bits
} ck_cache;

static inline size_t ck_cache_row_bytes(int bits, size_t d) { return bits == 16 ? 2 * d : bits == 8 ? d : (d + 1) / 2; }

// Puts x into row `row`; codes are those of ck_quantize_codes. A row with an entry that is not finite becomes NaN as a whole.
// codes: scratch of d.
void ck_cache_store(const ck_cache *cache, size_t row, const float *x, ck_quantizer q, int16_t *codes);
// y [count, d] ← the rows from `first` on: the bits that ck_fake_quantize gives.
void ck_cache_load(const ck_cache *cache, size_t first, size_t count, float *y);

// One token's attention over the rows first … first + length − 1 of a head of keys and values, for the `group` heads of queries
// that share it: q and y [group, d]. scratch: ck_cached_attention_scratch floats.
void ck_cached_attention(
    const ck_cache *keys, const ck_cache *values, size_t first, size_t length, size_t group, const float *q, float scale,
    float *y, float *scratch);
size_t ck_cached_attention_scratch(size_t length, size_t group, size_t d);
