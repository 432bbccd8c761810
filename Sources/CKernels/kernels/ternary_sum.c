enum { TILE = CK_TERNARY_TILE, WIDTH = CK_TERNARY_WIDTH, CHUNKS = WIDTH / LANES, NEGATIVE = 64 };
// Of floats: the bits of 1, and the sign's.
static const uint32_t ONE = 0x3f800000, SIGN = 0x80000000;
_Static_assert(TILE <= NEGATIVE, "a component's number within its tile leaves a bit for the sign");

typedef float aligned_chunk __attribute__((vector_size(64), aligned(64), may_alias));

size_t CK_VARIANT(ck_ternary_tile)(const float *t, size_t rows, size_t inner, uint8_t *codes, uint8_t *counts) {
    uint8_t *end = codes;
    for (size_t j0 = 0; j0 < inner; j0 += TILE) {
        size_t size = inner - j0 < TILE ? inner - j0 : TILE;
        for (size_t i = 0; i < rows; i++) {
            uint64_t positive, negative;
            sign_masks(t + i * inner + j0, size, &positive, &negative);
            uint64_t nonzero = positive | negative;
            *counts++ = (uint8_t)__builtin_popcountll(nonzero);
            for (; nonzero; nonzero &= nonzero - 1) {
                size_t j = (size_t)__builtin_ctzll(nonzero);
                *end++ = (uint8_t)(j | (negative >> j & 1) * NEGATIVE);
            }
        }
    }
    return (size_t)(end - codes);
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

// sum ← Σ ±x over a row's codes, onto what is there unless it is the first tile.
INLINE void add(float *sum, float (*x)[WIDTH], const uint8_t *codes, size_t count, int isFirst) {
    lane16 *target = (lane16 *)sum, y[CHUNKS];
    for (size_t k = 0; k < CHUNKS; k++) y[k] = isFirst ? (lane16){0} : target[k];
    // Loads are what the loop waits for: codes come eight at a time, and 1 or -1 is made of the sign's bit.
    for (size_t first = 0; first < count; first += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, codes + first, sizeof word);
        size_t size = count - first < sizeof word ? count - first : sizeof word;
        for (size_t e = 0; e < size; e++, word >>= 8) {
            const aligned_chunk *from = (const aligned_chunk *)x[word & (NEGATIVE - 1)];
            uint32_t bits = ONE | (uint32_t)(word & NEGATIVE) * (SIGN / NEGATIVE);
            float factor;
            memcpy(&factor, &bits, sizeof factor);
            for (size_t k = 0; k < CHUNKS; k++) y[k] += factor * from[k];
        }
    }
    for (size_t k = 0; k < CHUNKS; k++) target[k] = y[k];
}

// Up to WIDTH columns of y, from column c on. Fewer go through a buffer, whose other columns are sums of nothing.
static void sum_columns(const ck_ternary_tiled *t, const float *s, size_t c, size_t width, float *y) {
    _Alignas(64) float x[TILE][WIDTH], part[WIDTH];
    const uint8_t *codes = t->codes, *counts = t->counts;
    if (t->inner == 0)
        for (size_t i = 0; i < t->rows; i++) memset(y + i * t->columns + c, 0, width * sizeof *y);
    for (size_t j0 = 0; j0 < t->inner; j0 += TILE) {
        size_t size = t->inner - j0 < TILE ? t->inner - j0 : TILE;
        fill(x, t->v + j0 * t->columns + c, s + j0, size, t->columns, width);
        for (size_t i = 0; i < t->rows; i++, codes += *counts++) {
            float *target = y + i * t->columns + c;
            if (width == WIDTH)
                add(target, x, codes, *counts, j0 == 0);
            else {
                memcpy(part, target, width * sizeof *part);
                add(part, x, codes, *counts, j0 == 0);
                memcpy(target, part, width * sizeof *part);
            }
        }
    }
}

INLINE size_t block_width(size_t c, size_t last) { return last - c < WIDTH ? last - c : WIDTH; }

void CK_VARIANT(ck_ternary_sum)(const ck_ternary_tiled *t, const float *s, size_t first, size_t last, float *y) {
    for (size_t c = first; c < last; c += WIDTH) sum_columns(t, s, c, block_width(c, last), y);
}

void CK_VARIANT(ck_ternary_carry_residual)(
    const ck_ternary_tiled *t, const float *s, const float *a, const float *b, size_t first, size_t last, float *restrict w,
    float *restrict rest) {
    size_t n = t->columns;
    for (size_t c = first; c < last; c += WIDTH) {
        size_t end = c + block_width(c, last);
        for (size_t i = 0; i < t->rows; i++)
            for (size_t j = c; j < end; j++) rest[i * n + j] += w[i * n + j];
        sum_columns(t, s, c, end - c, w);
        for (size_t i = 0; i < t->rows; i++) {
            float *wi = w + i * n, *ri = rest + i * n;
            // One operation a loop, so that no compiler contracts two and rounds once: the same bits on every processor.
            if (a && b) {
                float scale = a[i];
                for (size_t j = c; j < end; j++) wi[j] *= scale * b[j];
            }
            for (size_t j = c; j < end; j++) ri[j] -= wi[j];
        }
    }
}
