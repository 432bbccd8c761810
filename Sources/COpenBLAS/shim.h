// LAPACKE's complex types need C headers Swift cannot import; nothing here uses them.
#define lapack_complex_float float
#define lapack_complex_double double
#define LAPACK_COMPLEX_CUSTOM
#include <cblas.h>
#include <lapacke.h>
