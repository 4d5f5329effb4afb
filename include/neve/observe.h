/* SPDX-License-Identifier: MIT */
/*
 * Ready-made listeners of the collector's events: one that does nothing, sums over a
 * stretch of the program, a histogram of pauses, and a chain that hands events on to
 * several listeners. (neve_collector_get_stats, over the collector's whole life, needs
 * none.)
 *
 * They keep what they count in the caller's memory, which must outlive the listener;
 * they allocate nothing, and cost some additions per collection. Lock domain: the
 * collector's, reading and resetting included.
 */
#ifndef NEVE_OBSERVE_H
#define NEVE_OBSERVE_H

#include "collect.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Hears nothing: for an end of a chain that is to stay empty. */
NEVE_API neve_listener neve_null_listener(void);

/* Sums of neve_collection's fields since the last reset. */
typedef struct neve_statistics {
    uint64_t collections[NEVE_GENERATIONS]; /* by the oldest generation taken in */
    uint64_t explicit_collections;          /* of these */
    uint64_t failed;                        /* given up, and in none of the sums */
    uint64_t ended_cycles;
    uint64_t duration_ns, nominate_ns, verify_ns, reclaim_ns;
    uint64_t marked, candidates, collected, resurrected, uncollectable;
    neve_collection longest; /* the one with the longest pause, the latest of several */
} neve_statistics;

NEVE_API void neve_statistics_reset(neve_statistics *statistics);
/* A listener that adds each collection. Reset first. */
NEVE_API neve_listener neve_statistics_listener(neve_statistics *statistics);

/* Pauses by size, in buckets of an eighth of a power of two: a quantile is
 * right to within 12.5%. About 4 KiB, in the caller's memory. */
#define NEVE_HISTOGRAM_BUCKETS 512
typedef struct neve_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[NEVE_HISTOGRAM_BUCKETS];
} neve_histogram;

NEVE_API void neve_histogram_reset(neve_histogram *histogram);
NEVE_API void neve_histogram_add(neve_histogram *histogram, uint64_t ns);
/* The smallest bucket bound, in nanoseconds, that at least `quantile`
 * (0 .. 1) of all pauses do not exceed; 0 when there is none. */
NEVE_API uint64_t neve_histogram_quantile(const neve_histogram *histogram, double quantile);
/* A listener that adds each collection's duration. */
NEVE_API neve_listener neve_histogram_listener(neve_histogram *histogram);

/* Hands each event to `first`, then to `second`. In the caller's memory. */
typedef struct neve_listener_chain {
    neve_listener first;
    neve_listener second;
} neve_listener_chain;
NEVE_API neve_listener neve_listener_chain_listener(neve_listener_chain *chain);

#ifdef __cplusplus
}
#endif
#endif
