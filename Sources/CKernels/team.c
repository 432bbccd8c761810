// Threads that share the parts of one work after the other. Each has a queue, the same run of parts from work to work, so that
// it finds in its own caches what it wrote there: where cores have several caches of the last level, each other's take several
// times as long to read. One that has finished its own takes from the others'. A queue's `ticket` is the number of the work
// and, below it, the next part that nobody has taken; whoever raises the latter has the part. The caller waits for parts that
// were taken, never for a thread that has taken none.
#include "ck_team.h"
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sched.h>
#include <time.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { SPINS = 3000, YIELDING = 1000000, PART_BITS = 24, LINE = 64 };
#define NEXT_WORK (UINT64_C(1) << PART_BITS)
#define PART_MASK (NEXT_WORK - 1)

typedef struct {
    _Alignas(LINE) _Atomic uint64_t ticket;
} queue;

static struct {
    queue queues[CK_MOST_THREADS];
    _Alignas(LINE) _Atomic uint32_t finished; // parts of this work; the word that the caller sleeps on
    _Atomic uint32_t waits;                   // whether it does, or is about to
    _Alignas(LINE) _Atomic uint32_t call;   // counts works; the word that threads sleep on
    _Atomic uint32_t sleepers;
    _Atomic uint64_t number; // of this work, a multiple of NEXT_WORK; another while what follows is being written
    _Atomic size_t parts, sharers;
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

// Until somebody wakes those that sleep on the word; at once where it is another by now; for no longer than `most`, if given.
static void sleep_on(_Atomic uint32_t *word, uint32_t seen, const struct timespec *most) {
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, most, NULL, 0);
#else
    (void)word, (void)seen, (void)most;
    sched_yield();
#endif
}

static void wake(_Atomic uint32_t *word) {
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}

// Where the queue of a sharer begins.
static size_t first_part(size_t sharer, size_t parts, size_t sharers) { return sharer * parts / sharers; }

// Takes parts of the work of this number until there is none, first those of the thread's own queue.
static void work(size_t index, uint64_t number) {
    size_t parts = atomic_load(&team.parts), sharers = atomic_load(&team.sharers);
    ck_part body = atomic_load(&team.body);
    void *context = atomic_load(&team.context);
    // What was read belongs to this work, or it is over.
    if (atomic_load(&team.number) != number) return;
    for (size_t i = 0; i < sharers; i++) {
        size_t owner = (index + i) % sharers, end = first_part(owner + 1, parts, sharers);
        uint32_t finished = 0;
        _Atomic uint64_t *ticket = &team.queues[owner].ticket;
        uint64_t next = atomic_load(ticket);
        while ((next & ~PART_MASK) == number && (next & PART_MASK) < end) {
            if (!atomic_compare_exchange_weak(ticket, &next, next + 1)) continue;
            body(context, (size_t)(next & PART_MASK));
            finished++;
            next = atomic_load(ticket);
        }
        if (finished > 0 && atomic_fetch_add(&team.finished, finished) + finished == parts && atomic_load(&team.waits))
            wake(&team.finished);
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
            sleep_on(&team.call, seen, NULL);
            atomic_fetch_sub(&team.sleepers, 1);
            continue;
        }
        seen = now;
        // The caller is the first sharer.
        size_t sharer = 1 + (size_t)(uintptr_t)index;
        if (sharer < atomic_load(&team.sharers)) work(sharer, atomic_load(&team.number));
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

static int64_t nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

// Returns when all parts are finished. A thread that sleeps wakes late: for a millisecond the caller only lets others go first.
static void await(size_t parts, ck_meanwhile meanwhile, void *context) {
    static const struct timespec most = {.tv_nsec = 2000000};
    uint32_t finished;
    int64_t start = 0;
    for (int i = 0; (finished = atomic_load(&team.finished)) < parts;) {
        if (i < SPINS) {
            i++;
            pause_thread();
            continue;
        }
        if (start == 0) start = nanoseconds();
        if (nanoseconds() - start < YIELDING) {
            sched_yield();
            continue;
        }
        // Whoever finishes the last part looks at `waits` after that; the system looks at `finished` after this.
        atomic_store(&team.waits, 1);
        sleep_on(&team.finished, finished, meanwhile ? &most : NULL);
        atomic_store(&team.waits, 0);
        if (meanwhile) meanwhile(context);
    }
}

void ck_share(size_t threads, size_t parts, ck_part body, void *context) {
    ck_share_long(threads, parts, body, NULL, context);
}

void ck_share_long(size_t threads, size_t parts, ck_part body, ck_meanwhile meanwhile, void *context) {
    size_t sharers = threads < parts ? threads : parts;
    sharers = sharers > CK_MOST_THREADS ? CK_MOST_THREADS : sharers;
    if (sharers < 2 || parts >= PART_MASK || atomic_flag_test_and_set(&team.busy)) {
        for (size_t part = 0; part < parts; part++) body(context, part);
        return;
    }
    if (team.threads < sharers - 1) enlist(sharers - 1);
    // No queue has the number that stands between two works: a thread that reads while they change takes nothing.
    uint64_t number = atomic_load(&team.number) + 2 * NEXT_WORK;
    atomic_store(&team.number, number - NEXT_WORK);
    atomic_store(&team.parts, parts);
    atomic_store(&team.body, body);
    atomic_store(&team.context, context);
    atomic_store(&team.sharers, sharers);
    atomic_store(&team.finished, 0);
    for (size_t i = 0; i < sharers; i++) atomic_store(&team.queues[i].ticket, number | first_part(i, parts, sharers));
    atomic_store(&team.number, number);
    atomic_fetch_add(&team.call, 1);
    if (atomic_load(&team.sleepers) > 0) wake(&team.call);
    work(0, number);
    await(parts, meanwhile, context);
    atomic_flag_clear(&team.busy);
}
