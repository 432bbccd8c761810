// The kernels for what every processor of the kind that is compiled for has.
#include "CKernels.h"
#include <math.h>
#include <string.h>

#if CK_HAS_VARIANTS
#define CK_VARIANT(name) name##_baseline
#else
#define CK_VARIANT(name) name
#endif
#define CK_VECTOR 16
#define CK_TOKENS 2
#define CK_DOTS CK_DOTS_PLAIN
#include "kernels/all.h"
