/* SPDX-License-Identifier: MIT */
/*
 * The collector: reclaims reference cycles among the objects of one heap.
 *
 * Three generations, thresholds as in CPython: an allocation beyond threshold
 * 0 (net of deallocations) asks for a young collection; every threshold-1
 * young collections the middle generation is collected too, every threshold-2
 * of those all of it, provided that long_lived_pending exceeds a quarter of
 * long_lived_total (the 25% rule, which keeps the total work linear). While young
 * collections find nothing, three of four leave verification to the next of the middle
 * generation; those that neve_collect asks for never do.
 *
 * In the incremental mode the old generation is collected by cycles instead: a
 * cycle marks, filters, verifies and clears in slices of about pause_us, one
 * after each young collection, at a pace that the growth of the old generation
 * sets, and reclaims everything that was garbage when it began (docs/collector.md
 * has the proof and the bound on memory).
 *
 * In the snapshot mode, on Linux, a cycle has a child process mark for it: one that
 * `clone` makes, which has a copy-on-write copy of the memory, invisible to wait() and
 * waitpid() without __WALL, without signals. The program stops while the system makes
 * the child, longer the more memory it has (docs/collector.md has figures), and no
 * slice marks. It is for large heaps on machines with idle cores. Where there is no
 * such child, or it fails, the cycle marks in slices as in the incremental mode.
 *
 * Allocation never collects: it sets NEVE_EVENT_COLLECT in the eval breaker,
 * and the host's next neve_poll() at a safe point collects.
 *
 * Locking and thread state: as the heap's. Re-entrancy: a collection runs
 * finalizers and weak-reference callbacks, which may allocate, free, and call
 * anything here; a collection inside a collection returns NEVE_EBUSY.
 */
#ifndef NEVE_COLLECT_H
#define NEVE_COLLECT_H

#include "heap.h"
#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A word of events that the host's interpreter loop polls. Bit 0 is Neve's;
 * the others are the host's own (signals, requests of other threads). Any
 * thread and any signal handler may set and clear bits. */
typedef struct neve_eval_breaker {
    uint32_t events;
} neve_eval_breaker;
#define NEVE_EVENT_COLLECT 1u
#define NEVE_EVENT_HOST 2u /* the first of the host's own bits; the others lie above it */

static inline void neve_breaker_set(neve_eval_breaker *breaker, uint32_t events)
{
    __atomic_fetch_or(&breaker->events, events, __ATOMIC_RELEASE);
}
static inline void neve_breaker_clear(neve_eval_breaker *breaker, uint32_t events)
{
    __atomic_fetch_and(&breaker->events, ~events, __ATOMIC_ACQ_REL);
}
/* Clears those of `events` that are set, and returns them. One set in between, by a signal
 * handler, say, is either returned or still set: none is lost. */
static inline uint32_t neve_breaker_take(neve_eval_breaker *breaker, uint32_t events)
{
    return __atomic_fetch_and(&breaker->events, ~events, __ATOMIC_ACQ_REL) & events;
}
static inline uint32_t neve_breaker_get(const neve_eval_breaker *breaker)
{
    return __atomic_load_n(&breaker->events, __ATOMIC_ACQUIRE);
}

/* How the old generation is collected. */
typedef enum neve_mode {
    NEVE_MODE_GENERATIONAL, /* in one go, by thresholds and the 25% rule */
    NEVE_MODE_INCREMENTAL,  /* in slices */
    NEVE_MODE_SNAPSHOT,     /* in slices, but a child process marks, on a copy of the memory */
} neve_mode;
/* Whether cycles collect the old generation. */
static inline bool neve_mode_has_cycles(neve_mode mode)
{
    return mode == NEVE_MODE_INCREMENTAL || mode == NEVE_MODE_SNAPSHOT;
}
#define NEVE_DEFAULT_PAUSE_US 500u
#define NEVE_MAX_PAUSE_US 60000000u

typedef struct neve_collector_options {
    size_t struct_size; /* sizeof(neve_collector_options) of the caller */
    neve_mode mode;
    uint32_t pause_us;                     /* a slice aims at; 0: NEVE_DEFAULT_PAUSE_US */
    neve_eval_breaker *breaker;            /* the host's word; NULL: one of the collector's own */
    uint32_t thresholds[NEVE_GENERATIONS]; /* all 0: 2000, 10, 10 */
} neve_collector_options;

/* As neve_heap_options_check: what is wrong with these options, in one sentence. */
NEVE_API neve_status neve_collector_options_check(const neve_collector_options *options,
                                                  char *message, size_t message_size);

/* A collector of `heap` for the objects that `host` describes; host and heap
 * must outlive it. `options` may be NULL. NEVE_ENOMEM, NEVE_EINVAL. */
