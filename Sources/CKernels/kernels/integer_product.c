// Products of weights' codes, unsigned bytes, with tokens' codes, signed ones. A lane of 32 bits belongs to a row of weights
// and takes four columns a step; the four codes that a token has there go to all lanes.
//
// What includes this defines CK_VECTOR, the bytes of a vector; CK_TOKENS, the tokens whose sums fit its registers; and CK_DOTS:
#define CK_DOTS_PLAIN 0  // shifts and products of 16 bits
#define CK_DOTS_PAIRS 1  // vpmaddubsw and vpmaddwd
#define CK_DOTS_VNNI 2   // vpdpbusd

typedef uint32_t words __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef int16_t halves __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef uint16_t whole_halves __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef int16_t narrow __attribute__((vector_size(CK_VECTOR / 2), aligned(2), may_alias));
typedef float reals __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(2 * CK_VECTOR), aligned(8), may_alias));

enum {
    PANEL = CK_INTEGER_PANEL,
    VECTORS = 2, // of weights at a time: each code of a token is fetched once for both
    PART = VECTORS * CK_VECTOR / 4,
};
_Static_assert(PANEL % PART == 0, "a panel is parts of two vectors");

#define EACH_VECTOR _Pragma("unroll") for (int v = 0; v < VECTORS; v++)
#define EACH_TOKEN _Pragma("unroll") for (int t = 0; t < count; t++)

INLINE words splat(uint32_t word) { return (words){0} + word; }

INLINE words codes_at(const int8_t *x) {
    uint32_t four;
    memcpy(&four, x, 4);
    return splat(four);
}

