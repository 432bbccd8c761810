#pragma once
#include <stddef.h>

// That share a work.
#define CK_MOST_THREADS 256

// A part of some work, on whatever thread.
typedef void (*ck_part)(void *context, size_t part);
// What the caller does again and again while it waits for parts that others have taken.
typedef void (*ck_meanwhile)(void *context);

// Calls body(context, part) once for each 0 ≤ part < parts, on up to `threads` threads of which the caller's is one, and
// returns when all have returned. Threads are made when first wanted, and wait for the next work without the system's help for
// some ten microseconds, since products of one token follow each other faster than a thread wakes. Thread t of T begins with
// parts t·parts/T up to (t+1)·parts/T, in their order; one that is late leaves its parts to the others. Where another thread's
// work is under way, or within a part, the caller does all parts alone. It sleeps while it waits for the last parts, but for
// the first millisecond.
void ck_share(size_t threads, size_t parts, ck_part body, void *context);

// The same, where the caller calls meanwhile(context) every two milliseconds of its waiting.
void ck_share_long(size_t threads, size_t parts, ck_part body, ck_meanwhile meanwhile, void *context);
