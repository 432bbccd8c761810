void CK_VARIANT(ck_axpy)(float a, const float *restrict x, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

void CK_VARIANT(ck_weighted_sum)(const float *restrict x, float a, const float *restrict y, float *restrict z, size_t n) {
    for (size_t i = 0; i < n; i++) z[i] = x[i] + a * y[i];
}

void CK_VARIANT(ck_scale)(float a, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

// Eight partial sums: an order of additions that vectorizes and is the same for every dispatch target.
double CK_VARIANT(ck_sum_squares)(const float *x, size_t n) {
    double part[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += (double)x[i + j] * x[i + j];
    for (; i < n; i++) part[i & 7] += (double)x[i] * x[i];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

// Magnitudes compare as integers, and NaN's are above infinity's: the maximum of the bits is the answer.
float CK_VARIANT(ck_max_abs)(const float *x, size_t n) {
    uint32_t best = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffffu;
        best = bits > best ? bits : best;
    }
    float result;
    memcpy(&result, &best, 4);
    return result;
}

// A line of the cache to a row of a tile, of the source and of the target.
enum { TRANSPOSED_TILE = 16 };

INLINE void transpose_square(const float *source, size_t columns, float *target, size_t rows) {
    panel_lane v[PANEL_LANES];
    _Pragma("unroll") for (size_t i = 0; i < PANEL_LANES; i++) v[i] = *(const panel_lane *)(source + i * columns);
    transpose_lanes(v);
    _Pragma("unroll") for (size_t j = 0; j < PANEL_LANES; j++) *(panel_lane *)(target + j * rows) = v[j];
}

INLINE void transpose_tile(const float *source, size_t columns, float *target, size_t rows, size_t height, size_t width) {
    if (height < TRANSPOSED_TILE || width < TRANSPOSED_TILE) {
        for (size_t j = 0; j < width; j++)
            for (size_t i = 0; i < height; i++) target[j * rows + i] = source[i * columns + j];
        return;
    }
    for (size_t j = 0; j < TRANSPOSED_TILE; j += PANEL_LANES)
        for (size_t i = 0; i < TRANSPOSED_TILE; i += PANEL_LANES)
            transpose_square(source + i * columns + j, columns, target + j * rows + i, rows);
}

// One goes along the target's rows: lines of the cache that are read may lie as far apart as they like, lines that are written
// evict each other. What a block's rows bring into the cache is read to its end.
void CK_VARIANT(ck_transpose)(const float *restrict source, size_t rows, size_t columns, float *restrict target) {
    enum { TILE = TRANSPOSED_TILE, BLOCK = 256 };
    for (size_t top = 0; top < rows; top += BLOCK) {
        size_t bottom = top + BLOCK < rows ? top + BLOCK : rows;
        for (size_t j = 0; j < columns; j += TILE) {
            size_t width = j + TILE < columns ? TILE : columns - j;
            for (size_t i = top; i < bottom; i += TILE)
                transpose_tile(source + i * columns + j, columns, target + j * rows + i, rows,
                               i + TILE < bottom ? TILE : bottom - i, width);
        }
    }
}