#if CK_DOTS == CK_DOTS_VNNI
INLINE words add_dots(words sum, words w, words x) { return (words)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
#else
#if CK_DOTS == CK_DOTS_PAIRS && CK_VECTOR == 64
#define PAIRS_OF_BYTES(w, x) ((halves)_mm512_maddubs_epi16((__m512i)(w), (__m512i)(x)))
#define PAIRS_OF_HALVES(a, b) ((words)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#elif CK_DOTS == CK_DOTS_PAIRS
#define PAIRS_OF_BYTES(w, x) ((halves)_mm256_maddubs_epi16((__m256i)(w), (__m256i)(x)))
#define PAIRS_OF_HALVES(a, b) ((words)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#else
// A product of an unsigned and a signed byte is at most 255·128 = 32640 large: 16 bits hold it.
INLINE words pairs(halves a, halves b) {
    words product = (words)(a * b);
    return (words)((integers)(product << 16) >> 16) + (words)((integers)product >> 16);
}
#define PAIRS_OF_HALVES(a, b) pairs(a, b)
#endif
// Bytes in even and in odd places apart, as 16 bits each: vpmaddubsw would saturate, since two products of full bytes reach
// 2·255·128 = 65280, and 16 bits end at 32767.
INLINE words add_dots(words sum, words w, words x) {
    halves even = (halves)((whole_halves)x << 8) >> 8, odd = (halves)x >> 8;
    return sum + PAIRS_OF_HALVES((halves)(w & 0x00FF00FFu), even) + PAIRS_OF_HALVES((halves)((whole_halves)w >> 8), odd);
}
#endif

// The codes of step i of a line.
INLINE words step(words line, int i, int bits) {
    return bits == 8 ? line : line >> (uint32_t)(i * bits) & 0x01010101u * ((1u << bits) - 1);
}

// sums[v][t] += Σ over some lines, whose steps are `stride` bytes of x apart.
INLINE void add_lines(
    const uint8_t *codes, size_t lines, int bits, const int8_t *x, size_t stride, int count, words sums[VECTORS][CK_TOKENS]) {
    for (; lines > 0; lines--, codes += PANEL * 4) {
        const words *line = (const words *)codes;
        _Pragma("unroll") for (int i = 0; i < 8 / bits; i++, x += stride) {
            words w[VECTORS];
            EACH_VECTOR w[v] = step(line[v], i, bits);
            EACH_TOKEN {
                words four = codes_at(x + 4 * t);
                EACH_VECTOR sums[v][t] = add_dots(sums[v][t], w[v], four);
            }
        }
    }
}

#if CK_DOTS == CK_DOTS_PAIRS
// The same for codes of 2 or 4 bits, by vpmaddubsw. Two products are at most 2·3·128 = 768 large, or 2·15·128 = 3840; sums of
// 16 bits take those of 32 steps (24576) or 8 steps (30720) before they pass 32767.
INLINE void add_narrow_lines(
    const uint8_t *codes, size_t lines, int bits, const int8_t *x, size_t stride, int count, words sums[VECTORS][CK_TOKENS]) {
    size_t most = bits == 2 ? 32 / 4 : 8 / 2;
    for (size_t n; lines > 0; lines -= n) {
        n = lines < most ? lines : most;
        halves small[VECTORS][CK_TOKENS];
        EACH_VECTOR EACH_TOKEN small[v][t] = (halves){0};
        for (size_t l = 0; l < n; l++, codes += PANEL * 4) {
            const words *line = (const words *)codes;
            _Pragma("unroll") for (int i = 0; i < 8 / bits; i++, x += stride) {
                words w[VECTORS];
                EACH_VECTOR w[v] = step(line[v], i, bits);
                EACH_TOKEN {
                    words four = codes_at(x + 4 * t);
                    EACH_VECTOR small[v][t] += PAIRS_OF_BYTES(w[v], four);
                }
            }
        }
        EACH_VECTOR EACH_TOKEN sums[v][t] += PAIRS_OF_HALVES(small[v][t], (halves){0} + 1);
    }
}
#endif

#if CK_DOTS == CK_DOTS_VNNI
// The same for one token: four sums a vector, so that none waits for the one before. Codes stay where they are in their byte
// and make a sum 2^(i·bits) times as large, which a shift undoes without a remainder. With CK_INTEGER_GROUP columns it is at
// most 192·128·8192, or 240·128·16384, or 255·128·32768: each below 2^31.
INLINE void add_lines_of_one(const uint8_t *codes, size_t lines, int bits, const int8_t *x, words sums[VECTORS][CK_TOKENS]) {
    enum { CHAINS = 4 };
    int steps = 8 / bits, block = CHAINS / steps;
    words part[VECTORS][CHAINS];
    EACH_VECTOR for (int c = 0; c < CHAINS; c++) part[v][c] = (words){0};
    for (; lines > 0; lines -= (size_t)block) {
        if (lines < (size_t)block) block = 1;
        _Pragma("unroll") for (int j = 0; j < CHAINS / steps; j++) {
            if (j >= block) break;
            const words *line = (const words *)codes;
            // Codes of all panels follow each other, and are read once.
            for (int byte = 0; byte < PANEL * 4; byte += 64) __builtin_prefetch(codes + byte + 8192);
            _Pragma("unroll") for (int i = 0; i < steps; i++, x += 4) {
                words mask = splat(0x01010101u * (uint32_t)(((1 << bits) - 1) << (i * bits))), four = codes_at(x);
                EACH_VECTOR part[v][j * steps + i] = add_dots(part[v][j * steps + i], line[v] & mask, four);
            }
            codes += PANEL * 4;
        }
    }
    EACH_VECTOR for (int c = 0; c < CHAINS; c++) sums[v][0] += (words)((integers)part[v][c] >> (c % steps * bits));
}
#endif

// What of a product is the same for all its tokens and panels; steps of one group and of a row.
typedef struct {
    const ck_integer_matrix *w;
    size_t groups, groupSteps, steps;
} shape_t;

// out[t] ← or += (sum·scale)·x_scale, for one group of a part.
INLINE void add_scaled(
    const ck_integer_matrix *w, size_t entry, const float *scales, const float *zeros, int isFirst, int count,
    words sums[VECTORS][CK_TOKENS], float out[CK_TOKENS][PART]) {
// No two operations in one, so that every processor rounds alike.
#pragma clang fp contract(off)
    EACH_VECTOR {
        size_t lane = (size_t)v * CK_VECTOR / 4;
        reals scale = *(const reals *)(w->scales + entry + lane);
        EACH_TOKEN {
            reals value = __builtin_convertvector((integers)sums[v][t], reals);
            if (zeros) {
                // In double precision, since a range far from 0 has a large zero point.
                integers total = *(const integers *)(w->totals + entry + lane);
                doubles exact = __builtin_convertvector((integers)sums[v][t], doubles);
                exact -= __builtin_convertvector(total, doubles) * (double)zeros[t];
                value = __builtin_convertvector(exact, reals);
            }
            value = value * scale * scales[t];
            reals *target = (reals *)(out[t] + lane);
            *target = isFirst ? value : *target + value;
        }
    }
}

// Tokens `from` … from + count − 1 of a tile of T, rows of one part of a panel.
INLINE void product_part(
    shape_t shape, size_t panel, size_t part, const ck_integer_tokens *x, size_t first, size_t T, size_t from, int count,
    int bits, float out[CK_TOKENS][PART]) {
    const ck_integer_matrix *w = shape.w;
    size_t perLine = (size_t)(8 / bits);
    for (size_t g = 0; g < shape.groups; g++) {
        size_t begin = g * shape.groupSteps, left = shape.steps - begin;
        size_t steps = left < shape.groupSteps ? left : shape.groupSteps;
        size_t entry = (panel * shape.groups + g) * PANEL + part * PART, token = first * shape.groups + g * T + from;
        words sums[VECTORS][CK_TOKENS];
        EACH_VECTOR {
            words zero = splat((uint32_t)w->zero);
            if (w->zeros) {
                const narrow *zeros = (const narrow *)(w->zeros + entry + (size_t)v * CK_VECTOR / 4);
                zero = (words)__builtin_convertvector(*zeros, integers);
            }
            EACH_TOKEN sums[v][t] = zero * (0 - (uint32_t)x->sums[token + (size_t)t]);
        }
        const uint8_t *codes = w->codes + (panel * shape.steps + begin) / perLine * PANEL * 4 + part * PART * 4;
        const int8_t *tokens = x->codes + ((first * shape.steps + begin * T) + from) * 4;
#if CK_DOTS == CK_DOTS_VNNI
        if (T == 1)
            add_lines_of_one(codes, steps / perLine, bits, tokens, sums);
        else
#elif CK_DOTS == CK_DOTS_PAIRS
        if (bits < 8)
            add_narrow_lines(codes, steps / perLine, bits, tokens, T * 4, count, sums);
        else
#endif
            add_lines(codes, steps / perLine, bits, tokens, T * 4, count, sums);
        add_scaled(w, entry, x->scales + token, x->zeros ? x->zeros + token : NULL, g == 0, count, sums, out);
    }
}

INLINE void product_tile(
    shape_t shape, size_t panel, const ck_integer_tokens *x, size_t first, size_t T, int bits, float *y, size_t stride) {
    size_t count = T <= CK_TOKENS ? T : T % CK_TOKENS == 0 ? CK_TOKENS : 4;
    for (size_t part = 0; part < PANEL / PART; part++) {
        size_t row = panel * PANEL + part * PART;
        if (row >= shape.w->rows) break;
        size_t rows = shape.w->rows - row < PART ? shape.w->rows - row : PART;
        for (size_t from = 0; from < T; from += count) {
            _Alignas(64) float out[CK_TOKENS][PART];
            product_part(shape, panel, part, x, first, T, from, (int)count, bits, out);
            for (size_t t = 0; t < count; t++) memcpy(y + (first + from + t) * stride + row, out[t], rows * sizeof(float));
        }
    }
}

// A function for each width of codes and size of tile, in which both are constants.
#define FOR_TILE(bits, T) \
    static void product_##bits##_##T( \
        shape_t shape, size_t panel, const ck_integer_tokens *x, size_t first, float *y, size_t stride) { \
        product_tile(shape, panel, x, first, T, bits, y, stride); \
    }
