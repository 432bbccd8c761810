// Rows of keys and values at rest: in half precision, or as codes on the grids of quantize.c.

// The power of two that brings the largest magnitude to 2^14 at least and below 2^15, or as near as the smallest normal scale
// does, so that half precision holds it and keeps the digits of all that is not 2^28 times smaller.
INLINE float scale_for_half(float largest) {
    uint32_t bits;
    memcpy(&bits, &largest, sizeof bits);
    uint32_t exponent = bits >> 23 > 15 ? (bits >> 23) - 14 : 1;
    bits = (largest > 0 ? exponent : 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

INLINE void store_half(const float *x, size_t d, uint8_t *target, float scale) {
    float part[64], inverse = 1 / scale;
    for (size_t first = 0; first < d; first += 64) {
        size_t count = d - first < 64 ? d - first : 64;
        for (size_t i = 0; i < count; i++) part[i] = x[first + i] * inverse;
        CK_VARIANT(ck_narrow_f16)(part, target + 2 * first, count);
    }
}

void CK_VARIANT(ck_cache_store)(const ck_cache *cache, size_t row, const float *x, ck_quantizer q, int16_t *codes) {
    size_t d = cache->d;
    uint8_t *target = cache->rows + row * ck_cache_row_bytes(cache->bits, d);
    int strange = 0;
    for (size_t i = 0; i < d; i++) strange |= !(x[i] - x[i] == 0);
    if (cache->bits == 16) {
        float largest = 0;
        for (size_t i = 0; i < d; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        float scale = strange ? 1 : scale_for_half(largest);
        store_half(x, d, target, scale);
        cache->scales[row] = strange ? NAN : scale;
        return;
    }
    grid_t k = grid_of(range_of(x, d), q, q.clip_ratio);
    // The range of finite values may be none.
    strange |= !(k.scale - k.scale == 0);
    if (strange) k = (grid_t){NAN, 0, 0, 0};
    // Codes around 0 are moved up, and their zero point with them.
    int moved = q.symmetric ? 1 << (q.bits - 1) : 0;
    for (size_t i = 0; i < d; i++) codes[i] = strange ? 0 : (int16_t)((int32_t)code_of(x[i], k) + moved);
    cache->scales[row] = k.scale;
    cache->zeros[row] = k.zero + (float)moved;
    if (cache->bits == 8) {
        for (size_t i = 0; i < d; i++) target[i] = (uint8_t)codes[i];
        return;
    }
    size_t half = (d + 1) / 2;
    for (size_t i = 0; i < half; i++)
        target[i] = (uint8_t)(codes[i] | (i + half < d ? codes[i + half] << 4 : 0));
}

// y [count, stride] ← rows.
INLINE void load_rows(const ck_cache *cache, size_t first, size_t count, float *restrict y, size_t stride) {
    size_t d = cache->d, bytes = ck_cache_row_bytes(cache->bits, d), half = (d + 1) / 2;
    for (size_t r = first; r < first + count; r++, y += stride) {
        const uint8_t *restrict row = cache->rows + r * bytes;
        // Rows are read once and in order: those to come are on their way while these are computed with.
        for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(row + line + 4096);
        if (cache->bits == 16) {
            CK_VARIANT(ck_widen_f16)(row, y, d);
            for (size_t i = 0; i < d; i++) y[i] *= cache->scales[r];
            continue;
        }
        float scale = cache->scales[r], zero = cache->zeros[r];
        if (cache->bits == 8) {
            for (size_t i = 0; i < d; i++) y[i] = ((float)row[i] - zero) * scale;
        } else {
            for (size_t i = 0; i < half; i++) y[i] = ((float)(row[i] & 15) - zero) * scale;
            for (size_t i = 0; i < d - half; i++) y[i + half] = ((float)(row[i] >> 4) - zero) * scale;
        }
    }
}

void CK_VARIANT(ck_cache_load)(const ck_cache *cache, size_t first, size_t count, float *y) {
    load_rows(cache, first, count, y, cache->d);
}
