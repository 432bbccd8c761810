// Tiles of a product of matrices in floats: see ck_product.h and product.c beside this folder, which shares them among threads.
//
// Both factors are laid out in panels (Goto and van de Geijn 2008): TILE_ROWS rows of op(A), or TILE_COLUMNS columns of op(B),
// side by side for each step of the sum, zeros where the matrix ends. A tile of TILE_ROWS × TILE_COLUMNS sums lives in
// registers.

typedef float panel_lane __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
enum { PANEL_LANES = CK_VECTOR / 4, TILE_COLUMNS = 2 * PANEL_LANES };

// As many rows as leave registers for two vectors of B and a number of A.
#if CK_VECTOR == 64
enum { TILE_ROWS = 14 };
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif CK_VECTOR == 32
enum { TILE_ROWS = 6 };
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
enum { TILE_ROWS = 4 };
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

ck_product_tile CK_VARIANT(ck_product_tile_size)(void) { return (ck_product_tile){TILE_ROWS, TILE_COLUMNS}; }

// A square of PANEL_LANES²: interleaving the halves of a list log2 of its length times transposes it.
INLINE void transpose_lanes(panel_lane v[PANEL_LANES]) {
    for (int stage = 1; stage < PANEL_LANES; stage *= 2) {
        panel_lane u[PANEL_LANES];
        _Pragma("unroll") for (int i = 0; i < PANEL_LANES / 2; i++) {
            u[2 * i] = LOW_HALVES(v[i], v[i + PANEL_LANES / 2]);
            u[2 * i + 1] = HIGH_HALVES(v[i], v[i + PANEL_LANES / 2]);
        }
        _Pragma("unroll") for (int i = 0; i < PANEL_LANES; i++) v[i] = u[i];
    }
}

// out[p·full + i] ← x[p·stride + i]: what lies side by side in the panel does so in the matrix.
INLINE void lay_out_along(const float *x, size_t stride, size_t width, size_t full, size_t k, float *out) {
    for (size_t p = 0; p < k; p++, x += stride, out += full) {
        if (width == full) {
            memcpy(out, x, full * sizeof(float));
        } else {
            for (size_t i = 0; i < width; i++) out[i] = x[i];
            for (size_t i = width; i < full; i++) out[i] = 0;
        }
    }
}

// out[p·full + i] ← x[i·stride + p], for PANEL_LANES values of p, `lanes` panel entries from `first` on, of which `present` are
// the matrix's.
INLINE void lay_out_square(const float *x, size_t stride, size_t present, size_t full, size_t lanes, float *out) {
    panel_lane v[PANEL_LANES];
    _Pragma("unroll") for (size_t i = 0; i < PANEL_LANES; i++)
        v[i] = i < present ? *(const panel_lane *)(x + i * stride) : (panel_lane){0};
    transpose_lanes(v);
    _Pragma("unroll") for (size_t q = 0; q < PANEL_LANES; q++) memcpy(out + q * full, &v[q], lanes * sizeof(float));
}

INLINE void lay_out_across(const float *x, size_t stride, size_t width, size_t full, size_t k, float *out) {
    size_t p = 0;
    for (; p + PANEL_LANES <= k; p += PANEL_LANES)
        for (size_t first = 0; first < full; first += PANEL_LANES) {
            size_t lanes = full - first < PANEL_LANES ? full - first : PANEL_LANES;
            size_t present = width < first ? 0 : width - first;
            const float *from = x + first * stride + p;
            // The usual case knows how many rows there are.
            if (present >= lanes) lay_out_square(from, stride, lanes, full, lanes, out + p * full + first);
            else lay_out_square(from, stride, present, full, lanes, out + p * full + first);
        }
    for (; p < k; p++)
        for (size_t i = 0; i < full; i++) out[p * full + i] = i < width ? x[i * stride + p] : 0;
}

INLINE void lay_out_panels(const float *x, size_t stride, int along, size_t count, size_t full, size_t k, float *out) {
    for (size_t i = 0; i < count; i += full) {
        size_t width = count - i < full ? count - i : full;
        if (along) lay_out_along(x + i, stride, width, full, k, out + i * k);
        else lay_out_across(x + i * stride, stride, width, full, k, out + i * k);
    }
}

void CK_VARIANT(ck_product_rows)(const float *a, size_t stride, int transposed, size_t rows, size_t k, float *panels) {
    lay_out_panels(a, stride, transposed, rows, TILE_ROWS, k, panels);
}

void CK_VARIANT(ck_product_columns)(const float *b, size_t stride, int transposed, size_t columns, size_t k, float *panels) {
    lay_out_panels(b, stride, !transposed, columns, TILE_COLUMNS, k, panels);
}

INLINE void write_row(float *c, panel_lane s0, panel_lane s1, float alpha, float beta) {
    panel_lane *c0 = (panel_lane *)c, *c1 = (panel_lane *)(c + PANEL_LANES);
    *c0 = beta == 0 ? alpha * s0 : beta * *c0 + alpha * s0;
    *c1 = beta == 0 ? alpha * s1 : beta * *c1 + alpha * s1;
}

// The sums of `height` rows of a panel, of which `rows` × `columns` are C's. Each sum adds its products in the order of p,
// whatever the height: a number of C does not depend on where its tile begins.
INLINE void tile(int height, const float *a, const float *b, size_t k, float alpha, float beta, float *c, size_t stride,
                 size_t rows, size_t columns) {
    panel_lane s[TILE_ROWS][2];
    _Pragma("unroll") for (int i = 0; i < height; i++) {
        s[i][0] = s[i][1] = (panel_lane){0};
        // Arrives while the sums are formed.
        if ((size_t)i < rows) {
            __builtin_prefetch(c + i * stride, 1);
            __builtin_prefetch(c + i * stride + PANEL_LANES, 1);
        }
    }
    for (size_t p = 0; p < k; p++, a += TILE_ROWS, b += TILE_COLUMNS) {
        panel_lane b0 = *(const panel_lane *)b, b1 = *(const panel_lane *)(b + PANEL_LANES);
        _Pragma("unroll") for (int i = 0; i < height; i++) {
            s[i][0] += a[i] * b0;
            s[i][1] += a[i] * b1;
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

void CK_VARIANT(ck_product_block)(const float *a, const float *b, size_t rows, size_t columns, size_t k, float alpha,
                                  float beta, float *c, size_t stride) {
    for (size_t j = 0; j < columns; j += TILE_COLUMNS)
        for (size_t i = 0; i < rows; i += TILE_ROWS) {
            size_t height = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
            size_t width = columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS;
            const float *ai = a + i * k, *bj = b + j * k;
            float *cij = c + i * stride + j;
            if (height > TILE_ROWS / 2) tile(TILE_ROWS, ai, bj, k, alpha, beta, cij, stride, height, width);
            else if (height > TILE_ROWS / 4) tile(TILE_ROWS / 2, ai, bj, k, alpha, beta, cij, stride, height, width);
            else tile(TILE_ROWS / 4, ai, bj, k, alpha, beta, cij, stride, height, width);
        }
}
