// Products of codes with floats: a weight of 4 or 8 bits is read as it rests, and widened in registers.

// Columns that lie together in a row of 4-bit codes.
enum { CODE_RUN = 32 };

void CK_VARIANT(ck_codes_store)(int bits, size_t columns, const int16_t *codes, uint8_t *row) {
    if (bits == 8) {
        for (size_t c = 0; c < columns; c++) row[c] = (uint8_t)codes[c];
        return;
    }
    for (size_t c = 0; c < columns; c += CODE_RUN)
        for (size_t j = 0; j < CODE_RUN / 2; j++)
            row[c / 2 + j] = (uint8_t)(codes[c + j] | codes[c + j + CODE_RUN / 2] << 4);
}

// The 32 codes from column c on, as floats.
INLINE void code_lanes(const uint8_t *row, int bits, size_t c, lane16 *low, lane16 *high) {
    if (bits == 8) {
        *low = __builtin_convertvector(*(const byte16 *)(row + c), lane16);
        *high = __builtin_convertvector(*(const byte16 *)(row + c + 16), lane16);
        return;
    }
    byte16 both = *(const byte16 *)(row + c / 2);
    *low = __builtin_convertvector(both & 15, lane16);
    *high = __builtin_convertvector(both >> 4, lane16);
}

// Lanes of Σ code·x over the columns from c to end, in two chains of each half.
INLINE lane16 code_products(const uint8_t *row, int bits, size_t c, size_t end, const float *x) {
    lane16 sums[4] = {{0}}, low, high;
    for (; c + 2 * CODE_RUN <= end; c += 2 * CODE_RUN) {
        __builtin_prefetch(row + (bits == 8 ? c : c / 2) + AHEAD);
        code_lanes(row, bits, c, &low, &high);
        sums[0] += low * *(const lane16 *)(x + c);
        sums[1] += high * *(const lane16 *)(x + c + 16);
        code_lanes(row, bits, c + CODE_RUN, &low, &high);
        sums[2] += low * *(const lane16 *)(x + c + CODE_RUN);
        sums[3] += high * *(const lane16 *)(x + c + CODE_RUN + 16);
    }
    if (c < end) {
        code_lanes(row, bits, c, &low, &high);
        sums[0] += low * *(const lane16 *)(x + c);
        sums[1] += high * *(const lane16 *)(x + c + 16);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

INLINE void codes_vector(
    const ck_code_matrix *w, int bits, size_t first, size_t last, const float *x, const float *sums, float *y) {
    size_t bytes = ck_code_row_bytes(bits, w->columns), groups = w->columns / w->group;
    for (size_t r = first; r < last; r += 16) {
        size_t rows = last - r < 16 ? last - r : 16;
        lane16 lanes[16] = {{0}};
        float away[16] = {0};
        for (size_t i = 0; i < rows; i++) {
            const uint8_t *row = w->codes + (r + i) * bytes;
            const float *scales = w->scales + (r + i) * groups, *zeros = w->zeros + (r + i) * groups;
            for (size_t g = 0; g < groups; g++) {
                lanes[i] += scales[g] * code_products(row, bits, g * w->group, (g + 1) * w->group, x);
                away[i] += scales[g] * zeros[g] * sums[g];
            }
        }
        lane16 total = sums_of(lanes);
        for (size_t i = 0; i < rows; i++) y[r + i] = total[i] - away[i];
    }
}

void CK_VARIANT(ck_codes_vector)(
    const ck_code_matrix *w, size_t first, size_t last, const float *x, float *sums, float *y) {
    for (size_t g = 0; g < w->columns / w->group; g++) {
        lane16 sum = {0};
        for (size_t c = g * w->group; c < (g + 1) * w->group; c += 16) sum += *(const lane16 *)(x + c);
        sums[g] = 0;
        for (int i = 0; i < 16; i++) sums[g] += sum[i];
    }
    if (w->bits == 8)
        codes_vector(w, 8, first, last, x, sums, y);
    else
        codes_vector(w, 4, first, last, x, sums, y);
}

void CK_VARIANT(ck_codes_widen)(const ck_code_matrix *w, size_t first, size_t last, float *y) {
    size_t bytes = ck_code_row_bytes(w->bits, w->columns), groups = w->columns / w->group;
    for (size_t r = first; r < last; r++) {
        float *target = y + (r - first) * w->columns;
        for (size_t c = 0; c < w->columns; c += CODE_RUN) {
            float scale = w->scales[r * groups + c / w->group], zero = w->zeros[r * groups + c / w->group];
            lane16 low, high;
            code_lanes(w->codes + r * bytes, w->bits, c, &low, &high);
            *(lane16 *)(target + c) = (low - zero) * scale;
            *(lane16 *)(target + c + 16) = (high - zero) * scale;
        }
    }
}
