// Fake-quantization of groups of values, its derivative, and the search for a clipping range.
//
// symmetric, b bits:   s = c·max|x| / (2^(b−1)−1),   q = clamp(⌊x/s⌉, −2^(b−1), 2^(b−1)−1)
// full range:          s = c·max|x| / (2^(b−1)−½), less two units in the last place; q as above
// asymmetric, b bits:  s = (c·max − c·min) / (2^b−1), z = ⌊−c·min/s⌉, q = clamp(⌊x/s⌉ + z, 0, 2^b−1)
// Both:                y = (q − z)·s, ⌊·⌉ to the nearest integer, ties to even.

// Least and largest value of a group.
typedef struct { float low, high; } range_t;
// What maps a group to integers and back.
typedef struct { float scale, zero, least, most; } grid_t;

// Sixteen running extrema: an order that vectorizes. A NaN never replaces an extremum; it shows in y all the same.
INLINE range_t range_of(const float *x, size_t n) {
    range_t r = {x[0], x[0]};
    size_t i = 0;
    if (n >= LANES) {
        float low[LANES], high[LANES];
        for (int j = 0; j < LANES; j++) low[j] = high[j] = x[j];
        for (i = LANES; i + LANES <= n; i += LANES)
            for (int j = 0; j < LANES; j++) {
                float v = x[i + j];
                low[j] = v < low[j] ? v : low[j];
                high[j] = v > high[j] ? v : high[j];
            }
        for (int width = LANES / 2; width > 0; width /= 2)
            for (int j = 0; j < width; j++) {
                low[j] = low[j + width] < low[j] ? low[j + width] : low[j];
                high[j] = high[j + width] > high[j] ? high[j + width] : high[j];
            }
        r = (range_t){low[0], high[0]};
    }
    for (; i < n; i++) {
        r.low = x[i] < r.low ? x[i] : r.low;
        r.high = x[i] > r.high ? x[i] : r.high;
    }
    return r;
}

INLINE float magnitude_of(range_t r) { return fabsf(r.low) > fabsf(r.high) ? fabsf(r.low) : fabsf(r.high); }

INLINE float symmetric_levels(int bits) { return (float)((1 << (bits - 1)) - 1); }
// Steps from 0 to the end of a symmetric range.
INLINE float symmetric_steps(ck_quantizer q) { return symmetric_levels(q.bits) + (q.full_range ? 0.5f : 0); }
INLINE float asymmetric_levels(int bits) { return (float)((1 << bits) - 1); }

INLINE grid_t symmetric_grid(range_t r, ck_quantizer q, float clip) {
    float levels = symmetric_levels(q.bits);
    float magnitude = magnitude_of(r);
    if (magnitude < q.least_magnitude) magnitude = q.least_magnitude;
    float scale = magnitude * clip / symmetric_steps(q);
    // The end of a full range lies in the middle between two codes. Two units in the last place make it the outer one, whatever
    // the last bit of the largest value is.
    if (q.full_range) scale *= 1 - 0x1p-22f;
    // A group of zeros, or of values too small to be told from 0 by any scale, takes scale 1.
    return (grid_t){scale > 0 ? scale : 1, 0, -levels - 1, levels};
}

INLINE range_t widened(range_t r, int include_zero) {
    if (include_zero) {
        r.low = r.low < 0 ? r.low : 0;
        r.high = r.high > 0 ? r.high : 0;
    }
    return r;
}

INLINE grid_t asymmetric_grid(range_t r, ck_quantizer q, float clip) {
    float levels = asymmetric_levels(q.bits);
    r = widened(r, q.include_zero);
    range_t clipped = {r.low * clip, r.high * clip};
    if (r.low == 0 && r.high == 0) clipped = (range_t){-1, 1};
    float scale = (clipped.high - clipped.low) / levels;
    if (r.low == r.high && r.high != 0) scale = 0;
    if (scale == 0) {
        // One value only: scale |v| and the codes 0 or 1 represent it exactly.
        float magnitude = fabsf(r.high);
        return (grid_t){magnitude > 0 ? magnitude : 1, r.high < 0 ? 1 : 0, 0, levels};
    }
    return (grid_t){scale, rintf(-clipped.low / scale), 0, levels};
}

