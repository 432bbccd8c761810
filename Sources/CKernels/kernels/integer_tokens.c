// Layouts of the products of integers, of weights once and of tokens each time.

void CK_VARIANT(ck_integer_lay_out)(
    const uint8_t *codes, size_t rows, ck_integer_row row, int bits, uint8_t *target, int32_t *sums) {
    enum { PANEL = CK_INTEGER_PANEL };
    size_t perLine = (size_t)(8 / bits), groupLines = ck_integer_group_steps(row) / perLine;
    memset(target, 0, ck_integer_steps(row) / perLine * PANEL * 4);
    memset(sums, 0, ck_integer_groups(row) * PANEL * sizeof *sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t first = 0, g = 0; first < row.columns; first += row.group, g++) {
            const uint8_t *source = codes + r * row.columns + first;
            size_t n = row.columns - first < row.group ? row.columns - first : row.group;
            uint8_t *lines = target + g * groupLines * PANEL * 4 + r * 4;
            for (size_t c = 0; c < n; c++) {
                size_t step = c / 4;
                sums[g * PANEL + r] += source[c];
                lines[step / perLine * PANEL * 4 + c % 4] |= (uint8_t)(source[c] << (step % perLine * (size_t)bits));
            }
        }
}

// Codes of one range, less `moved`; returns its scale and zero point, NaN where the range has no finite scale.
INLINE grid_t round_range(const float *x, size_t n, ck_quantizer q, float moved, int8_t *codes) {
    int strange = 0;
    for (size_t i = 0; i < n; i++) strange |= !(x[i] - x[i] == 0);
    grid_t k = grid_of(range_of(x, n), q, q.clip_ratio);
    if (strange || !(k.scale - k.scale == 0) || !(k.zero - k.zero == 0)) {
        memset(codes, 0, n);
        return (grid_t){NAN, 0, 0, 0};
    }
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)(int32_t)(code_of(x[i], k) - moved);
    k.zero -= moved;
    return k;
}

// Puts a token's codes into its tile, whose steps are T·4 bytes apart; returns the sum of the codes.
INLINE int32_t place(const int8_t *codes, size_t n, size_t steps, size_t T, int8_t *target) {
    int32_t sum = 0;
    for (size_t c = 0; c < n; c++) sum += codes[c];
    size_t whole = n / 4;
    for (size_t s = 0; s < whole; s++) memcpy(target + s * T * 4, codes + s * 4, 4);
    for (size_t s = whole; s < steps; s++) {
        memset(target + s * T * 4, 0, 4);
        if (s == whole) memcpy(target + s * T * 4, codes + s * 4, n % 4);
    }
    return sum;
}

void CK_VARIANT(ck_integer_round)(
    const float *x, const float *factor, ck_integer_row row, ck_quantizer q, size_t range, const ck_integer_tokens *out,
    float *values, int8_t *codes) {
    size_t n = row.columns, groups = ck_integer_groups(row), steps = ck_integer_steps(row);
    size_t groupSteps = ck_integer_group_steps(row);
    float moved = q.symmetric ? 0 : (float)(1 << (q.bits - 1));
    for (size_t first = 0, T; first < out->tokens; first += T) {
        T = ck_integer_tile(out->tokens - first);
        for (size_t t = 0; t < T; t++, x += n) {
            const float *source = x;
            if (factor) {
                for (size_t c = 0; c < n; c++) values[c] = x[c] * factor[c];
                source = values;
            }
            grid_t grid = {0};
            size_t rounded = 0;
            for (size_t g = 0; g < groups; g++) {
                size_t begin = g * row.group, size = n - begin < row.group ? n - begin : row.group;
                if (begin == rounded) {
                    size_t length = n - begin < range ? n - begin : range;
                    grid = round_range(source + begin, length, q, moved, codes + begin);
                    rounded += length;
                }
                size_t place_of_group = (first * groups) + g * T + t;
                out->sums[place_of_group] = place(
                    codes + begin, size, g + 1 < groups ? groupSteps : steps - g * groupSteps, T,
                    out->codes + (first * steps + g * groupSteps * T + t) * 4);
                out->scales[place_of_group] = grid.scale;
                if (out->zeros) out->zeros[place_of_group] = grid.zero;
            }
        }
    }
}

size_t CK_VARIANT(ck_ternary_codes)(
    const uint8_t *packed, size_t count, size_t first, size_t n, size_t position, uint8_t *codes) {
    const uint8_t *signs = signs_of(packed, count);
    for (size_t e = 0; e < n; e += 64) {
        size_t left = n - e < 64 ? n - e : 64;
        uint64_t word = entries(packed, first + e, left), sign = bits(signs, position);
        position += (size_t)__builtin_popcountll(word);
        memset(codes + e, 1, left);
        for (; word; word &= word - 1, sign >>= 1) codes[e + (size_t)__builtin_ctzll(word)] = sign & 1 ? 0 : 2;
    }
    return position;
}
