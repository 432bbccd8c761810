// The fast Walsh–Hadamard transform: log₂ n stages of sums and differences, sixteen values to a vector.
//
// The stages commute, so they are grouped by where their operands lie: between vectors that are neighbors, between vectors far
// apart, and four within a vector. A pass over the row costs one load and one store per value whatever it does in between, and
// a processor issues about four of its instructions at a time; so each pass takes four stages between vectors (sixteen
// registers), and the stages within vectors, which cost twice as much, are shared out between the first pass and the last.

#define UNROLLED _Pragma("clang loop unroll(full)")
// A block of this many values passes through all but its last stages while it stays in the first-level cache.
#define CACHE_BLOCK 4096
// Columns that ck_mix_signs takes at a time: the sums of 44 rows then fill half of the first-level cache.
#define MIX_WIDTH 32

typedef float vector_t __attribute__((vector_size(4 * LANES)));

// What a pass does beside its stages between vectors.
enum { PLAIN = 0, LANES_1_2 = 1, LANES_4_8 = 2, SCALED = 4 };

// The stage within vectors where lane i meets lane i ^ distance, and the upper one of the two takes the difference; for all
// vectors at once, so that a shuffle's latency is hidden by the other vectors' work.
INLINE void lane_stage(vector_t *v, const int radix, const int distance) {
    const vector_t by1 = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    const vector_t by2 = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
    const vector_t by4 = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
    const vector_t by8 = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    UNROLLED for (int i = 0; i < radix; i++) {
        vector_t a = v[i];
        switch (distance) {
        case 1: v[i] = a * by1 + __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14); break;
        case 2: v[i] = a * by2 + __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13); break;
        case 4: v[i] = a * by4 + __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11); break;
        default: v[i] = a * by8 + __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
        }
    }
}

// The stage in which vector i meets vector i + distance.
INLINE void pair_stage(vector_t *v, const int radix, const int distance) {
    UNROLLED for (int i = 0; i < radix; i++)
        if (!(i & distance)) {
            vector_t a = v[i], b = v[i + distance];
            v[i] = a + b;
            v[i + distance] = a - b;
        }
}

// The stages of distance and 2·distance.
INLINE void quad_stage(vector_t *v, const int radix, const int distance) {
    UNROLLED for (int i = 0; i < radix; i++)
        if (!(i & (3 * distance))) {
            vector_t a = v[i], b = v[i + distance], c = v[i + 2 * distance], d = v[i + 3 * distance];
            vector_t sum1 = a + b, difference1 = a - b, sum2 = c + d, difference2 = c - d;
            v[i] = sum1 + sum2;
            v[i + distance] = difference1 + difference2;
            v[i + 2 * distance] = sum1 - sum2;
            v[i + 3 * distance] = difference1 - difference2;
        }
}

// The same, times `scale`. Up to signs and order, the Hadamard matrix of order 4 is J − 2I (J all ones): with s = b + c + d − a
// the four sums are s + 2a, 2c − s, 2b − s, 2d − s. Seven operations instead of eight, three of them fused multiply-adds, which
// processors execute beside additions and which take the scale for one product more.
INLINE void scaled_quad_stage(vector_t *v, const int radix, const int distance, float scale) {
    UNROLLED for (int i = 0; i < radix; i++)
        if (!(i & (3 * distance))) {
            vector_t a = v[i], b = v[i + distance], c = v[i + 2 * distance], d = v[i + 3 * distance];
            vector_t others = (b + c + d) * scale, s = others - a * scale;
            v[i] = others + a * scale;
            v[i + distance] = c * (2 * scale) - s;
            v[i + 2 * distance] = b * (2 * scale) - s;
            v[i + 3 * distance] = d * (2 * scale) - s;
        }
}

// log₂ radix stages between vectors `stride` values apart, and what else `does` asks for. Stages within vectors stand between
// the others, so that shuffles and additions overlap.
INLINE void stages(float *x, size_t stride, const int radix, const int does, float scale) {
    vector_t v[16];
    UNROLLED for (int i = 0; i < radix; i++) v[i] = *(const lane16 *)(x + i * stride);
    if (does & LANES_1_2) lane_stage(v, radix, 1);
    if (does & LANES_4_8) lane_stage(v, radix, 8);
    if (radix == 16) quad_stage(v, radix, 1);
    if (radix == 8) pair_stage(v, radix, 1);
    if (does & LANES_1_2) lane_stage(v, radix, 2);
    if (does & LANES_4_8) lane_stage(v, radix, 4);
    if (radix >= 4 && does & SCALED) scaled_quad_stage(v, radix, radix / 4, scale);
    if (radix >= 4 && !(does & SCALED)) quad_stage(v, radix, radix / 4);
    if (radix == 2) pair_stage(v, radix, 1);
    if (radix < 4 && does & SCALED)
        UNROLLED for (int i = 0; i < radix; i++) v[i] *= scale;
    UNROLLED for (int i = 0; i < radix; i++) *(lane16 *)(x + i * stride) = v[i];
}

