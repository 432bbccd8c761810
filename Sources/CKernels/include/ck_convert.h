#pragma once
#include "ck_target.h"

// Number formats to and from float32; sources and targets of bytes need no alignment.
// Narrowing rounds to nearest, ties to even; NaN stays NaN; half precision overflows to infinity.
void ck_widen_f16(const void *source, float *target, size_t n);
void ck_widen_bf16(const void *source, float *target, size_t n);
void ck_widen_f64(const void *source, float *target, size_t n);
void ck_widen_i8(const void *source, float *target, size_t n);
void ck_narrow_f16(const float *source, void *target, size_t n);
void ck_narrow_bf16(const float *source, void *target, size_t n);
