// The fast Walsh–Hadamard transform: log₂ n stages of sums and differences, sixteen values to a vector.
//
// The stages commute, so they are grouped by where their operands lie: four within a vector, up to four more between vectors
// that are neighbours, the rest between vectors far apart. A group of up to eight stages costs one load and one store per value.
#include "CKernels.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
// A block of this many values passes through all its stages while it stays in the first-level cache.
#define CACHE_BLOCK 4096

typedef float vector_t __attribute__((vector_size(4 * LANES)));
typedef float unaligned_t __attribute__((vector_size(4 * LANES), aligned(4)));

// The four stages within vectors: lane i meets lane i ^ distance, and the upper one of the two takes the difference.
// Stage by stage over all vectors, so that a shuffle's latency is hidden by the other vectors' work.
INLINE void lane_stages(vector_t *v, const int radix, float scale) {
    const vector_t by1 = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    const vector_t by2 = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
    const vector_t by4 = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
    const vector_t by8 = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    for (int i = 0; i < radix; i++)
        v[i] = v[i] * by1 + __builtin_shufflevector(v[i], v[i], 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    for (int i = 0; i < radix; i++)
        v[i] = v[i] * by2 + __builtin_shufflevector(v[i], v[i], 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    for (int i = 0; i < radix; i++)
        v[i] = v[i] * by4 + __builtin_shufflevector(v[i], v[i], 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    for (int i = 0; i < radix; i++)
        v[i] = (v[i] * by8 + __builtin_shufflevector(v[i], v[i], 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)) * scale;
}

// log₂ radix stages between vectors `stride` values apart; with `within`, the stages within each vector too, and the scale.
INLINE void stages(float *x, size_t stride, const int radix, const int within, float scale) {
    vector_t v[16];
    for (int i = 0; i < radix; i++) v[i] = *(const unaligned_t *)(x + i * stride);
    for (int distance = 1; distance < radix; distance *= 2)
        for (int i = 0; i < radix; i++)
            if (!(i & distance)) {
                vector_t difference = v[i] - v[i + distance];
                v[i] += v[i + distance];
                v[i + distance] = difference;
            }
    if (within) lane_stages(v, radix, scale);
    for (int i = 0; i < radix; i++) *(unaligned_t *)(x + i * stride) = v[i];
}

// The stages between vectors of x that lie radix·stride values and less apart, for all n values.
INLINE void far_pass(float *x, size_t n, size_t stride, const int radix) {
    for (size_t start = 0; start < n; start += radix * stride)
        for (size_t i = start; i < start + stride; i += LANES) stages(x + i, stride, radix, 0, 1);
}

INLINE void near_pass(float *x, size_t n, const int radix, float scale) {
    for (size_t i = 0; i < n; i += radix * LANES) stages(x + i, LANES, radix, 1, scale);
}

// The stages from `stride` values apart up to n.
INLINE void far_passes(float *x, size_t n, size_t stride) {
    for (; stride < n; stride *= 16) {
        switch (n / stride) {
        case 2: far_pass(x, n, stride, 2); break;
        case 4: far_pass(x, n, stride, 4); break;
        case 8: far_pass(x, n, stride, 8); break;
        default: far_pass(x, n, stride, 16);
        }
    }
}

INLINE void block_transform(float *x, size_t n, float scale) {
    switch (n / LANES) {
    case 1: near_pass(x, n, 1, scale); break;
    case 2: near_pass(x, n, 2, scale); break;
    case 4: near_pass(x, n, 4, scale); break;
    case 8: near_pass(x, n, 8, scale); break;
    default: near_pass(x, n, 16, scale);
    }
    far_passes(x, n, 16 * LANES);
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

CK_DISPATCH void ck_fwht(float *x, size_t rows, size_t n, float scale) {
    for (size_t row = 0; row < rows; row++, x += n) {
        if (n < LANES) {
            short_transform(x, n, scale);
            continue;
        }
        size_t block = n < CACHE_BLOCK ? n : CACHE_BLOCK;
        for (size_t start = 0; start < n; start += block) block_transform(x + start, block, scale);
        far_passes(x, n, block);
    }
}
