#define _GNU_SOURCE
#include "CProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// The child's side. Other threads may have held locks when the process was forked: only system calls from here on (glibc's
// execvp allocates nothing). Returns the error number where the program cannot be started.
static int become(char *const *arguments, const sigset_t *mask, int reads_input, pid_t parent) {
    if (setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return errno;
    // A parent that died before the call above sends nothing any more.
    if (getppid() != parent) return ESRCH;
    // A process group in the background would be stopped when it reads from the terminal.
    if (!reads_input || isatty(STDIN_FILENO)) {
        int input = open("/dev/null", O_RDONLY);
        if (input < 0 || dup2(input, STDIN_FILENO) < 0) return errno;
        if (input != STDIN_FILENO) close(input);
    }
    if (sigprocmask(SIG_SETMASK, mask, NULL) != 0) return errno;
    execvp(arguments[0], arguments);
    return errno;
}

// Package.swift defines it for this file alone: another commit compiles no more than this.
const char *cprocess_commit(void) { return CPROCESS_COMMIT; }

int cprocess_start(char *const *arguments, const sigset_t *mask, int reads_input, pid_t *process) {
    // Closed by the program's start, or brings the error number before.
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) return errno;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        int code = become(arguments, mask, reads_input, parent);
        ssize_t written = write(report[1], &code, sizeof code);
        _exit(written == sizeof code ? 127 : 126);
    }
    int code = child < 0 ? errno : 0;
    close(report[1]);
    if (child > 0) {
        ssize_t count;
        do count = read(report[0], &code, sizeof code);
        while (count < 0 && errno == EINTR);
        if (count != sizeof code) code = 0;
        while (code != 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    }
    close(report[0]);
    *process = child;
    return code;
}
