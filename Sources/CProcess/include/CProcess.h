// What Swift cannot do: start a program that does not outlive this one, and look at limits before libraries are loaded.
#pragma once
#include <signal.h>
#include <sys/types.h>

/// Starts a program of the PATH in a process group of its own, with this signal mask and nothing on standard input, or, if it
/// reads that, with this process's where that is no terminal. When the calling thread ends, however it ends, the program gets
/// SIGTERM. Returns once the program has been loaded.
///
/// Returns 0, or the system's error number where it cannot be started.
int cprocess_start(
    char *_Nullable const *_Nonnull arguments, const sigset_t *_Nonnull mask, int reads_input, pid_t *_Nonnull process);

/// Names the variable that is set where OpenBLAS has been given fewer threads for lack of addresses: to what the user has asked
/// for, which is empty where nobody has.
#define CPROCESS_THREAD_LIMIT "SQ_TRAIN_THREAD_LIMIT"

/// What `git describe` called the sources that the program was built from; empty where the build did not say.
const char *_Nonnull cprocess_commit(void);

/// Bytes this process may map, or write to, in all; 0 where there is no limit. A limit that the smallest model cannot run in
/// has ended the program with 78 before `main`.
size_t cprocess_address_limit(void);

/// Threads that this leaves addresses for, at least one; `LONG_MAX` where there is no limit.
long cprocess_thread_limit(void);
