/* SPDX-License-Identifier: MIT */
/*
 * Ready-made listeners of the collector's events: a histogram of pauses, and
 * a chain that hands events on to several listeners. (The statistics of
 * neve_collector_get_stats need no listener; no listener at all is the null
 * implementation.)
 */
#ifndef NEVE_OBSERVE_H
#define NEVE_OBSERVE_H

#include "collect.h"

#ifdef __cplusplus
extern "C" {
#endif

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
