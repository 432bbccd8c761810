// Squares of floats that are transposed in registers: as many rows as a vector has lanes.
#pragma once

typedef float panel_lane __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
typedef uint32_t panel_words __attribute__((vector_size(CK_VECTOR), aligned(4), may_alias));
enum { PANEL_LANES = CK_VECTOR / 4 };

#if CK_VECTOR == 64
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif CK_VECTOR == 32
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

// A square of PANEL_LANES²: interleaving the halves of a list log2 of its length times transposes it.
INLINE void transpose_lanes(panel_lane v[PANEL_LANES]) {
    for (int stage = 1; stage < PANEL_LANES; stage *= 2) {
        panel_lane u[PANEL_LANES];
        _Pragma("unroll") for (int i = 0; i < PANEL_LANES / 2; i++) {
            u[2 * i] = LOW_HALVES(v[i], v[i + PANEL_LANES / 2]);
            u[2 * i + 1] = HIGH_HALVES(v[i], v[i + PANEL_LANES / 2]);
        }
        _Pragma("unroll") for (int i = 0; i < PANEL_LANES; i++) v[i] = u[i];
    }
}
