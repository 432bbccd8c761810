// All kernels, for the instruction set whose file includes this: CK_VARIANT(name) is the kernel's name there.
//
// Flags of the compiler would say the same in one line, but a package with unsafe flags cannot be anybody's dependency:
// -ffp-contract=fast is the pragma below, and the square root that sets no errno is a builtin. The order of additions is given
// up by kernels/network.c alone: results stay the same bits from run to run.
#pragma clang fp contract(fast)
// Vectors wider than the instruction set's are passed by value to functions that are inlined: no call has an ABI to break.
#pragma clang diagnostic ignored "-Wpsabi"

#define INLINE static inline __attribute__((always_inline))
// Floats to a vector of 512 bits; narrower processors take two or four.
#define LANES 16
typedef float lane16 __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define CK_PAIRS CK_PAIRS_PLAIN
#define SQRT(x) __builtin_elementwise_sqrt(x)

#include "exponential.h"
#include "squares.h"

#include "convert.c"
#include "digest.c"
#include "elementwise.c"
#include "hadamard.c"
#include "optimizer.c"
#include "product.c"
#include "quantize.c"
#include "gptq.c"
#include "cache.c"
#include "rotation.c"
#include "statistics.c"
#include "ternary.c"
#include "ternary_digits.c"
#include "ternary_packed.c"
#include "ternary_project.c"
#include "ternary_sparse.c"
#include "ternary_sum.c"
#include "integer_tokens.c"
#include "integer_product.c"
// The last three, since what network.c says of the order of additions holds to the end.
#include "network.c"
#include "decode.c"
#include "codes.c"
