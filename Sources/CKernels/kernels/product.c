// Tiles of a product of matrices in floats: see ck_product.h and product.c beside this folder, which shares them among threads.
//
// Factors are laid out in panels (Goto and van de Geijn 2008): TILE_ROWS rows of op(A), or TILE_COLUMNS columns of op(B), side
// by side for each step of the sum, zeros where the matrix ends. A tile of TILE_ROWS × TILE_COLUMNS sums lives in registers. Of
// factors in bfloat16 an entry of a panel holds those of two steps, the earlier one in the word's low half. A factor in floats
// that meets few tiles is read where it lies.
//
// What includes this defines CK_VECTOR, the bytes of a vector, and CK_PAIRS:
#define CK_PAIRS_PLAIN 0  // products of floats that end in zeros
#define CK_PAIRS_DOTS 1   // vdpbf16ps

#include "squares.h"

enum { TILE_COLUMNS = 2 * PANEL_LANES };

// As many rows as leave registers for two vectors of B and a number of A.
#if CK_VECTOR == 64
enum { TILE_ROWS = 14 };
#elif CK_VECTOR == 32
enum { TILE_ROWS = 6 };
#else
enum { TILE_ROWS = 4 };
#endif

ck_product_tile CK_VARIANT(ck_product_tile_size)(void) { return (ck_product_tile){TILE_ROWS, TILE_COLUMNS}; }

// The bits of the bfloat16 numbers nearest to floats, ties to even, in the low halves of words; NaN stays NaN.
INLINE panel_words narrowed(panel_lane x) {
#if CK_PAIRS == CK_PAIRS_DOTS
    return (panel_words)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    panel_words bits = (panel_words)x, nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    panel_words is_nan = (panel_words)((bits & 0x7fffffff) > 0x7f800000);
    return (is_nan & (bits >> 16 | 0x40)) | (~is_nan & nearest);
#endif
}

INLINE panel_lane paired(panel_lane earlier, panel_lane later) {
    return (panel_lane)(narrowed(earlier) | narrowed(later) << 16);
}

INLINE panel_lane first_lanes(const float *x, size_t count) {
    if (count >= PANEL_LANES) return *(const panel_lane *)x;
    panel_lane v = {0};
    memcpy(&v, x, count * sizeof(float));
    return v;
}

// out[i] ← x[i], or with `later` the pair of x[i] and later[i]; zeros from width to `full`.
INLINE void lay_out_step(const float *x, const float *later, size_t width, size_t full, float *out) {
    if (!later && width == full) {
        memcpy(out, x, full * sizeof(float));
        return;
    }
    for (size_t i = 0; i < full; i += PANEL_LANES) {
        size_t present = width > i ? width - i : 0, lanes = full - i < PANEL_LANES ? full - i : PANEL_LANES;
        panel_lane v = first_lanes(x + i, present);
        if (later) v = paired(v, first_lanes(later + i, present));
        memcpy(out + i, &v, lanes * sizeof(float));
    }
}

// What lies side by side in the panel does so in the matrix: op(X)'s entry p of column i is x[p·stride + i]. Each row of the
// matrix is read once, for all panels.
INLINE void lay_out_along(ck_factors factors, const float *x, size_t stride, size_t count, size_t full, size_t k, float *out) {
    static const float zeros[TILE_COLUMNS];
    size_t steps = factors == CK_BFLOAT16 ? 2 : 1, words = ck_product_words(factors, k);
    for (size_t p = 0; p < k; p += steps, x += steps * stride, out += full)
        for (size_t i = 0; i < count; i += full) {
            const float *later = steps == 1 ? NULL : p + 1 < k ? x + stride + i : zeros;
            // The usual case knows how wide the panel is.
            if (count - i >= full) lay_out_step(x + i, later, full, full, out + i * words);
            else lay_out_step(x + i, later, count - i, full, out + i * words);
        }
}