INLINE grid_t grid_of(range_t r, ck_quantizer q, float clip) {
    return q.symmetric ? symmetric_grid(r, q, clip) : asymmetric_grid(r, q, clip);
}

INLINE float code_of(float x, grid_t k) {
    float code = rintf(x / k.scale) + k.zero;
    code = code < k.least ? k.least : code;
    return code > k.most ? k.most : code;
}

// A code as an integer; of a NaN, which no integer is, 0.
INLINE int32_t whole_code(float code) { return code == code ? (int32_t)code : 0; }

INLINE float value_of(float code, grid_t k) { return (code - k.zero) * k.scale; }

void CK_VARIANT(ck_fake_quantize)(
    const float *x, float *y, size_t groups, size_t g, ck_quantizer q, const float *clip, float *scales, float *zeros) {
    for (size_t group = 0; group < groups; group++, x += g) {
        grid_t k = grid_of(range_of(x, g), q, clip ? clip[group] : q.clip_ratio);
        if (y) {
            for (size_t i = 0; i < g; i++) y[i] = value_of(code_of(x[i], k), k);
            y += g;
        }
        if (scales) scales[group] = k.scale;
        if (zeros) zeros[group] = k.zero;
    }
}

void CK_VARIANT(ck_quantize_codes)(
    const float *x, int16_t *codes, size_t groups, size_t g, ck_quantizer q, const float *clip, float *scales, float *zeros) {
    for (size_t group = 0; group < groups; group++, x += g, codes += g) {
        grid_t k = grid_of(range_of(x, g), q, clip ? clip[group] : q.clip_ratio);
        for (size_t i = 0; i < g; i++) codes[i] = (int16_t)whole_code(code_of(x[i], k));
        if (scales) scales[group] = k.scale;
        if (zeros) zeros[group] = k.zero;
    }
}

void CK_VARIANT(ck_pack_codes)(const int16_t *codes, uint8_t *packed, size_t n, int16_t least) {
    for (size_t i = 0; i < n / 2; i++)
        packed[i] = (uint8_t)((codes[2 * i] - least) | (codes[2 * i + 1] - least) << 4);
    if (n % 2) packed[n / 2] = (uint8_t)(codes[n - 1] - least);
}

void CK_VARIANT(ck_unpack_codes)(const uint8_t *packed, int16_t *codes, size_t n, int16_t least) {
    for (size_t i = 0; i < n / 2; i++) {
        codes[2 * i] = (int16_t)((packed[i] & 15) + least);
        codes[2 * i + 1] = (int16_t)((packed[i] >> 4) + least);
    }
    if (n % 2) codes[n - 1] = (int16_t)((packed[n / 2] & 15) + least);
}

void CK_VARIANT(ck_dequantize)(
    const int16_t *codes, float *y, size_t groups, size_t g, const float *scales, const float *zeros) {
    for (size_t group = 0; group < groups; group++, codes += g, y += g) {
        grid_t k = {scales[group], zeros[group], 0, 0};
        for (size_t i = 0; i < g; i++) y[i] = value_of((float)codes[i], k);
    }
}

// Index of the first entry equal to `value`, n if there is none; whole blocks are passed over at once.
INLINE size_t first_index(const float *x, size_t n, float value) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        int hit = 0;
        for (int j = 0; j < LANES; j++) hit |= x[i + j] == value;
        if (hit) break;
    }
    for (; i < n; i++)
        if (x[i] == value) return i;
    return n;
}

// Σ dy·(y − x)/s: what the loss gains per unit of the scale, the rounding taken as the identity and z as a constant.
INLINE double scale_gradient(const float *x, const float *dy, size_t n, grid_t k) {
    double part[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) part[j] += dy[i + j] * (value_of(code_of(x[i + j], k), k) - x[i + j]);
    for (; i < n; i++) part[i & (LANES - 1)] += dy[i] * (value_of(code_of(x[i], k), k) - x[i]);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) part[j] += part[j + width];
    return part[0] / k.scale;
}

