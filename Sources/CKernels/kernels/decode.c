// One token at a time: each number of a matrix, or of a cache, is read once and used once or a few times.

typedef float lane16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t word16 __attribute__((vector_size(64)));
typedef uint16_t half16 __attribute__((vector_size(32), aligned(2), may_alias));
typedef _Float16 float16 __attribute__((vector_size(32), aligned(2), may_alias));

INLINE lane16 lanes_at(const void *p, ck_float_form form) {
    if (form == CK_F32) return *(const lane16 *)p;
    if (form == CK_F16) return __builtin_convertvector(*(const float16 *)p, lane16);
    return (lane16)(__builtin_convertvector(*(const half16 *)p, word16) << 16);
}

INLINE float float_at(const void *p, ck_float_form form) {
    if (form == CK_F32) return *(const float *)p;
    if (form == CK_F16) return (float)*(const _Float16 *)p;
    uint32_t bits = (uint32_t) * (const uint16_t *)p << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

#define EVEN_LANES(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD_LANES(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define PAIRS_OF(a, b) (EVEN_LANES(a, b) + ODD_LANES(a, b))

// Lane i of the result is the sum of all lanes of sums[i].
INLINE lane16 sums_of(lane16 sums[16]) {
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++) sums[i] = PAIRS_OF(sums[2 * i], sums[2 * i + 1]);
    return sums[0];
}

// Eight rows at a time: a vector of x is fetched once for all, and no sum waits for the one before.
INLINE void matrix_vector(
    const char *w, ck_float_form form, size_t first, size_t last, size_t columns, const float *x, float *y) {
    enum { ROWS = 8 };
    size_t size = form == CK_F32 ? 4 : 2, whole = columns / 16 * 16;
    for (size_t r = first; r < last; r += ROWS) {
        size_t rows = last - r < ROWS ? last - r : ROWS;
        const char *row[ROWS];
        // Rows that there are not are the last one again.
        for (size_t i = 0; i < ROWS; i++) row[i] = w + (r + (i < rows ? i : rows - 1)) * columns * size;
        lane16 sums[16] = {{0}};
        for (size_t c = 0; c < whole; c += 16) {
            lane16 factor = *(const lane16 *)(x + c);
            _Pragma("unroll") for (int i = 0; i < ROWS; i++) sums[i] += lanes_at(row[i] + c * size, form) * factor;
        }
        lane16 total = sums_of(sums);
        for (size_t i = 0; i < rows; i++) {
            float sum = total[i];
            for (size_t c = whole; c < columns; c++) sum += float_at(row[i] + c * size, form) * x[c];
            y[r + i] = sum;
        }
    }
}

void CK_VARIANT(ck_matrix_vector)(
    const void *w, ck_float_form form, size_t first, size_t last, size_t columns, const float *x, float *y) {
    switch (form) {
    case CK_F32: matrix_vector(w, CK_F32, first, last, columns, x, y); break;
    case CK_F16: matrix_vector(w, CK_F16, first, last, columns, x, y); break;
    case CK_BF16: matrix_vector(w, CK_BF16, first, last, columns, x, y); break;
    }
}

// Rows of keys or values in floats at a time.
enum { CACHE_ROWS = 16 };

INLINE size_t padded(size_t n) { return (n + 15) / 16 * 16; }

size_t CK_VARIANT(ck_cached_attention_scratch)(size_t length, size_t group, size_t d) {
    return padded(d) * (CACHE_ROWS + 2 * group) + padded(length) * group;
}

// scores[g, first…] ← the products of the queries with 16 rows of keys, d values each, filled up with zeros.
INLINE void score_rows(const float *rows, const float *q, size_t d, size_t group, float *scores, size_t stride) {
    for (size_t g = 0; g < group; g++) {
        lane16 sums[16] = {{0}};
        for (size_t c = 0; c < d; c += 16) {
            lane16 query = *(const lane16 *)(q + g * d + c);
            _Pragma("unroll") for (int r = 0; r < CACHE_ROWS; r++) sums[r] += *(const lane16 *)(rows + (size_t)r * d + c) * query;
        }
        *(lane16 *)(scores + g * stride) = sums_of(sums);
    }
}

// y[g] += Σ_r p[g, r]·rows[r]
INLINE void mix_rows(const float *rows, const float *p, size_t d, size_t group, size_t stride, float *y) {
    for (size_t g = 0; g < group; g++)
        for (size_t c = 0; c < d; c += 16) {
            lane16 even = *(lane16 *)(y + g * d + c), odd = {0};
            _Pragma("unroll") for (int r = 0; r < CACHE_ROWS; r += 2) {
                even += *(const lane16 *)(rows + (size_t)r * d + c) * p[g * stride + (size_t)r];
                odd += *(const lane16 *)(rows + (size_t)(r + 1) * d + c) * p[g * stride + (size_t)r + 1];
            }
            *(lane16 *)(y + g * d + c) = even + odd;
        }
}

void CK_VARIANT(ck_cached_attention)(
    const ck_cache *keys, const ck_cache *values, size_t first, size_t length, size_t group, const float *q, float scale,
    float *y, float *scratch) {
    size_t d = keys->d, width = padded(d), stride = padded(length);
    float *rows = scratch, *queries = rows + CACHE_ROWS * width, *out = queries + group * width, *scores = out + group * width;
    memset(scratch, 0, (CACHE_ROWS + 2 * group) * width * sizeof(float));
    for (size_t g = 0; g < group; g++)
        for (size_t c = 0; c < d; c++) queries[g * width + c] = q[g * d + c] * scale;
    for (size_t t = 0; t < length; t += CACHE_ROWS) {
        load_rows(keys, first + t, length - t < CACHE_ROWS ? length - t : CACHE_ROWS, rows, width);
        score_rows(rows, queries, width, group, scores + t, stride);
    }
    for (size_t g = 0; g < group; g++) {
        float *row = scores + g * stride, top = row_max(row, length), sum = 0;
        for (size_t t = 0; t < length; t++) {
            row[t] = ck_exp(row[t] - top);
            sum += row[t];
        }
        float inverse = 1 / sum;
        for (size_t t = 0; t < length; t++) row[t] *= inverse;
        for (size_t t = length; t < stride; t++) row[t] = 0;
    }
    // Rows past the last have a weight of 0, and must be finite.
    if (length % CACHE_ROWS) memset(rows, 0, CACHE_ROWS * width * sizeof(float));
    for (size_t t = 0; t < length; t += CACHE_ROWS) {
        size_t count = length - t < CACHE_ROWS ? length - t : CACHE_ROWS;
        if (count < CACHE_ROWS) memset(rows + count * width, 0, (CACHE_ROWS - count) * width * sizeof(float));
        load_rows(values, first + t, count, rows, width);
        mix_rows(rows, scores + t, width, group, stride, out);
    }
    for (size_t g = 0; g < group; g++) memcpy(y + g * d, out + g * width, d * sizeof(float));
}
