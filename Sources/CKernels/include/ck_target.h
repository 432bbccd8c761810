#pragma once
#include <stddef.h>
#include <stdint.h>

// One definition of each kernel and three machine codes, some four or five, see dispatch.c. Other processors have what they are
// compiled for.
#if defined(__x86_64__) && defined(__linux__)
#define CK_HAS_VARIANTS 1
#else
#define CK_HAS_VARIANTS 0
#endif
