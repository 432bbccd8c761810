enum { TILE = CK_TERNARY_TILE, WIDTH = CK_TERNARY_WIDTH, CHUNKS = WIDTH / LANES, NEGATIVE = 64 };
_Static_assert(TILE <= NEGATIVE, "a component's number within its tile leaves a bit for the sign");

typedef float aligned_chunk __attribute__((vector_size(64), aligned(64), may_alias));

size_t CK_VARIANT(ck_ternary_tile)(const float *t, size_t rows, size_t inner, uint8_t *codes, uint8_t *counts) {
    size_t length = 0;
    for (size_t j0 = 0; j0 < inner; j0 += TILE) {
        size_t size = inner - j0 < TILE ? inner - j0 : TILE;
        for (size_t i = 0; i < rows; i++) {
            const float *row = t + i * inner + j0;
            size_t first = length;
            for (size_t j = 0; j < size; j++) {
                codes[length] = (uint8_t)(j | (row[j] < 0 ? NEGATIVE : 0));
                length += row[j] != 0;
            }
            *counts++ = (uint8_t)(length - first);
        }
    }
    return length;
}

// x ← the part of diag(s)·V that a tile's components and up to WIDTH columns make, filled up with zeros.
INLINE void fill(
    float (*x)[WIDTH], const int8_t *v, const float *s, size_t size, size_t n, size_t width) {
    for (size_t j = 0; j < size; j++) {
        const int8_t *row = v + j * n;
        float scale = s[j];
        if (width == WIDTH)
            for (size_t c = 0; c < WIDTH; c++) x[j][c] = scale * (float)row[c];
        else
            for (size_t c = 0; c < WIDTH; c++) x[j][c] = c < width ? scale * (float)row[c] : 0;
    }
}

// sum ← sum + Σ ±x over a row's codes.
INLINE void add(
    float *sum, float (*x)[WIDTH], const uint8_t *codes, size_t count) {
    static const float sign[2] = {1, -1};
    aligned_chunk *target = (aligned_chunk *)sum, y[CHUNKS];
    for (size_t k = 0; k < CHUNKS; k++) y[k] = target[k];
    for (size_t e = 0; e < count; e++) {
        const aligned_chunk *from = (const aligned_chunk *)x[codes[e] & (NEGATIVE - 1)];
        float factor = sign[codes[e] / NEGATIVE];
        for (size_t k = 0; k < CHUNKS; k++) y[k] += factor * from[k];
    }
    for (size_t k = 0; k < CHUNKS; k++) target[k] = y[k];
}

void CK_VARIANT(ck_ternary_sum)(
    const uint8_t *codes, const uint8_t *counts, size_t rows, size_t inner, const int8_t *v, const float *s, size_t n,
    size_t first, size_t last, float *y) {
    _Alignas(64) float x[TILE][WIDTH], sum[WIDTH];
    if (first >= last) return;
    for (size_t i = 0; i < rows; i++) memset(y + i * n + first, 0, (last - first) * sizeof *y);
    for (size_t j0 = 0; j0 < inner; j0 += TILE, counts += rows) {
        size_t size = inner - j0 < TILE ? inner - j0 : TILE;
        const uint8_t *code = codes;
        for (size_t c = first; c < last; c += WIDTH) {
            size_t width = last - c < WIDTH ? last - c : WIDTH;
            fill(x, v + j0 * n + c, s + j0, size, n, width);
            code = codes;
            for (size_t i = 0; i < rows; i++) {
                float *target = y + i * n + c;
                memcpy(sum, target, width * sizeof *sum);
                add(sum, x, code, counts[i]);
                memcpy(target, sum, width * sizeof *sum);
                code += counts[i];
            }
        }
        codes = code;
    }
}

void CK_VARIANT(ck_ternary_carry_residual)(
    const float *product, const float *a, const float *b, size_t first, size_t last, size_t n, float *restrict w,
    float *restrict rest) {
    for (size_t i = first; i < last; i++) {
        const float *p = product + i * n;
        float *wi = w + i * n, *ri = rest + i * n;
        // One operation a loop, so that no compiler contracts two and rounds once: the same bits on every processor.
        for (size_t j = 0; j < n; j++) ri[j] += wi[j];
        if (a && b) {
            float scale = a[i];
            for (size_t j = 0; j < n; j++) wi[j] = p[j] * (scale * b[j]);
        } else
            memcpy(wi, p, n * sizeof *wi);
        for (size_t j = 0; j < n; j++) ri[j] -= wi[j];
    }
}