NEVE_API neve_status neve_collector_create(neve_heap *heap, const neve_host *host, void *host_ctx,
                                           const neve_collector_options *options,
                                           neve_collector **collector);
/* Reclaims nothing more, not even what waits to be cleared: call
 * neve_collector_drain first if that matters. NULL: nothing. */
NEVE_API void neve_collector_destroy(neve_collector *collector);

/* What one collection did; also what listeners are told. */
typedef struct neve_collection {
    int generation;       /* the oldest generation that it took in */
    bool is_explicit;     /* asked for, not triggered by a threshold */
    uint64_t start_ns;    /* monotonic clock */
    uint64_t duration_ns; /* of the whole pause, finalizers included */
    uint64_t nominate_ns; /* parts of it: gathering and marking */
    uint64_t verify_ns;   /* trial deletion, both times */
    uint64_t reclaim_ns;  /* weak references, finalizers, clearing */
    size_t marked;        /* objects that the marking reached (full only) */
    size_t candidates;    /* objects verified; 0 where a young set is passed on */
    size_t collected;     /* found dead and cleared, and weak references that died so */
    size_t resurrected;   /* revived by a finalizer or a callback */
    size_t uncollectable; /* dead, but of types that cannot be reclaimed */
    bool is_partial;      /* some young objects are left for a collection that is due soon */
    bool is_slice;        /* a slice of a cycle and nothing else: the young set stays */
    /* The next one is due after so many allocations; 0: after as many as the threshold says. */
    uint32_t next_after;
    /* Of the collected and uncollectable, what a slice of a cycle found; and whether the cycle ended. */
    size_t cycle_collected;
    size_t cycle_uncollectable;
    bool ended_cycle;
} neve_collection;

/* Collects generation 0 .. `generation` now. `result` may be NULL.
 * NEVE_EBUSY inside a collection; NEVE_ENOMEM: nothing was collected, and
 * nothing is lost: the next collection finds the same garbage. */
NEVE_API neve_status neve_collect(neve_collector *collector, int generation,
                                  neve_collection *result);

/* For hosts with a trigger of their own: generation 0 .. `generation` is due, as
 * neve_collector_safepoint would have found it. Where there are cycles that is a
 * young or a middle collection and a slice of the cycle, or, where the last one asked for
 * it by `next_after`, a slice alone (`is_slice`: then the host's counts of collections stay);
 * a full one never is. */
NEVE_API neve_status neve_collect_due(neve_collector *collector, int generation,
                                      neve_collection *result);

/* Incremental and snapshot mode, for idle time (between two requests, say): goes on with the
 * cycle for about `budget_us` microseconds, or begins one if anything was created,
 * collected or freed since the last ended; `result` (may be NULL) is what that did. True: there
 * is more to do, now, or (snapshot mode: it does not wait for the child) later. Always false in
 * the generational mode and inside a collection. */
NEVE_API bool neve_step(neve_collector *collector, uint32_t budget_us, neve_collection *result);

/* Changes the mode; abandons a cycle that is under way, whose garbage is found by
 * the next one or by a full collection. NEVE_EBUSY inside a collection. */
NEVE_API neve_status neve_collector_set_mode(neve_collector *collector, neve_mode mode);
NEVE_API neve_mode neve_collector_mode(const neve_collector *collector);
/* 0: NEVE_DEFAULT_PAUSE_US. NEVE_EINVAL: over NEVE_MAX_PAUSE_US; nothing changes. */
NEVE_API neve_status neve_collector_set_pause_us(neve_collector *collector, uint32_t pause_us);

/* Worth calling in the parent before fork(), before neve_heap_before_fork: clears
 * what waits to be cleared (every child would do it, each in its own copy of the
 * pages) and gives back the memory that is kept for the next collections. Does not
 * collect: what it freed would leave holes. A cycle that is under way goes on in
 * the parent. Does nothing inside a collection. */
NEVE_API void neve_collector_before_fork(neve_collector *collector);

/* In the child of a fork, before neve_heap_after_fork_child: abandons a cycle that
 * is under way. What the parent had condemned the child clears as well, each its
 * own copy. */
NEVE_API void neve_collector_after_fork_child(neve_collector *collector);

/* What neve_poll calls when the event is set: collects what is due, if
 * anything is. Safe to call at any safe point. */
NEVE_API void neve_collector_safepoint(neve_collector *collector);
NEVE_API neve_eval_breaker *neve_collector_breaker(neve_collector *collector);

/* For hosts, at each allocation and deallocation of a tracked object: counts
 * it for the young threshold. A few instructions. */