// The same where the entry is x[i·stride + p]: for PANEL_LANES values of p, of which `steps` are the matrix's, and `lanes`
// columns, of which `present` are.
INLINE void lay_out_square(ck_factors factors, const float *x, size_t stride, size_t present, size_t steps, size_t full,
                           size_t lanes, float *out) {
    panel_lane v[PANEL_LANES];
    _Pragma("unroll") for (size_t i = 0; i < PANEL_LANES; i++)
        v[i] = i < present ? first_lanes(x + i * stride, steps) : (panel_lane){0};
    transpose_lanes(v);
    size_t each = factors == CK_BFLOAT16 ? 2 : 1;
    _Pragma("unroll") for (size_t q = 0; q < PANEL_LANES; q += each) {
        if (q >= steps) break;
        panel_lane entries = each == 2 ? paired(v[q], v[q + 1]) : v[q];
        memcpy(out + q / each * full, &entries, lanes * sizeof(float));
    }
}

INLINE void lay_out_across(ck_factors factors, const float *x, size_t stride, size_t width, size_t full, size_t k, float *out) {
    for (size_t p = 0; p < k; p += PANEL_LANES) {
        float *to = out + (factors == CK_BFLOAT16 ? p / 2 : p) * full;
        for (size_t first = 0; first < full; first += PANEL_LANES) {
            size_t lanes = full - first < PANEL_LANES ? full - first : PANEL_LANES;
            size_t present = width < first ? 0 : width - first;
            const float *from = x + first * stride + p;
            // The usual case knows how many rows and steps there are.
            if (present >= lanes && k - p >= PANEL_LANES)
                lay_out_square(factors, from, stride, lanes, PANEL_LANES, full, lanes, to + first);
            else
                lay_out_square(factors, from, stride, present, k - p, full, lanes, to + first);
        }
    }
}

INLINE void lay_out_panels(ck_factors factors, const float *x, size_t stride, int along, size_t count, size_t full, size_t k,
                           float *out) {
    size_t words = ck_product_words(factors, k);
    if (along) return lay_out_along(factors, x, stride, count, full, k, out);
    for (size_t i = 0; i < count; i += full)
        lay_out_across(factors, x + i * stride, stride, count - i < full ? count - i : full, full, k, out + i * words);
}

void CK_VARIANT(ck_product_rows)(ck_factors factors, const float *a, size_t stride, int transposed, size_t rows, size_t k,
                                 float *panels) {
    if (factors == CK_BFLOAT16) lay_out_panels(CK_BFLOAT16, a, stride, transposed, rows, TILE_ROWS, k, panels);
    else lay_out_panels(CK_FLOAT32, a, stride, transposed, rows, TILE_ROWS, k, panels);
}

void CK_VARIANT(ck_product_columns)(ck_factors factors, const float *b, size_t stride, int transposed, size_t columns, size_t k,
                                    float *panels) {
    if (factors == CK_BFLOAT16) lay_out_panels(CK_BFLOAT16, b, stride, !transposed, columns, TILE_COLUMNS, k, panels);
    else lay_out_panels(CK_FLOAT32, b, stride, !transposed, columns, TILE_COLUMNS, k, panels);
}

// s + a·b, or for pairs s + both products.
INLINE panel_lane with_products(ck_factors factors, panel_lane s, const float *a, panel_lane b) {
    if (factors == CK_FLOAT32) return s + *a * b;
    uint32_t word;
    memcpy(&word, a, sizeof word);
    panel_words i = (panel_words){0} + word, j = (panel_words)b;
#if CK_PAIRS == CK_PAIRS_DOTS
    return (panel_lane)_mm512_dpbf16_ps((__m512)s, (__m512bh)i, (__m512bh)j);
#else
    s += (panel_lane)(i << 16) * (panel_lane)(j << 16);
    return s + (panel_lane)(i & 0xffff0000) * (panel_lane)(j & 0xffff0000);
#endif
}

INLINE void write_row(float *c, panel_lane s0, panel_lane s1, float alpha, float beta) {
    panel_lane *c0 = (panel_lane *)c, *c1 = (panel_lane *)(c + PANEL_LANES);
    *c0 = beta == 0 ? alpha * s0 : beta * *c0 + alpha * s0;
    *c1 = beta == 0 ? alpha * s1 : beta * *c1 + alpha * s1;
}

// A factor as a tile reads it: how far apart are a step's numbers, and the steps.
typedef struct {
    const float *first;
    size_t lane, step;
} tile_factor;