#define FOR_BITS(bits) FOR_TILE(bits, 1) FOR_TILE(bits, 2) FOR_TILE(bits, 4) FOR_TILE(bits, 8) FOR_TILE(bits, 12)
FOR_BITS(2)
FOR_BITS(4)
FOR_BITS(8)
#undef FOR_BITS
#undef FOR_TILE

typedef void (*tile_function)(shape_t, size_t, const ck_integer_tokens *, size_t, float *, size_t);

#define FOR_BITS(bits) \
    {[1] = product_##bits##_1, [2] = product_##bits##_2, [4] = product_##bits##_4, [8] = product_##bits##_8, \
     [12] = product_##bits##_12}
static const tile_function tile_functions[3][13] = {FOR_BITS(2), FOR_BITS(4), FOR_BITS(8)};
#undef FOR_BITS

void CK_VARIANT(ck_integer_product)(
    const ck_integer_matrix *w, const ck_integer_tokens *x, size_t first, size_t last, float *y, size_t stride) {
    shape_t shape = {w, ck_integer_groups(w->row), ck_integer_group_steps(w->row), ck_integer_steps(w->row)};
    const tile_function *functions = tile_functions[w->bits / 4];
    for (size_t panel = first; panel < last; panel++)
        for (size_t t = 0, T; t < x->tokens; t += T) {
            T = ck_integer_tile(x->tokens - t);
            functions[T](shape, panel, x, t, y, stride);
        }
}

size_t CK_VARIANT(ck_integer_peak)(size_t rounds) {
    enum { CHAINS = 12 };
    volatile uint32_t four = 0x01020304;
    words sums[CHAINS];
    for (int c = 0; c < CHAINS; c++) sums[c] = splat((uint32_t)c);
    for (size_t round = 0; round < rounds; round++) {
        words x = splat(four);
        _Pragma("unroll") for (int c = 0; c < CHAINS; c++)
#if CK_DOTS == CK_DOTS_PAIRS
            sums[c] = (words)PAIRS_OF_BYTES(sums[c], x);
#else
            sums[c] = add_dots(sums[c], sums[c], x);
#endif
    }
    for (int c = 1; c < CHAINS; c++) sums[0] += sums[c];
    four = sums[0][0];
    return CHAINS * CK_VECTOR;
}