NEVE_API void neve_collector_count_alloc(neve_collector *collector);
NEVE_API void neve_collector_count_free(neve_collector *collector);
/* `object` has lost a reference that may have been the last one from outside of a cycle: a
 * possible root of garbage (Bacon and Rajan, 2001). That reference is handed over, and
 * is given back, by the host's `release`, right here or when the next collection begins;
 * what is old and lives on then is verified together with what it refers to nearby, at
 * a safe point soon. So old cycles that nothing else holds go without a collection of
 * their generation. Inside a collection, or with the collector disabled: given back, no more; what
 * was handed over before it was disabled is given back at the next safe point. */
NEVE_API void neve_collector_possible_root(neve_collector *collector, void *object);
/* For hosts that count themselves: says so before neve_step, which asks whether
 * anything has happened. */
NEVE_API void neve_collector_set_young_count(neve_collector *collector, uint32_t count);

/* For hosts with a trigger of their own: how many bytes more may be held until a young
 * collection is due for them (see held_bytes in host.h). 0: it is due; SIZE_MAX: bytes do
 * not matter, as in the generational mode. */
NEVE_API size_t neve_collector_bytes_left(neve_collector *collector);

/* Automatic collection on (the default) and off. Explicit ones always run. */
NEVE_API void neve_collector_enable(neve_collector *collector);
NEVE_API void neve_collector_disable(neve_collector *collector);
NEVE_API bool neve_collector_is_enabled(const neve_collector *collector);
/* Whether a collection is under way (one calls from a finalizer, say). */
NEVE_API bool neve_collector_is_collecting(const neve_collector *collector);

/* Thresholds; 0 for generation 0 switches automatic collection off, 0 for 1
 * or 2 means "at every second collection of the younger one", as in CPython. */
NEVE_API void neve_collector_set_thresholds(neve_collector *collector,
                                            const uint32_t thresholds[NEVE_GENERATIONS]);
NEVE_API void neve_collector_get_thresholds(const neve_collector *collector,
                                            uint32_t thresholds[NEVE_GENERATIONS]);

/* What is counted towards the thresholds: allocations less deallocations, then collections of
 * the younger generation. Costs nothing, where neve_collector_get_stats walks the young. */
NEVE_API void neve_collector_get_counts(const neve_collector *collector,
                                        uint32_t counts[NEVE_GENERATIONS]);

/* Moves every tracked object into the permanent generation, which is never
 * collected and never written by a collection; back again. NEVE_EBUSY inside a
 * collection, NEVE_ENOMEM. */
NEVE_API neve_status neve_collector_freeze(neve_collector *collector);
NEVE_API neve_status neve_collector_unfreeze(neve_collector *collector);
NEVE_API size_t neve_collector_frozen_count(const neve_collector *collector);

/* The generation in which the collector's tables hold `object`: 0 young (or
 * unknown), 1, 2, or 3 for the permanent one. Hosts that gather their young
 * generations themselves see 1 as 0. */
NEVE_API int neve_collector_generation_of(const neve_collector *collector, const void *object);

/* Calls `visit` for each object of the old (2) or the permanent (3) generation
 * that is still tracked, in address order; ends early when it returns
 * non-zero, and returns that value. `visit` must not free or allocate. */
NEVE_API int neve_collector_walk(const neve_collector *collector, int generation,
                                 neve_visit_fn visit, void *arg);

/* For hosts that are taken over while they run: declares `object` to be of
 * `generation` (2 or 3). NEVE_ENOMEM. */
NEVE_API neve_status neve_collector_adopt(neve_collector *collector, void *object, int generation);
/* For hosts that stop tracking an object without freeing it: it is of no
 * generation from now on. */
NEVE_API void neve_collector_forget(neve_collector *collector, void *object);
/* For hosts that leave: forgets all generations, of all objects. */
NEVE_API void neve_collector_forget_all(neve_collector *collector);

/* Clears what earlier collections have condemned and not cleared yet. */
NEVE_API void neve_collector_drain(neve_collector *collector);

/* Ends the child of a snapshot, if there is one; the cycle goes on. To be called before
 * the process runs another program (exec), which would inherit the child. May be
 * called at any time, inside a collection too. */
NEVE_API void neve_collector_end_snapshot(neve_collector *collector);

typedef struct neve_generation_stats {
    uint64_t collections;
    uint64_t collected;
    uint64_t uncollectable;
    uint64_t time_ns; /* sum of the pauses */
    uint64_t longest_pause_ns;
    size_t objects; /* in it now; for the young ones this costs a walk */
    uint32_t threshold;
    uint32_t count; /* towards the threshold */
} neve_generation_stats;

