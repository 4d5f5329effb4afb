/* SPDX-License-Identifier: MIT */
/*
 * Listeners of the collector's events: none, statistics, and a chain. All memory is
 * the caller's; nothing here allocates, so listeners may run inside a collection.
 */
#include <string.h>

#include "neve/observe.h"

neve_listener neve_null_listener(void)
{
    return (neve_listener){.begin = NULL, .end = NULL, .failed = NULL, .ctx = NULL};
}

/* ---- statistics ---- */

void neve_statistics_reset(neve_statistics *statistics)
{
    memset(statistics, 0, sizeof *statistics);
}

static void statistics_end(void *ctx, const neve_collection *collection)
{
    neve_statistics *sum = ctx;
    sum->collections[collection->generation]++;
    sum->explicit_collections += collection->is_explicit;
    sum->ended_cycles += collection->ended_cycle;
    sum->duration_ns += collection->duration_ns;
    sum->nominate_ns += collection->nominate_ns;
    sum->verify_ns += collection->verify_ns;
    sum->reclaim_ns += collection->reclaim_ns;
    sum->marked += collection->marked;
    sum->candidates += collection->candidates;
    sum->collected += collection->collected;
    sum->resurrected += collection->resurrected;
    sum->uncollectable += collection->uncollectable;
    if (collection->duration_ns >= sum->longest.duration_ns)
        sum->longest = *collection;
}

static void statistics_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    neve_statistics *sum = ctx;
    (void)collection;
    (void)status;
    sum->failed++;
}

neve_listener neve_statistics_listener(neve_statistics *statistics)
{
    return (neve_listener){.end = statistics_end, .failed = statistics_failed, .ctx = statistics};
}

/* ---- the chain ---- */

static void chain_begin(void *ctx, const neve_collection *collection)
{
    const neve_listener_chain *chain = ctx;
    if (chain->first.begin != NULL)
        chain->first.begin(chain->first.ctx, collection);
    if (chain->second.begin != NULL)
        chain->second.begin(chain->second.ctx, collection);
}

static void chain_end(void *ctx, const neve_collection *collection)
{
    const neve_listener_chain *chain = ctx;
    if (chain->first.end != NULL)
        chain->first.end(chain->first.ctx, collection);
    if (chain->second.end != NULL)
        chain->second.end(chain->second.ctx, collection);
}

static void chain_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    const neve_listener_chain *chain = ctx;
    if (chain->first.failed != NULL)
        chain->first.failed(chain->first.ctx, collection, status);
    if (chain->second.failed != NULL)
        chain->second.failed(chain->second.ctx, collection, status);
}

neve_listener neve_listener_chain_listener(neve_listener_chain *chain)
{
    return (neve_listener){
        .begin = chain_begin, .end = chain_end, .failed = chain_failed, .ctx = chain};
}
