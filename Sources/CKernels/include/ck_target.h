#pragma once
#include <stddef.h>
#include <stdint.h>

// One definition, three machine codes, chosen by the loader (psABI levels: v4 has AVX-512, v3 has AVX2 and FMA).
// Not under a thread sanitizer: the loader calls the choice before the sanitizer has started, and the process dies.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CK_SANITIZED 1
#endif
#endif
#if defined(__x86_64__) && defined(__linux__) && !defined(CK_SANITIZED)
#define CK_DISPATCH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CK_DISPATCH
#endif
