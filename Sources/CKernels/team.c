// Threads that share the parts of one work after the other. `ticket` is the number of the work and, below it, that of the next
// part that nobody has taken; whoever raises the latter has the part. The caller waits for parts that were taken, never for a
// thread that has taken none.
#include "ck_team.h"
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sched.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { SPINS = 3000, PART_BITS = 24 };
#define PART_MASK ((UINT64_C(1) << PART_BITS) - 1)

static struct {
    _Atomic uint64_t ticket;
    _Atomic uint32_t call;     // counts works; the word that threads sleep on
    _Atomic uint32_t sleepers;
    _Atomic size_t finished;   // parts of this work
    _Atomic size_t parts, helpers;
    _Atomic(ck_part) body;
    void *_Atomic context;
    atomic_flag busy;
    size_t threads; // made so far
} team = {.busy = ATOMIC_FLAG_INIT};

static void pause_thread(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void sleep_until_other(uint32_t seen) {
#if defined(__linux__)
    syscall(SYS_futex, &team.call, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    (void)seen;
    sched_yield();
#endif
}

static void wake_all(void) {
#if defined(__linux__)
    syscall(SYS_futex, &team.call, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#endif
}

// Takes parts of the work that `ticket` names until there is none.
static void work(uint64_t ticket) {
    uint64_t number = ticket & ~PART_MASK;
    size_t parts = atomic_load(&team.parts);
    ck_part body = atomic_load(&team.body);
    void *context = atomic_load(&team.context);
    for (;;) {
        ticket = atomic_load(&team.ticket);
        if ((ticket & ~PART_MASK) != number || (ticket & PART_MASK) >= parts) return;
        // Succeeds only while the work is the one whose body was read: the next begins when all its parts are finished.
        if (!atomic_compare_exchange_weak(&team.ticket, &ticket, ticket + 1)) continue;
        body(context, (size_t)(ticket & PART_MASK));
        atomic_fetch_add(&team.finished, 1);
    }
}

static void *help(void *index) {
    uint32_t seen = 0;
    for (;;) {
        uint32_t now = atomic_load(&team.call);
        for (int i = 0; now == seen && i < SPINS; i++) {
            pause_thread();
            now = atomic_load(&team.call);
        }
        if (now == seen) {
            atomic_fetch_add(&team.sleepers, 1);
            sleep_until_other(seen);
            atomic_fetch_sub(&team.sleepers, 1);
            continue;
        }
        seen = now;
        if ((size_t)(uintptr_t)index < atomic_load(&team.helpers)) work(atomic_load(&team.ticket));
    }
    return NULL;
}

// At least `wanted` helpers, or as many as the system makes.
static void enlist(size_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    // Signals are for the threads that were there before.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.threads < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, (void *)(uintptr_t)team.threads) != 0) break;
        pthread_detach(thread);
        team.threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ck_share(size_t threads, size_t parts, ck_part body, void *context) {
    size_t helpers = threads < parts ? threads : parts;
    helpers = helpers > CK_MOST_THREADS ? CK_MOST_THREADS : helpers;
    if (helpers < 2 || parts >= PART_MASK || atomic_flag_test_and_set(&team.busy)) {
        for (size_t part = 0; part < parts; part++) body(context, part);
        return;
    }
    helpers--;
    if (team.threads < helpers) enlist(helpers);
    // A work of its own number, with nothing to take, stands between two: a thread that has read the number of one and what
    // belongs to another finds that the number has changed.
    uint64_t ticket = (atomic_load(&team.ticket) | PART_MASK) + 1;
    atomic_store(&team.ticket, ticket | PART_MASK);
    atomic_store(&team.parts, parts);
    atomic_store(&team.body, body);
    atomic_store(&team.context, context);
    atomic_store(&team.helpers, helpers);
    atomic_store(&team.finished, 0);
    ticket += PART_MASK + 1;
    atomic_store(&team.ticket, ticket);
    atomic_fetch_add(&team.call, 1);
    if (atomic_load(&team.sleepers) > 0) wake_all();
    work(ticket);
    for (int i = 0; atomic_load(&team.finished) < parts; i++) {
        if (i < SPINS) pause_thread();
        else sched_yield();
    }
    atomic_flag_clear(&team.busy);
}
