// Starting a program that does not outlive this one, which posix_spawn cannot do.
#pragma once
#include <signal.h>
#include <sys/types.h>

/// Starts a program of the PATH in a process group of its own, with this signal mask and nothing on standard input. When the calling
/// thread ends, however it ends, the program gets SIGTERM. Returns once the program has been loaded.
///
/// Returns 0, or the system's error number where it cannot be started.
int cprocess_start(char *_Nullable const *_Nonnull arguments, const sigset_t *_Nonnull mask, pid_t *_Nonnull process);
