// One token at a time: each number of a matrix, or of a cache, is read once and used once or a few times.

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

// Bytes that a kernel asks for before it reads them: enough for what comes from memory to arrive meanwhile. What lies behind
// the end is asked for in vain.
enum { AHEAD = 8192 };

// The lanes' sums of one row, for all columns but the last few; rows follow each other in memory, and so do the reads.
INLINE lane16 row_lanes(const char *row, ck_float_form form, size_t columns, const float *x) {
    enum { CHAINS = 4 };
    size_t size = form == CK_F32 ? 4 : 2, c = 0;
    lane16 sums[CHAINS] = {{0}};
    for (; c + 16 * CHAINS <= columns; c += 16 * CHAINS) {
        _Pragma("unroll") for (size_t line = 0; line < 16 * CHAINS * size; line += 64)
            __builtin_prefetch(row + c * size + line + AHEAD);
        _Pragma("unroll") for (size_t i = 0; i < CHAINS; i++)
            sums[i] += lanes_at(row + (c + 16 * i) * size, form) * *(const lane16 *)(x + c + 16 * i);
    }
    for (; c + 16 <= columns; c += 16) sums[0] += lanes_at(row + c * size, form) * *(const lane16 *)(x + c);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

INLINE void matrix_vector(
    const char *w, ck_float_form form, size_t first, size_t last, size_t columns, const float *x, float *y) {
    size_t size = form == CK_F32 ? 4 : 2, whole = columns / 16 * 16;
    for (size_t r = first; r < last; r += 16) {
        size_t rows = last - r < 16 ? last - r : 16;
        lane16 sums[16] = {{0}};
        for (size_t i = 0; i < rows; i++) sums[i] = row_lanes(w + (r + i) * columns * size, form, columns, x);
        lane16 total = sums_of(sums);
        for (size_t i = 0; i < rows; i++) {
            const char *row = w + (r + i) * columns * size;
            float sum = total[i];
            for (size_t c = whole; c < columns; c++) sum += float_at(row + c * size, form) * x[c];
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

typedef uint8_t byte16 __attribute__((vector_size(16), aligned(1), may_alias));

// Rows of keys or values at a time, and heads of queries that meet a row while it is in registers.
enum { CACHE_ROWS = 16, CACHE_HEADS = 4 };
// Rows that are asked for before they are read.
enum { ROWS_AHEAD = 4 * CACHE_ROWS };

INLINE size_t padded(size_t n) { return (n + 15) / 16 * 16; }

size_t CK_VARIANT(ck_cached_attention_scratch)(size_t length, size_t group, size_t d) {
    return padded(d) * (CACHE_ROWS + 2 * group) + padded(length) * group;
}

// Some rows of a cache, in its own form or, with 32 bits, as floats.
typedef struct {
    const uint8_t *rows;
    size_t bytes, half; // of a row, and the place where its high halves begin
    const float *scales, *zeros;
} cached_rows;

// Sixteen values of a row from column c on.
INLINE lane16 cached_lanes(cached_rows x, int bits, size_t r, size_t c) {
    const uint8_t *row = x.rows + r * x.bytes;
    if (bits == 32) return *(const lane16 *)(row + 4 * c);
    if (bits == 16) return lanes_at(row + 2 * c, CK_F16) * x.scales[r];
    byte16 codes = bits == 8 ? *(const byte16 *)(row + c)
        : c < x.half         ? *(const byte16 *)(row + c) & 15
                             : *(const byte16 *)(row + c - x.half) >> 4;
    return (__builtin_convertvector(codes, lane16) - x.zeros[r]) * x.scales[r];
}

// scores[g] ← the products of `heads` queries, d values each, with 16 rows of keys.
INLINE void score_rows(cached_rows x, int bits, int heads, const float *q, size_t d, float *scores, size_t stride) {
    lane16 sums[CACHE_HEADS][CACHE_ROWS];
    for (size_t r = 0; r < CACHE_ROWS; r += 4) {
        lane16 some[CACHE_HEADS][4] = {{{0}}};
        for (size_t c = 0; c < d; c += 16) {
            lane16 keys[4];
            _Pragma("unroll") for (size_t i = 0; i < 4; i++) keys[i] = cached_lanes(x, bits, r + i, c);
            _Pragma("unroll") for (int g = 0; g < heads; g++) {
                lane16 query = *(const lane16 *)(q + (size_t)g * d + c);
                _Pragma("unroll") for (int i = 0; i < 4; i++) some[g][i] += keys[i] * query;
            }
        }
        _Pragma("unroll") for (int g = 0; g < heads; g++)
            _Pragma("unroll") for (size_t i = 0; i < 4; i++) sums[g][r + i] = some[g][i];
    }
    for (int g = 0; g < heads; g++) *(lane16 *)(scores + (size_t)g * stride) = sums_of(sums[g]);
}

// y[g] += Σ_r p[g, r]·row r over 16 rows of values, in columns c to c + 16·vectors − 1.
INLINE void mix_values(
    cached_rows x, int bits, int heads, int vectors, size_t c, size_t d, const float *p, size_t stride, float *y) {
    lane16 sums[CACHE_HEADS][4];
    _Pragma("unroll") for (int g = 0; g < heads; g++)
        _Pragma("unroll") for (int v = 0; v < vectors; v++) sums[g][v] = *(lane16 *)(y + (size_t)g * d + c + 16 * (size_t)v);
    for (size_t r = 0; r < CACHE_ROWS; r++)
        _Pragma("unroll") for (int v = 0; v < vectors; v++) {
            lane16 values = cached_lanes(x, bits, r, c + 16 * (size_t)v);
            _Pragma("unroll") for (int g = 0; g < heads; g++) sums[g][v] += values * p[(size_t)g * stride + r];
        }
    _Pragma("unroll") for (int g = 0; g < heads; g++)
        _Pragma("unroll") for (int v = 0; v < vectors; v++) *(lane16 *)(y + (size_t)g * d + c + 16 * (size_t)v) = sums[g][v];
}

INLINE void mix_rows(cached_rows x, int bits, int heads, size_t d, const float *p, size_t stride, float *y) {
    size_t c = 0;
    for (; c + 64 <= d; c += 64) mix_values(x, bits, heads, 4, c, d, p, stride, y);
    for (; c < d; c += 16) mix_values(x, bits, heads, 1, c, d, p, stride, y);
}

// What one kind of cache and one number of heads does with 16 rows: with keys where y is NULL, else with values.
INLINE void meet_rows(cached_rows x, int bits, int heads, const float *q, size_t d, float *scores, size_t stride, float *y) {
    if (y)
        mix_rows(x, bits, heads, d, scores, stride, y);
    else
        score_rows(x, bits, heads, q, d, scores, stride);
}

#define FOR_HEADS(bits, heads) \
    static void meet_##bits##_##heads( \
        cached_rows x, const float *q, size_t d, float *scores, size_t stride, float *y) { \
        meet_rows(x, bits, heads, q, d, scores, stride, y); \
    }
#define FOR_BITS(bits) FOR_HEADS(bits, 1) FOR_HEADS(bits, 2) FOR_HEADS(bits, 3) FOR_HEADS(bits, 4)
FOR_BITS(4)
FOR_BITS(8)
FOR_BITS(16)
FOR_BITS(32)
#undef FOR_BITS
#undef FOR_HEADS

typedef void (*meet_function)(cached_rows, const float *, size_t, float *, size_t, float *);
#define FOR_BITS(bits) {meet_##bits##_1, meet_##bits##_2, meet_##bits##_3, meet_##bits##_4}
static const meet_function meet_functions[4][CACHE_HEADS] = {FOR_BITS(4), FOR_BITS(8), FOR_BITS(16), FOR_BITS(32)};
#undef FOR_BITS

// The rows first … first + length − 1 of a cache meet all queries, 16 at a time. rows: room for 16 as floats.
INLINE void meet_all(
    const ck_cache *cache, size_t first, size_t length, size_t group, float *rows, const float *q, float *scores, float *y) {
    size_t d = cache->d, width = padded(d), stride = padded(length), bytes = ck_cache_row_bytes(cache->bits, d);
    // Rows whose vectors lie whole and in order are read where they are.
    int isWhole = d % (cache->bits == 4 ? 32 : 16) == 0;
    for (size_t t = 0; t < length; t += CACHE_ROWS) {
        size_t count = length - t < CACHE_ROWS ? length - t : CACHE_ROWS;
        cached_rows x = {cache->rows + (first + t) * bytes, bytes, (d + 1) / 2, cache->scales + first + t, NULL};
        if (cache->bits < 16) x.zeros = cache->zeros + first + t;
        const meet_function *functions = meet_functions[cache->bits == 4 ? 0 : cache->bits == 8 ? 1 : 2];
        if (!isWhole || count < CACHE_ROWS) {
            memset(rows + count * width, 0, (CACHE_ROWS - count) * width * sizeof(float));
            load_rows(cache, first + t, count, rows, width);
            x = (cached_rows){(const uint8_t *)rows, width * sizeof(float), 0, NULL, NULL};
            functions = meet_functions[3];
        }
        for (size_t line = 0; line < CACHE_ROWS * bytes; line += 64)
            __builtin_prefetch(cache->rows + (first + t + ROWS_AHEAD) * bytes + line);
        for (size_t g = 0; g < group; g += CACHE_HEADS) {
            size_t heads = group - g < CACHE_HEADS ? group - g : CACHE_HEADS;
            functions[heads - 1](x, q ? q + g * width : NULL, width, scores + g * stride + t, stride, y ? y + g * width : NULL);
        }
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
    meet_all(keys, first, length, group, rows, queries, scores, NULL);
    for (size_t g = 0; g < group; g++) {
        float *row = scores + g * stride, top = row_max(row, length), sum = 0;
        for (size_t t = 0; t < length; t++) {
            row[t] = ck_exp(row[t] - top);
            sum += row[t];
        }
        float inverse = 1 / sum;
        for (size_t t = 0; t < length; t++) row[t] *= inverse;
        // Rows that there are not.
        for (size_t t = length; t < stride; t++) row[t] = 0;
    }
    meet_all(values, first, length, group, rows, NULL, scores, out);
    for (size_t g = 0; g < group; g++) memcpy(y + g * d, out + g * width, d * sizeof(float));
}