void CK_VARIANT(ck_fake_quantize_range_backward)(
    const float *x, const float *dy, float *dx, size_t groups, size_t g, ck_quantizer q) {
    for (size_t group = 0; group < groups; group++, x += g, dy += g, dx += g) {
        range_t r = range_of(x, g);
        grid_t k = grid_of(r, q, q.clip_ratio);
        double ds = scale_gradient(x, dy, g, k) * q.clip_ratio;
        if (dx != dy) memcpy(dx, dy, g * sizeof(float));
        if (q.symmetric) {
            float magnitude = magnitude_of(r);
            if (magnitude == 0 || magnitude < q.least_magnitude) continue;
            float peak = fabsf(r.high) == magnitude ? r.high : r.low;
            size_t at = first_index(x, g, peak);
            if (at < g) dx[at] += (float)copysign(1, peak) * (float)(ds / symmetric_steps(q));
        } else {
            range_t wide = widened(r, q.include_zero);
            if (wide.low == wide.high) continue;
            float share = (float)(ds / asymmetric_levels(q.bits));
            // An end of the range that is the 0 it was widened to belongs to no entry.
            if (!q.include_zero || r.high > 0) {
                size_t at = first_index(x, g, r.high);
                if (at < g) dx[at] += share;
            }
            if (!q.include_zero || r.low < 0) {
                size_t at = first_index(x, g, r.low);
                if (at < g) dx[at] -= share;
            }
        }
    }
}

// |d|^2.4 = d²·(d²)^(1/5). The fifth root starts from the exponent's fifth (within 4 %) and takes two steps of Halley's
// iteration r ← r(2r⁵ + 3a)/(3r⁵ + 2a), which cubes the error each: 1e-12 after two, below float32's rounding.
INLINE float power_2_4(float d) {
    float square = d * d;
    float a = square + 1e-30f;
    int32_t bits;
    memcpy(&bits, &a, 4);
    bits = (int32_t)((float)bits * 0.2f) + 0x32c6c000;
    float root;
    memcpy(&root, &bits, 4);
    for (int step = 0; step < 2; step++) {
        float r2 = root * root, r5 = r2 * r2 * root;
        root *= (2 * r5 + 3 * a) / (3 * r5 + 2 * a);
    }
    return square * root;
}

// Values between two looks whether a sum is too large already.
#define CLIP_LOOK 128

INLINE double sum_of_lanes(const float *part) {
    double sum[LANES];
    for (int j = 0; j < LANES; j++) sum[j] = part[j];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) sum[j] += sum[j + width];
    return sum[0];
}

// Σ|y − x|^2.4 of a group: float sums over blocks, added up in double. INFINITY as soon as the sum can only end at `limit` or
// more: its terms are not negative, and rounding keeps the order.
INLINE double clip_error(const float *x, size_t n, grid_t k, double limit) {
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        size_t end = start + 1024 < n ? start + 1024 : n;
        float part[LANES] = {0};
        size_t i = start;
        while (i + LANES <= end) {
            size_t look = i + CLIP_LOOK < end ? i + CLIP_LOOK : end;
            for (; i + LANES <= look; i += LANES)
                for (int j = 0; j < LANES; j++) part[j] += power_2_4(value_of(code_of(x[i + j], k), k) - x[i + j]);
            if (total + sum_of_lanes(part) >= limit) return INFINITY;
        }
        for (; i < end; i++) part[i & (LANES - 1)] += power_2_4(value_of(code_of(x[i], k), k) - x[i]);
        total += sum_of_lanes(part);
    }
    return total;
}

INLINE float clip_candidate(int index, int grid) { return (float)(1 - (double)index / grid); }

// Each group's search begins at what the one before has found, which is mostly near: what is far soon turns out to be worse.
void CK_VARIANT(ck_clip_search)(const float *x, float *clip, size_t groups, size_t g, ck_quantizer q, int candidates,
                                int grid) {
    int found = 0;
    for (size_t group = 0; group < groups; group++, x += g) {
        range_t r = range_of(x, g);
        double best = INFINITY;
        int start = found;
        found = 0;
        // Larger ratios, which win a tie, then smaller ones, which do not.
        for (int i = start; i >= 0; i--) {
            double error = clip_error(x, g, grid_of(r, q, clip_candidate(i, grid)), nextafter(best, INFINITY));
            if (!(error <= best)) continue;
            best = error;
            found = i;
        }
        for (int i = start + 1; i < candidates; i++) {
            double error = clip_error(x, g, grid_of(r, q, clip_candidate(i, grid)), best);
            if (!(error < best)) continue;
            best = error;
            found = i;
        }
        clip[group] = clip_candidate(found, grid);
    }
}
