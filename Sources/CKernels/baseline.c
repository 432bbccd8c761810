// The kernels for what every processor of the kind that is compiled for has.
#include "CKernels.h"
#include <math.h>
#include <string.h>

#if CK_HAS_VARIANTS
#define CK_VARIANT(name) name##_baseline
#else
#define CK_VARIANT(name) name
#endif
#include "kernels/all.h"