// That of `present` rows or columns from i on, of which a tile has `full`.
INLINE tile_factor factor_at(ck_product_factor x, size_t i, size_t present, size_t full, size_t words) {
    if (!x.matrix) return (tile_factor){x.panels + i * words, 1, full};
    if (present < full) return (tile_factor){x.panels, 1, full};
    return x.along ? (tile_factor){x.matrix + i, 1, x.stride} : (tile_factor){x.matrix + i * x.stride, x.stride, 1};
}

// The sums of `height` rows of A, of which `rows` × `columns` are C's. Each sum adds its products in the order of p, whatever
// the height and wherever the factors lie: a number of C does not depend on where its tile begins.
INLINE void tile(ck_factors factors, int height, tile_factor a, tile_factor b, size_t words, float alpha, float beta, float *c,
                 size_t stride, size_t rows, size_t columns) {
    panel_lane s[TILE_ROWS][2];
    _Pragma("unroll") for (int i = 0; i < height; i++) {
        s[i][0] = s[i][1] = (panel_lane){0};
        // Arrives while the sums are formed.
        if ((size_t)i < rows) {
            __builtin_prefetch(c + i * stride, 1);
            __builtin_prefetch(c + i * stride + PANEL_LANES, 1);
        }
    }
    for (size_t p = 0; p < words; p++, a.first += a.step, b.first += b.step) {
        panel_lane b0 = *(const panel_lane *)b.first, b1 = *(const panel_lane *)(b.first + PANEL_LANES);
        _Pragma("unroll") for (int i = 0; i < height; i++) {
            s[i][0] = with_products(factors, s[i][0], a.first + i * a.lane, b0);
            s[i][1] = with_products(factors, s[i][1], a.first + i * a.lane, b1);
        }
    }
    _Pragma("unroll") for (int i = 0; i < height; i++) {
        if ((size_t)i >= rows) break;
        if (columns == TILE_COLUMNS) {
            write_row(c + i * stride, s[i][0], s[i][1], alpha, beta);
        } else {
            float whole[TILE_COLUMNS] = {0};
            if (beta != 0) memcpy(whole, c + i * stride, columns * sizeof(float));
            write_row(whole, s[i][0], s[i][1], alpha, beta);
            memcpy(c + i * stride, whole, columns * sizeof(float));
        }
    }
}

// - in_panels: whether both factors are all in panels, whose distances are then known.
INLINE void block_product(ck_factors factors, int in_panels, ck_product_factor a, ck_product_factor b, size_t rows,
                          size_t columns, size_t words, float alpha, float beta, float *c, size_t stride) {
    if (in_panels) a.matrix = b.matrix = NULL;
    for (size_t j = 0; j < columns; j += TILE_COLUMNS)
        for (size_t i = 0; i < rows; i += TILE_ROWS) {
            size_t height = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
            size_t width = columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS;
            tile_factor ai = factor_at(a, i, height, TILE_ROWS, words), bj = factor_at(b, j, width, TILE_COLUMNS, words);
            float *cij = c + i * stride + j;
#define TILE(most) tile(factors, most, ai, bj, words, alpha, beta, cij, stride, height, width)
            // With one of A's distances known, its rows need few registers.
            if (ai.lane != 1) {
                ai.step = 1;
                TILE(TILE_ROWS);
                continue;
            }
            ai.lane = 1;
            if (height > TILE_ROWS / 2) TILE(TILE_ROWS);
            else if (height > TILE_ROWS / 4) TILE(TILE_ROWS / 2);
            else TILE(TILE_ROWS / 4);
#undef TILE
        }
}

void CK_VARIANT(ck_product_block)(ck_factors factors, ck_product_factor a, ck_product_factor b, size_t rows, size_t columns,
                                  size_t words, float alpha, float beta, float *c, size_t stride) {
#define BLOCK(factors, in_panels) block_product(factors, in_panels, a, b, rows, columns, words, alpha, beta, c, stride)
    if (factors == CK_BFLOAT16) BLOCK(CK_BFLOAT16, 1);
    else if (!a.matrix && !b.matrix) BLOCK(CK_FLOAT32, 1);
    else BLOCK(CK_FLOAT32, 0);
#undef BLOCK
}
