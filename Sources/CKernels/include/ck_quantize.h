#pragma once
#include "ck_target.h"

// How values become integers; the formulas are in quantize.c.
typedef struct {
    int bits;              // 2 to 15
    int symmetric;         // signed codes around 0, instead of codes 0 … 2^bits−1 and a zero point
    int include_zero;      // asymmetric: the range is widened to contain 0
    float clip_ratio;      // scales the range
    float least_magnitude; // symmetric: the range is at least this; 0 sets no limit
    int full_range;        // symmetric: 2^bits − 1 steps to the range, instead of 2^bits − 2
} ck_quantizer;

// y ← the nearest representable values of x, `groups` groups of g contiguous values with their own range each.
// clip: a ratio per group in place of q.clip_ratio, or NULL. scales, zeros: one per group, or NULL. y may be x, or NULL.
void ck_fake_quantize(
    const float *x, float *y, size_t groups, size_t g, ck_quantizer q, const float *clip, float *scales, float *zeros);

// The integer codes of the same, so that y = (code − zero)·scale.
void ck_quantize_codes(
    const float *x, int16_t *codes, size_t groups, size_t g, ck_quantizer q, const float *clip, float *scales, float *zeros);

// Two codes a byte, the first in the low half: code - least, which is 0 to 15. An odd last one has a half of 0 beside it.
void ck_pack_codes(const int16_t *codes, uint8_t *packed, size_t n, int16_t least);
void ck_unpack_codes(const uint8_t *packed, int16_t *codes, size_t n, int16_t least);

// y ← (code − zero)·scale of the same groups.
void ck_dequantize(const int16_t *codes, float *y, size_t groups, size_t g, const float *scales, const float *zeros);

// dx ← dy, plus the part that reaches the entries which span each group's range (dx may be dy).
void ck_fake_quantize_range_backward(
    const float *x, const float *dy, float *dx, size_t groups, size_t g, ck_quantizer q);

// clip[group] ← the ratio 1 − i/grid, 0 ≤ i < candidates, with the least Σ|y − x|^2.4; the largest wins a tie.
void ck_clip_search(const float *x, float *clip, size_t groups, size_t g, ck_quantizer q, int candidates, int grid);
