/* SPDX-License-Identifier: MIT */
/*
 * Reclaiming what verification has proved dead:
 *
 *   1. take the dead out of every listing, and one reference to each, so that
 *      no finalizer can free an object that a vector here still names
 *   2. clear weak references to them; call the callbacks of those that live on
 *   3. run the finalizers, those of referrers first (finalize.c)
 *   4. if any code ran in 2 or 3, let go of what it took apart itself, and verify
 *      again: what a callback or finalizer revived goes back to the survivors
 *   5. then clear all weak references to what is still dead again: a finalizer may
 *      have made new ones (or the host has left some for finalizers to use), and
 *      the mutator must never be handed an object that is being cleared
 *   6. clear, and drop the references, in steps: from here on the mutator may
 *      run in between, for nothing leads to the condemned any more
 *
 * Where nothing is to be done in 2 to 5 for any of the dead, and the host says so, it frees
 * them itself, all at once: then the collector takes no references, and there is nothing
 * to clear.
 *
 * (A large group goes through these steps in group.c, which takes the references of
 * step 1 later, in slices, where no code of the mutator can run before step 6.)
 *
 * Since the collector holds a reference on every condemned object, clearing
 * one never frees another: a chain of a million nodes cannot cascade. An
 * object that something still refers to after it was cleared (a tuple, which
 * has no clear function, whose holder comes later) is kept until the end, and
 * then goes back to the old generation if it is still referred to.
 */
#include "collect_internal.h"

#include "platform/os.h"

#define BATCH ((size_t)64)
/* A batch of objects that hold more references is cleared in parts: each may free what it
 * refers to. */
#define CLEAR_REFERENCES (BATCH * NV_LIGHT)
#define HOLD_BATCH ((size_t)512)
#define KEPT_PASSES 16

/* What was condemned is to live on. */
static void take_back(neve_collector *c, void **objects, size_t n, int to_generation)
{
    nv_promote(c, objects, n, to_generation);
    if (c->host->revive != NULL)
        c->host->revive(c->ctx, objects, n);
}

/* Releases the objects on which nothing but the collector holds a reference, and
 * those that get free by that. Returns how many are left, in order. The passes
 * change direction, so that chains in either order take few of them. */
static size_t release_dropped(neve_collector *c, void **objects, size_t n)
{
    for (unsigned pass = 0; pass < 16; pass++) {
        size_t before = n, left = 0;
        for (size_t i = 0; i < before; i++) {
            size_t at = pass % 2 == 0 ? i : before - 1 - i;
            uint32_t count;
            c->host->read_counts(c->ctx, &objects[at], 1, &count);
            if (count > 1)
                continue;
            void *object = objects[at];
            objects[at] = NULL;
            c->host->release(c->ctx, &object, 1);
            n--;
        }
        if (n == before)
            break;
        for (size_t i = 0; i < before; i++)
            if (objects[i] != NULL)
                objects[left++] = objects[i];
    }
    return n;
}

void nv_reclaim_begin(neve_collector *c, nv_queue *queue, const nv_verdict *verdict,
                      size_t in_order, int to_generation)
{
    size_t dead = verdict->dead;
    if (dead == 0)
        return;
    void **objects = c->candidates.items;
    if (verdict->is_closed ||
        (c->host->condemn_plain != NULL && c->host->condemn_plain(c->ctx, objects, dead))) {
        c->current.collected += dead;
        nv_verify_finish(c); /* its tables name what is about to be freed */
        c->host->discard(c->ctx, objects, dead, verdict->is_closed);
        return;
    }
    /* Young objects of hosts that gather them have no bits. */
    if (to_generation == 2 || c->host->gather == NULL)
        for (size_t i = 0; i < dead; i++)
            neve_collector_forget(c, objects[i]);
    bool ran_code = false;
    c->host->retain(c->ctx, objects, dead);
    if (c->host->condemn != NULL)
        c->host->condemn(c->ctx, objects, dead, &ran_code);
    if (c->host->clear_weakrefs != NULL)
        c->current.collected += c->host->clear_weakrefs(c->ctx, objects, dead,
                                                        NEVE_WEAKREFS_BEFORE_FINALIZERS, &ran_code);
    nv_finalize(c, objects, dead, dead - in_order, dead, &ran_code);

    size_t still_dead = nv_reclaim_settle(c, objects, dead, to_generation, ran_code);
    if (still_dead > 0) {
        NV_ASSERT(queue->items.count == 0);
        memcpy(queue->items.items, objects, still_dead * sizeof(void *));
        queue->items.count = queue->held = still_dead;
    }
}

size_t nv_reclaim_settle(neve_collector *c, void **objects, size_t n, int to_generation,
                         bool ran_code)
{
    /* Where no code ran, what was dead still is. */
    neve_status status = NEVE_OK;
    size_t still_dead = n;
    if (ran_code) {
        uint64_t before = nv_os_now_ns();
        nv_verdict verdict;
        nv_verify_finish(c);
        /* What the code took apart itself dies by its count, and does not count
         * as collected. */
        n = release_dropped(c, objects, n);
        status = nv_verify(c, objects, n, 1, true, &verdict);
        c->current.verify_ns += nv_os_now_ns() - before;
        /* Without memory to verify again nothing may be cleared: all of them go
         * back. The finalizers have run, once; nothing else is lost. */
        still_dead = status == NEVE_OK ? verdict.dead : 0;
    }
    size_t revived = n - still_dead;
    if (status != NEVE_OK)
        c->failed++;
    if ((ran_code || c->host->keeps_weakrefs) && still_dead > 0 && c->host->clear_weakrefs != NULL)
        c->host->clear_weakrefs(c->ctx, objects, still_dead, NEVE_WEAKREFS_AFTER_FINALIZERS,
                                &ran_code);
    nv_verify_finish(c);

    if (revived > 0)
        take_back(c, objects + still_dead, revived, to_generation);
    c->current.resurrected += revived;
    c->current.collected += still_dead;
    /* Last, since it may free: the revived can die right here. */
    if (revived > 0)
        c->host->release(c->ctx, objects + still_dead, revived);
    return still_dead;
}

