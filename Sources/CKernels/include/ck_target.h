#pragma once
#include <stddef.h>
#include <stdint.h>

// One definition, three machine codes, chosen by the loader (psABI levels: v4 has AVX-512, v3 has AVX2 and FMA).
#if defined(__x86_64__) && defined(__linux__)
#define CK_DISPATCH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CK_DISPATCH
#endif
