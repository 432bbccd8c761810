// The kernels for AVX2 with fused multiply-adds (psABI level x86-64-v3).
#include "CKernels.h"
#include <math.h>
#include <string.h>

#if CK_HAS_VARIANTS
#include <immintrin.h>
#define CK_VARIANT(name) name##_avx2
#define CK_VECTOR 32
#define CK_TOKENS 4
#define CK_DOTS CK_DOTS_PAIRS
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#include "kernels/all.h"
#pragma clang attribute pop
#endif
