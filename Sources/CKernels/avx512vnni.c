// The kernels of which AVX-512 with instructions for products of bytes (VNNI) has its own; for the others see avx512.c.
#include "CKernels.h"
#include <string.h>

#if CK_HAS_VARIANTS
#include <immintrin.h>
#define CK_VARIANT(name) name##_avx512vnni
#define CK_VECTOR 64
#define CK_TOKENS 12
#define CK_DOTS CK_DOTS_VNNI
#define INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512vnni,no-prefer-256-bit"))), apply_to = function)
#include "kernels/integer_product.c"
#pragma clang attribute pop
#endif
