/* SPDX-License-Identifier: MIT */
/*
 * The nominators: which objects a collection verifies.
 *
 *   generation  all objects of the young, or the young and middle generations
 *   full        all objects, less what a marking from the host's roots reached
 *
 * A nominator has to be complete (what is garbage when it begins is nominated)
 * and may otherwise be as sloppy as it likes: verification decides.
 */
#include "collect_internal.h"

/* ---- the generational nominator ---- */

static neve_status generation_begin(neve_collector *c, int generation)
{
    return nv_gather(c, generation, &c->candidates);
}

static bool generation_step(neve_collector *c, size_t budget)
{
    (void)c;
    (void)budget;
    return true;
}

static neve_status generation_finish(neve_collector *c, int generation)
{
    (void)c;
    (void)generation;
    return NEVE_OK;
}

const nv_nominator nv_nominate_generation = {
    .name = "generation",
    .begin = generation_begin,
    .step = generation_step,
    .finish = generation_finish,
};

/* ---- the full nominator ---- */

/* Where so few are not frozen, verifying all of them costs less than marking
 * through the frozen ones. */
#define FROZEN_DOMINATES 8

static neve_status full_begin(neve_collector *c, int generation)
{
    (void)generation;
    /* Everything is old from here on: garbage hangs together across
     * generations, and survivors stay where they are. What could not get old
     * waits for the next collection. */
    if (c->host->gather == NULL && c->host->promote == NULL && c->host->untrack == NULL) {
        nv_promote_unseen(c); /* nobody wants to know which they are */
        c->is_partial = false;
    } else {
        neve_status status = nv_gather(c, 1, &c->young);
        if (status != NEVE_OK)
            return status;
        c->young.count = nv_promote(c, c->young.items, c->young.count, 2);
    }
    nv_touched_reset(c, 2);

    nv_mark_begin(c);
    if (c->frozen / FROZEN_DOMINATES <= c->old)
        nv_mark_roots(c);
    return NEVE_OK;
}

static bool full_step(neve_collector *c, size_t budget)
{
    return nv_mark_step(c, budget);
}

static neve_status full_finish(neve_collector *c, int generation)
{
    (void)generation;
    /* Those just promoted come last and in the host's order, so that their
     * finalizers run in the order in which the objects were made. */
    nv_vec *fresh = &c->stack;
    fresh->count = 0;
    neve_status status = NEVE_OK;
    for (size_t i = 0; i < c->young.count; i++) {
        void *object = c->young.items[i];
        if (!nv_mark_is_white(c, object))
            continue;
        nv_mark_blacken(c, object);
        if (!nv_vec_push(c->heap, fresh, object))
            status = NEVE_ENOMEM;
    }
    if (status == NEVE_OK)
        status = nv_mark_suspects(c, &c->candidates);
    if (status == NEVE_OK &&
        !nv_vec_reserve(c->heap, &c->candidates, c->candidates.count + fresh->count))
        status = NEVE_ENOMEM;
    if (status == NEVE_OK && fresh->count != 0) {
        memcpy(c->candidates.items + c->candidates.count, fresh->items,
               fresh->count * sizeof(void *));
        c->candidates.count += fresh->count;
    }
    c->fresh = fresh->count;
    fresh->count = 0;
    nv_mark_finish(c);
    return status;
}

const nv_nominator nv_nominate_full = {
    .name = "full",
    .begin = full_begin,
    .step = full_step,
    .finish = full_finish,
};
