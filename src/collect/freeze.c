/* SPDX-License-Identifier: MIT */
/*
 * The permanent generation (invariant 7): everything into it, and out of it. And
 * what the collector does before a fork.
 *
 * Frozen objects have both state bits. They are white at the beginning of a
 * marking, so that it reads through them, and never suspects.
 */
#include "collect_internal.h"

static void freeze_chunk(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if (nv_old_bits(chunk, w) != 0 && nv_holds_objects(chunk, w)) {
            chunk->has_low = true;
            chunk->low[w] |= chunk->high[w];
        }
}

static void unfreeze_chunk(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if (nv_frozen_bits(chunk, w) != 0 && nv_holds_objects(chunk, w))
            chunk->low[w] &= ~chunk->high[w];
}

neve_status neve_collector_freeze(neve_collector *c)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    neve_collector_drain(c);
    c->young.count = 0;
    c->gather_limit = SIZE_MAX;
    if (c->host->begin != NULL)
        c->host->begin(c->ctx, 3, false);
    neve_status status = nv_gather(c, 1, &c->young);
    if (status == NEVE_OK) {
        nv_promote(c, c->young.items, c->young.count, 3);
        nv_touched_reset(c, 2);
        nv_chunk_each(c->heap, freeze_chunk, NULL);
        c->counts[0] = c->counts[1] = c->counts[2] = 0;
    }
    nv_vec_trim(c, &c->young);
    return status;
}

neve_status neve_collector_unfreeze(neve_collector *c)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    neve_collector_drain(c);
    nv_chunk_each(c->heap, unfreeze_chunk, NULL);
    return NEVE_OK;
}

void neve_collector_before_fork(neve_collector *c)
{
    if (c->is_collecting)
        return;
    nv_possible_give_back(c);
    c->is_collecting = true;
    nv_reclaim_drain(c);
    c->is_collecting = false;
    nv_tables_drop(c);
}
