/* SPDX-License-Identifier: MIT */
/*
 * A listener of the collector's events: a histogram of pauses.
 *
 * Buckets: values below 8 ns have one each; from there on, each power of two
 * is cut into 8 equal parts, so that a bucket's bounds differ by at most one
 * eighth. All memory is the caller's; nothing here allocates, so listeners may
 * run inside a collection.
 */
#include <string.h>

#include "neve/observe.h"

#define PARTS_SHIFT 3u
#define PARTS (1u << PARTS_SHIFT)

/* The highest bucket: values of 2^63 and more. */
_Static_assert((64u - PARTS_SHIFT) * PARTS + PARTS <= NEVE_HISTOGRAM_BUCKETS,
               "every 64-bit value has a bucket");

static unsigned bucket_of(uint64_t ns)
{
    if (ns < PARTS)
        return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - PARTS_SHIFT;
    /* The top 4 bits are 1xxx: the leading one is worth the "+ 1" of shift. */
    return shift * PARTS + (unsigned)(ns >> shift);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_bound(unsigned bucket)
{
    if (bucket < PARTS)
        return bucket;
    unsigned shift = bucket / PARTS - 1;
    uint64_t top = PARTS + bucket % PARTS;
    return (top << shift) + ((UINT64_C(1) << shift) - 1);
}

void neve_histogram_reset(neve_histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void neve_histogram_add(neve_histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
    histogram->buckets[bucket_of(ns)]++;
}

uint64_t neve_histogram_quantile(const neve_histogram *histogram, double quantile)
{
    if (histogram->count == 0)
        return 0;
    /* Written so that a NaN asks for the maximum. */
    if (!(quantile < 1.0))
        return histogram->max_ns;
    double wanted = quantile > 0.0 ? quantile * (double)histogram->count : 0.0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < NEVE_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen != 0 && (double)seen >= wanted) {
            /* No pause exceeds the maximum, and the last bucket's bound may. */
            uint64_t bound = bucket_bound(i);
            return bound < histogram->max_ns ? bound : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}

static void histogram_end(void *ctx, const neve_collection *collection)
{
    neve_histogram_add(ctx, collection->duration_ns);
}

neve_listener neve_histogram_listener(neve_histogram *histogram)
{
    return (neve_listener){.end = histogram_end, .ctx = histogram};
}
