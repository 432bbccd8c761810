// The kernels for AVX-512 (psABI level x86-64-v4), with vectors of 512 bits where there are 512: compilers otherwise stay with
// half of them for the sake of older processors.
#include "CKernels.h"
#include <math.h>
#include <string.h>

#if CK_HAS_VARIANTS
#include <immintrin.h>
#define CK_VARIANT(name) name##_avx512
#define CK_VECTOR 64
#define CK_TOKENS 6
#define CK_DOTS CK_DOTS_PAIRS
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit"))), apply_to = function)
#include "kernels/all.h"
#pragma clang attribute pop
#endif