/* Why a snapshot came to nothing. */
typedef enum neve_snapshot_failure {
    NEVE_SNAPSHOT_REFUSED,   /* the system made no child, or gave no memory to share with it */
    NEVE_SNAPSHOT_DIED,      /* something ended the child, or it lacked memory */
    NEVE_SNAPSHOT_LATE,      /* it took longer than the growth of the heap, or patience, allows */
    NEVE_SNAPSHOT_FORKED,    /* this is the child of a fork, and the snapshot its parent's */
    NEVE_SNAPSHOT_ABANDONED, /* a full collection, a freeze, a change of mode, an end */
    NEVE_SNAPSHOT_FAILURES,  /* how many there are */
} neve_snapshot_failure;

/* What the cycles did. A cycle that ends counts as a collection of
 * generation 2 in neve_generation_stats as well, with the sum of its slices. */
typedef struct neve_cycle_stats {
    uint64_t cycles;    /* that came to their end */
    uint64_t abandoned; /* by an explicit full collection, a freeze, a fork, a failure */
    uint64_t slices;
    uint64_t late_slices;      /* that were given more than pause_us, to keep memory bounded */
    uint64_t time_ns;          /* processor time of all slices */
    uint64_t longest_slice_ns; /* processor time too: the clock also counts other processes */
    uint64_t collected;
    size_t suspects;           /* of the last cycle: not reached by its marking */
    size_t false_suspects;     /* of these, found alive by its filter or verification */
    size_t largest_group;      /* objects that had to be verified in one go, at most so far */
    uint64_t largest_group_ns; /* processor time that this took, with finalizers and callbacks */
    bool is_running;           /* a cycle is under way */
    /* Of the snapshot mode. A cycle whose snapshot fails goes on in slices. */
    uint64_t snapshots;       /* begun, or tried to */
    uint64_t snapshots_taken; /* of these, whose suspects were taken */
    uint64_t snapshot_failures[NEVE_SNAPSHOT_FAILURES];
    uint64_t fork_ns;         /* for which the program stood still for children to be made */
    uint64_t longest_fork_ns; /* at once */
    uint64_t child_ns;        /* processor time of the children that came to their end */
} neve_cycle_stats;

typedef struct neve_collector_stats {
    neve_generation_stats generations[NEVE_GENERATIONS];
    neve_cycle_stats cycle;
    size_t frozen;             /* objects in the permanent generation */
    size_t long_lived_total;   /* survivors of the last full collection */
    size_t long_lived_pending; /* promoted to the old generation since */
    uint64_t roots_explored;   /* possible roots whose neighbourhood was looked at */
    uint64_t roots_collected;  /* objects found dead that way; in generations[2].collected, too */
    size_t condemned;          /* dead objects that still wait to be cleared */
    uint64_t failed;           /* collections given up for want of memory */
} neve_collector_stats;
NEVE_API void neve_collector_get_stats(const neve_collector *collector,
                                       neve_collector_stats *stats);
/* The long-lived figures alone, for hosts that keep them themselves. */
NEVE_API void neve_collector_get_long_lived(const neve_collector *collector, size_t *total,
                                            size_t *pending);
NEVE_API void neve_collector_set_long_lived(neve_collector *collector, size_t total,
                                            size_t pending);

/* A table of callbacks on what the collector does; any may be NULL. They run
 * inside the collection: they must not allocate from the heap or collect. */
typedef struct neve_listener {
    void (*begin)(void *ctx, const neve_collection *collection);
    void (*end)(void *ctx, const neve_collection *collection);
    /* A collection was given up; nothing was reclaimed. */
    void (*failed)(void *ctx, const neve_collection *collection, neve_status status);
    void *ctx;
} neve_listener;
/* Replaces the listener (copied); NULL removes it. See observe.h for ready ones. */
NEVE_API void neve_collector_set_listener(neve_collector *collector, const neve_listener *listener);

/* Checks the invariants of the design that can be checked from outside a
 * collection, the counts of all tracked objects among them: an object whose
 * referrers report more references than its count has is named, with the type
 * of a referrer. NEVE_ECORRUPT with the finding in `message` (may be NULL);
 * NEVE_ENOMEM. Builds with NEVE_DEBUG >= 2 run it around each collection of a
 * heap of at most 256 pools. */
NEVE_API neve_status neve_collector_check(neve_collector *collector, char *message,
                                          size_t message_size);

/* The safe point: to be called at calls and backward jumps. */
static inline void neve_poll(neve_collector *collector, const neve_eval_breaker *breaker)
{
    if (NEVE_UNLIKELY((neve_breaker_get(breaker) & NEVE_EVENT_COLLECT) != 0))
        neve_collector_safepoint(collector);
}

#ifdef __cplusplus
}
#endif
#endif