// The stages between vectors of x that lie less than radix·stride values apart, for all n values.
INLINE void pass(float *x, size_t n, size_t stride, const int radix, const int does, float scale) {
    for (size_t start = 0; start < n; start += radix * stride)
        for (size_t i = start; i < start + stride; i += LANES) stages(x + i, stride, radix, does, scale);
}

INLINE void pass_of(size_t radix, float *x, size_t n, size_t stride, const int does, float scale) {
    switch (radix) {
    case 1: pass(x, n, stride, 1, does, scale); break;
    case 2: pass(x, n, stride, 2, does, scale); break;
    case 4: pass(x, n, stride, 4, does, scale); break;
    case 8: pass(x, n, stride, 8, does, scale); break;
    default: pass(x, n, stride, 16, does, scale);
    }
}

// The stages from `stride` values apart up to n; the last pass is the row's last if `last`.
INLINE void far_passes(float *x, size_t n, size_t stride, const int last, float scale) {
    for (; stride < n; stride *= 16) {
        if (last && n / stride <= 16)
            pass_of(n / stride, x, n, stride, LANES_4_8 | SCALED, scale);
        else
            pass_of(n / stride, x, n, stride, PLAIN, 1);
    }
}

// All stages of a row, or of a block of it where more passes follow.
INLINE void block_transform(float *x, size_t n, const int last, float scale) {
    if (n <= 16 * LANES) {
        pass_of(n / LANES, x, n, LANES, LANES_1_2 | LANES_4_8 | SCALED, scale);
        return;
    }
    pass(x, n, LANES, 16, LANES_1_2, 1);
    far_passes(x, n, 16 * LANES, last, scale);
}

// Rows shorter than a vector.
INLINE void short_transform(float *x, size_t n, float scale) {
    for (size_t distance = 1; distance < n; distance *= 2)
        for (size_t i = 0; i < n; i++)
            if (!(i & distance)) {
                float difference = x[i] - x[i + distance];
                x[i] += x[i + distance];
                x[i + distance] = difference;
            }
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

void CK_VARIANT(ck_fwht)(float *x, size_t rows, size_t n, float scale) {
    for (size_t row = 0; row < rows; row++, x += n) {
        if (n < LANES) {
            short_transform(x, n, scale);
        } else if (n <= CACHE_BLOCK) {
            block_transform(x, n, 1, scale);
        } else {
            for (size_t start = 0; start < n; start += CACHE_BLOCK) block_transform(x + start, CACHE_BLOCK, 0, 1);
            far_passes(x, n, CACHE_BLOCK, 1, scale);
        }
    }
}

// All sixteen sums ±a ± b ± c ± d of rows a, b, c, d: entry p has − where p has a bit, a's the lowest.
INLINE void signed_sums(const float *x, float *sums, size_t power, size_t width) {
    const float *a = x, *b = a + power, *c = b + power, *d = c + power;
    for (size_t i = 0; i < width; i++) {
        float ab[4] = {a[i] + b[i], b[i] - a[i], a[i] - b[i], -a[i] - b[i]};
        float cd[4] = {c[i] + d[i], d[i] - c[i], c[i] - d[i], -c[i] - d[i]};
        for (int p = 0; p < 16; p++) sums[p * width + i] = ab[p & 3] + cd[p >> 2];
    }
}

// Columns first … first + width of one block.
INLINE void mix_columns(float *x, const uint8_t *signs, float *sums, size_t m, size_t power, const size_t width) {
    size_t groups = m / 4;
    for (size_t g = 0; g < groups; g++) signed_sums(x + 4 * g * power, sums + 16 * g * width, power, width);
    for (size_t row = 0; row < m; row++, signs += groups) {
        float total[MIX_WIDTH];
        for (size_t i = 0; i < width; i++) total[i] = sums[signs[0] * width + i];
        for (size_t g = 1; g < groups; g++) {
            const float *sum = sums + (16 * g + signs[g]) * width;
            for (size_t i = 0; i < width; i++) total[i] += sum[i];
        }
        for (size_t i = 0; i < width; i++) x[row * power + i] = total[i];
    }
}

void CK_VARIANT(ck_mix_signs)(float *x, const uint8_t *signs, float *restrict sums, size_t blocks, size_t m, size_t power) {
    for (size_t block = 0; block < blocks; block++, x += m * power) {
        switch (power) {
        case 2: mix_columns(x, signs, sums, m, power, 2); break;
        case 4: mix_columns(x, signs, sums, m, power, 4); break;
        case 8: mix_columns(x, signs, sums, m, power, 8); break;
        case 16: mix_columns(x, signs, sums, m, power, 16); break;
        default:
            for (size_t i = 0; i < power; i += MIX_WIDTH) mix_columns(x + i, signs, sums, m, power, MIX_WIDTH);
        }
    }
}
