void CK_VARIANT(ck_ternary_gather)(const float *rows, const float *t, size_t m, size_t n, float *restrict y) {
    memset(y, 0, n * sizeof *y);
    for (size_t i = 0; i < m; i++) {
        const float *row = rows + i * n;
        if (t[i] > 0)
            for (size_t j = 0; j < n; j++) y[j] += row[j];
        else if (t[i] < 0)
            for (size_t j = 0; j < n; j++) y[j] -= row[j];
    }
}

void CK_VARIANT(ck_ternary_deflate)(
    float *restrict rows, const float *a, const float *restrict b, float g, size_t m, size_t n) {
    for (size_t i = 0; i < m; i++) {
        if (a[i] == 0) continue;
        float *row = rows + i * n, factor = a[i] * g;
        for (size_t j = 0; j < n; j++) row[j] -= factor * b[j];
    }
}

typedef float sign_floats __attribute__((ext_vector_type(LANES)));
typedef _Bool sign_lanes __attribute__((ext_vector_type(LANES)));
_Static_assert(LANES == 16, "a bit for each lane in 16");

INLINE uint64_t lane_mask(sign_lanes lanes) {
    uint16_t mask;
    memcpy(&mask, &lanes, sizeof mask);
    return mask;
}

// Bit j of plus (minus): whether the j-th of up to 64 numbers is above (below) zero.
INLINE void sign_masks(const float *t, size_t count, uint64_t *plus, uint64_t *minus) {
    uint64_t p = 0, m = 0;
    size_t j = 0;
    for (; j + LANES <= count; j += LANES) {
        sign_floats x;
        memcpy(&x, t + j, sizeof x);
        p |= lane_mask(__builtin_convertvector(x > 0, sign_lanes)) << j;
        m |= lane_mask(__builtin_convertvector(x < 0, sign_lanes)) << j;
    }
    for (; j < count; j++) {
        p |= (uint64_t)(t[j] > 0) << j;
        m |= (uint64_t)(t[j] < 0) << j;
    }
    *plus = p;
    *minus = m;
}

void CK_VARIANT(ck_ternary_bits)(const float *t, size_t count, size_t n, uint64_t *bits, size_t words) {
    for (size_t i = 0; i < count; i++) {
        uint64_t *plus = bits + i * 2 * words, *minus = plus + words;
        const float *row = t + i * n;
        for (size_t w = 0; w < words; w++) {
            size_t left = n - w * 64;
            sign_masks(row + w * 64, left < 64 ? left : 64, plus + w, minus + w);
        }
    }
}

INLINE int dot(const uint64_t *a, const uint64_t *b, size_t words) {
    int sum = 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t ap = a[w], am = a[words + w], bp = b[w], bm = b[words + w];
        sum += __builtin_popcountll((ap & bp) | (am & bm)) - __builtin_popcountll((ap & bm) | (am & bp));
    }
    return sum;
}

void CK_VARIANT(ck_ternary_gram)(
    const uint64_t *bits, size_t words, size_t first, size_t count, float *gram, size_t ld) {
    enum { TILE = 64 };
    for (size_t i0 = first; i0 < count; i0 += TILE) {
        size_t iEnd = i0 + TILE < count ? i0 + TILE : count;
        for (size_t j0 = 0; j0 < iEnd; j0 += TILE)
            for (size_t i = i0; i < iEnd; i++) {
                size_t jEnd = j0 + TILE < i + 1 ? j0 + TILE : i + 1;
                for (size_t j = j0; j < jEnd; j++) {
                    float value = (float)dot(bits + i * 2 * words, bits + j * 2 * words, words);
                    gram[i * ld + j] = value;
                    gram[j * ld + i] = value;
                }
            }
    }
}

size_t CK_VARIANT(ck_ternary_descend)(
    float *restrict u, float *restrict h, size_t rows, size_t k, const float *restrict s, const float *restrict gram,
    size_t ld, const float *restrict prices, int passes) {
    size_t changes = 0;
    for (size_t i = 0; i < rows; i++) {
        float *ui = u + i * k, *hi = h + i * k;
        for (int pass = 0; pass < passes; pass++) {
            size_t before = changes;
            for (size_t j = 0; j < k; j++) {
                // Cost of replacing u by t, up to a constant: curve·t² − 2·slope·t + price·[t ≠ 0].
                float curve = s[j] * s[j] * gram[j * ld + j], slope = s[j] * hi[j] + curve * ui[j];
                float price = prices[j], magnitude = slope < 0 ? -slope : slope;
                float cost = curve - 2 * magnitude + price;
                float present = ui[j] == 0 ? 0 : curve - 2 * slope * ui[j] + price;
                float best = cost < 0 ? cost : 0;
                // Strictly better by more than rounding, so that the passes end.
                if (!(best < present - 1e-5f * curve)) continue;
                float chosen = cost < 0 ? (slope < 0 ? -1.0f : 1.0f) : 0.0f;
                float step = (chosen - ui[j]) * s[j];
                const float *row = gram + j * ld;
                for (size_t l = 0; l < k; l++) hi[l] -= step * row[l];
                ui[j] = chosen;
                changes++;
            }
            if (changes == before) break;
        }
    }
    return changes;
}

void CK_VARIANT(ck_ternary_accumulate)(
    const float *t, size_t rows, size_t inner, const float *x, size_t n, float sign, float *y) {
    enum { TILE = 64, WIDTH = 16 };
    for (size_t j0 = 0; j0 < inner; j0 += TILE) {
        size_t jEnd = j0 + TILE < inner ? j0 + TILE : inner;
        for (size_t i = 0; i < rows; i++) {
            // Row numbers of the tile's non-zeros, in order, with their signs.
            const float *source[TILE];
            float factor[TILE];
            size_t count = 0;
            for (size_t j = j0; j < jEnd; j++) {
                source[count] = x + j * n;
                factor[count] = t[i * inner + j] * sign;
                count += t[i * inner + j] != 0;
            }
            float *row = y + i * n;
            size_t c = 0;
            for (; c + 4 * WIDTH <= n; c += 4 * WIDTH) {
                lane16 *target = (lane16 *)(row + c);
                lane16 y0 = target[0], y1 = target[1], y2 = target[2], y3 = target[3];
                for (size_t e = 0; e < count; e++) {
                    const lane16 *from = (const lane16 *)(source[e] + c);
                    float f = factor[e];
                    y0 += f * from[0];
                    y1 += f * from[1];
                    y2 += f * from[2];
                    y3 += f * from[3];
                }
                target[0] = y0, target[1] = y1, target[2] = y2, target[3] = y3;
            }
            for (; c < n; c++) {
                float sum = row[c];
                for (size_t e = 0; e < count; e++) sum += factor[e] * source[e][c];
                row[c] = sum;
            }
        }
    }
}

double CK_VARIANT(ck_ternary_kernel_row)(const float *restrict a, const float *restrict b, size_t n, float *restrict out) {
    double part[8] = {0};
    size_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int l = 0; l < 8; l++) {
            out[j + l] = a[j + l] * b[j + l];
            part[l] += (double)out[j + l] * out[j + l];
        }
    for (; j < n; j++) {
        out[j] = a[j] * b[j];
        part[j & 7] += (double)out[j] * out[j];
    }
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}
