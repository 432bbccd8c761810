#include "CKernels.h"
#include <string.h>

CK_DISPATCH void ck_ternary_pack(const float *t, size_t count, uint8_t *plus, uint8_t *minus) {
    for (size_t e = 0; e < count; e++) {
        plus[e >> 3] |= (uint8_t)((t[e] > 0) << (e & 7));
        minus[e >> 3] |= (uint8_t)((t[e] < 0) << (e & 7));
    }
}

CK_DISPATCH void ck_ternary_unpack(const uint8_t *plus, const uint8_t *minus, size_t count, float *t) {
    for (size_t e = 0; e < count; e++)
        t[e] = (float)((plus[e >> 3] >> (e & 7)) & 1) - (float)((minus[e >> 3] >> (e & 7)) & 1);
}

// 64 entries from entry e on; rows begin at any bit, which costs two shifts per 64 entries and saves the padding.
static inline __attribute__((always_inline)) uint64_t entries(const uint8_t *plane, size_t e, size_t left) {
    uint64_t low;
    memcpy(&low, plane + (e >> 3), 8);
    unsigned shift = e & 7;
    uint64_t word = low >> shift;
    if (shift) word |= (uint64_t)plane[(e >> 3) + 8] << (64 - shift);
    return left < 64 ? word & ((1ull << left) - 1) : word;
}

CK_DISPATCH size_t ck_ternary_count(const uint8_t *plane, size_t count) {
    size_t total = 0;
    for (size_t e = 0; e < count; e += 64) total += (size_t)__builtin_popcountll(entries(plane, e, count - e));
    return total;
}

typedef float lanes __attribute__((vector_size(4 * CK_TERNARY_LANES), aligned(4), may_alias));

CK_DISPATCH void ck_ternary_apply(
    const uint8_t *plus, const uint8_t *minus, size_t rows, size_t columns, const float *x, float *y) {
    for (size_t i = 0; i < rows; i++) {
        // Two sums, taken alternately: an addition need not wait for the one before.
        lanes even = {0}, odd = {0};
        for (size_t c = 0; c < columns; c += 64) {
            uint64_t p = entries(plus, i * columns + c, columns - c);
            uint64_t m = entries(minus, i * columns + c, columns - c);
            const lanes *block = (const lanes *)(x + c * CK_TERNARY_LANES);
            while (p && m) {
                even += block[__builtin_ctzll(p)];
                odd -= block[__builtin_ctzll(m)];
                p &= p - 1;
                m &= m - 1;
            }
            for (; p; p &= p - 1) even += block[__builtin_ctzll(p)];
            for (; m; m &= m - 1) odd -= block[__builtin_ctzll(m)];
        }
        *(lanes *)(y + i * CK_TERNARY_LANES) = even + odd;
    }
}
