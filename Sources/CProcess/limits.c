// What an address-space limit (ulimit -v, or a batch system's h_vmem) leaves room for, looked at before OpenBLAS is loaded: it
// takes memory for every thread as it is loaded, and where there is none it asks for ever.
#include "CProcess.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    // Measured with one thread: evaluating the smallest model takes 364 MiB of addresses, of which 130 are code.
    MIB_AT_LEAST = 400,
    // Another thread's stack, and its buffer for packed matrices.
    MIB_PER_THREAD = 144,
    EXIT_CONFIGURATION = 78,
};

size_t cprocess_address_limit(void) {
    rlim_t least = RLIM_INFINITY;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < least) least = limit.rlim_cur;
    if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur < least) least = limit.rlim_cur;
    return least == RLIM_INFINITY ? 0 : least;
}

long cprocess_thread_limit(void) {
    size_t limit = cprocess_address_limit() >> 20;
    if (limit == 0) return LONG_MAX;
    return limit < MIB_AT_LEAST ? 1 : 1 + (long)((limit - MIB_AT_LEAST) / MIB_PER_THREAD);
}

static void apply_address_limit(int count, char **arguments, char **environment) {
    (void)count, (void)arguments, (void)environment;
    // An earlier choice of this kind, as of the process that has started this one, is made anew.
    const char *earlier = getenv(CPROCESS_THREAD_LIMIT);
    if (earlier != NULL) {
        if (*earlier == 0) unsetenv("OPENBLAS_NUM_THREADS");
        else setenv("OPENBLAS_NUM_THREADS", earlier, 1);
        unsetenv(CPROCESS_THREAD_LIMIT);
    }
    size_t limit = cprocess_address_limit() >> 20;
    if (cprocess_address_limit() == 0) return;
    if (limit < MIB_AT_LEAST) {
        const char *rank = getenv("OMPI_COMM_WORLD_RANK");
        if (rank == NULL || strcmp(rank, "0") == 0) {
            char line[256];
            int length = snprintf(
                line, sizeof line,
                "sq-train: error: this process may map %zu MiB (ulimit -v or -d) and needs %d MiB for the smallest model: "
                "raise the limit\n",
                limit, MIB_AT_LEAST);
            ssize_t written = write(STDERR_FILENO, line, (size_t)length);
            (void)written;
        }
        _exit(EXIT_CONFIGURATION);
    }
    // Each thread that allocates would map 64 MiB of its own, and what is left would depend on which thread was first.
    mallopt(M_ARENA_MAX, 1);
    long threads = cprocess_thread_limit();
    const char *wanted = getenv("OPENBLAS_NUM_THREADS");
    if (wanted == NULL || *wanted == 0) wanted = getenv("OMP_NUM_THREADS");
    // What is no number of threads OpenBLAS takes for none given.
    long number = wanted == NULL ? 0 : atol(wanted);
    if ((number <= 0 ? sysconf(_SC_NPROCESSORS_ONLN) : number) <= threads) return;
    setenv(CPROCESS_THREAD_LIMIT, wanted == NULL ? "" : wanted, 1);
    char text[24];
    snprintf(text, sizeof text, "%ld", threads);
    setenv("OPENBLAS_NUM_THREADS", text, 1);
}

// Runs before the constructors of all libraries.
__attribute__((section(".preinit_array"), used))
static void (*const before_libraries)(int, char **, char **) = apply_address_limit;