/* Takes references on the next batch of a group that was condemned as a whole, of
 * which none has been cleared: nothing else can free them. Whatever code the host
 * runs to report them, nothing leads it to them. */
static void hold_batch(neve_collector *c, nv_queue *queue)
{
    void **items = queue->items.items + queue->held;
    size_t n = queue->items.count - queue->held;
    if (n > HOLD_BATCH)
        n = HOLD_BATCH;
    bool ran_code = false;
    c->host->retain(c->ctx, items, n);
    queue->held += n;
    if (c->host->condemn != NULL)
        c->host->condemn(c->ctx, items, n, &ran_code);
}

/* Clears the next batch and releases what is then free of other references. */
static void clear_batch(neve_collector *c, nv_queue *queue)
{
    uint32_t counts[BATCH];
    void *batch[BATCH];
    size_t n = queue->items.count - queue->at;
    if (n > BATCH)
        n = BATCH;
    if (!queue->is_light)
        n = nv_count_holders(c, queue->items.items + queue->at, n, CLEAR_REFERENCES);
    memcpy(batch, queue->items.items + queue->at, n * sizeof(void *));
    c->host->clear(c->ctx, batch, n);
    c->host->read_counts(c->ctx, batch, n, counts);
    queue->at += n;
    size_t free_now = 0;
    for (size_t i = 0; i < n; i++) {
        if (counts[i] > 1)
            queue->items.items[queue->kept++] = batch[i];
        else
            batch[free_now++] = batch[i];
    }
    c->host->release(c->ctx, batch, free_now);
}

/* What is still referred to after all passes becomes old again before it is
 * released, and those whose bits are still there afterwards live on: they are
 * referred to, or in a cycle that nothing could break. */
static void give_kept_back(neve_collector *c, void **kept, size_t n)
{
    take_back(c, kept, n, 2);
    c->host->release(c->ctx, kept, n);
    size_t alive = 0;
    for (size_t i = 0; i < n; i++)
        if (nv_state_get(c->heap, kept[i]) == NV_STATE_OLD && nv_is_tracked(c, kept[i]))
            kept[alive++] = kept[i];
    if (alive > 0 && c->host->report_uncollectable != NULL) {
        size_t counted =
            c->host->report_uncollectable(c->ctx, kept, alive, NEVE_UNCOLLECTABLE_UNCLEARED);
        c->current.uncollectable += counted;
        size_t here = counted < c->current.collected ? counted : c->current.collected;
        c->current.collected -= here;
        nv_cycle_take_back(c, counted - here);
    }
}

/* Looks at the next batch of the kept ones. Mostly one release sets others free, in
 * one order or the other: the passes change direction, so that chains in either
 * order take few of them. */
static void release_kept_batch(neve_collector *c, nv_queue *kept)
{
    void **items = kept->items.items;
    bool is_backward = kept->passes % 2 != 0;
    if (!kept->is_passing) {
        if (kept->passes >= KEPT_PASSES || (kept->passes > 0 && kept->released == 0)) {
            size_t first = kept->first, n = kept->end - first;
            kept->first = kept->end = 0;
            give_kept_back(c, items + first, n);
            return;
        }
        kept->released = 0;
        kept->read = kept->write = is_backward ? kept->end : kept->first;
        kept->is_passing = true;
    }
    for (size_t i = 0; i < BATCH; i++) {
        if (kept->read == (is_backward ? kept->first : kept->end)) {
            if (is_backward)
                kept->first = kept->write;
            else
                kept->end = kept->write;
            kept->is_passing = false;
            kept->passes++;
            return;
        }
        void *object = items[is_backward ? --kept->read : kept->read++];
        uint32_t count;
        c->host->read_counts(c->ctx, &object, 1, &count);
        if (count > 1) {
            items[is_backward ? --kept->write : kept->write++] = object;
            continue;
        }
        kept->released++;
        c->host->release(c->ctx, &object, 1);
    }
}

bool nv_reclaim_step(neve_collector *c, nv_queue *queue, size_t budget)
{
    size_t done = 0;
    for (; queue->held < queue->items.count; done += BATCH) {
        if (done >= budget)
            return false;
        hold_batch(c, queue);
    }
    for (; queue->at < queue->items.count; done += BATCH) {
        if (done >= budget)
            return false;
        clear_batch(c, queue);
        if (queue->at == queue->items.count)
            queue->end = queue->kept;
    }
    for (; queue->first < queue->end; done += BATCH) {
        if (done >= budget)
            return false;
        release_kept_batch(c, queue);
    }
    nv_vec_trim(c, &queue->items);
    *queue = (nv_queue){.items = queue->items};
    return true;
}

void nv_reclaim_drain(neve_collector *c)
{
    while (!nv_reclaim_step(c, &c->now, SIZE_MAX) || !nv_reclaim_step(c, &c->later, SIZE_MAX))
        continue;
}
