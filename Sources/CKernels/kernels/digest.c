INLINE void mix(uint64_t *lanes, const uint64_t *words) {
    for (int l = 0; l < CK_DIGEST_LANES; l++) {
        uint64_t h = (lanes[l] ^ words[l]) * 0x9E3779B97F4A7C15u;
        lanes[l] = h ^ h >> 32;
    }
}

void CK_VARIANT(ck_digest)(const float *x, size_t n, uint64_t lanes[CK_DIGEST_LANES]) {
    enum { FLOATS = 2 * CK_DIGEST_LANES };
    uint64_t state[CK_DIGEST_LANES], words[CK_DIGEST_LANES];
    memcpy(state, lanes, sizeof state);
    size_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        memcpy(words, x + i, sizeof words);
        mix(state, words);
    }
    // What is left, and how much it is.
    memset(words, 0, sizeof words);
    memcpy(words, x + i, (n - i) * sizeof *x);
    mix(state, words);
    memset(words, 0, sizeof words);
    words[0] = n;
    mix(state, words);
    memcpy(lanes, state, sizeof state);
}
