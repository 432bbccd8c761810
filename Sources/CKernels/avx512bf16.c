// The kernels of which AVX-512 with products of bfloat16 numbers (AVX512_BF16) has its own. Processors that have these have
// VNNI, too.
#include "CKernels.h"
#include <string.h>

#if CK_HAS_VARIANTS
#include <immintrin.h>
#define CK_VARIANT(name) name##_avx512bf16
#define CK_VECTOR 64
#define CK_PAIRS CK_PAIRS_DOTS
#define INLINE static inline __attribute__((always_inline))
#pragma clang fp contract(fast)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16,no-prefer-256-bit"))), apply_to = function)
#include "kernels/product.c"
#pragma clang attribute pop
#endif
