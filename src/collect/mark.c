/* SPDX-License-Identifier: MIT */
/*
 * Marking from the host's known roots, over the white tables.
 *
 * At the beginning every old and permanent object is white. An edge to a white
 * object makes it grey: its bit is cleared and it is pushed. An edge costs one
 * look at the table, by address; the referent itself is not touched unless it
 * is a white object, so strings, numbers and already marked objects cost no
 * cache miss of their own.
 *
 * The marking need not be complete: what it fails to reach (for want of a root,
 * or of memory for the stack) is verified, at a cost in time only.
 */
#include "collect_internal.h"

static void chunk_whiten(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        chunk->white[w] = chunk->state[w].hi;
    if (!chunk->is_arena)
        return;
    /* In pools of raw buffers the bits mean something else (heap/fork.c). */
    for (unsigned p = 0; p < NV_POOLS; p++)
        if (chunk->pools[p].size_class != 0 && chunk->pools[p].domain == NEVE_DOMAIN_RAW)
            memset(&chunk->white[p * NV_POOL_BITS_WORDS], 0,
                   NV_POOL_BITS_WORDS * sizeof(uint64_t));
}

static int visit_mark(void *object, void *arg)
{
    neve_collector *c = arg;
    c->mark_edges++;
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    if (chunk == NULL)
        return 0;
    unsigned granule = nv_granule(object);
    uint64_t *word = &chunk->white[granule / 64];
    uint64_t bit = (uint64_t)1 << (granule % 64);
    if ((*word & bit) == 0)
        return 0;
    *word &= ~bit;
    c->mark_fresh++;
    /* Without room it stays marked and is not traversed: see above. */
    nv_vec_push(c->heap, &c->stack, object);
    return 0;
}

void nv_mark_begin(neve_collector *c)
{
    nv_chunk_each(c->heap, chunk_whiten, NULL);
    c->heap->marking = true;
    c->mark_edges = 0;
    c->mark_object = NULL;
    c->mark_cursor = 0;
    c->marked = 0;
    c->stack.count = 0;
    c->untrackable.count = 0;
    if (c->host->visit_roots != NULL)
        c->host->visit_roots(c->ctx, visit_mark, c);
}

/* Objects wait in a short queue between stack and traversal, so that their
 * first cache line is on its way when their turn comes (Cher, Hosking and
 * Vitek, "Software Prefetching for Mark-Sweep Garbage Collection", 2004). */
#define QUEUE 8u

bool nv_mark_step(neve_collector *c, size_t budget)
{
    void *queue[QUEUE];
    unsigned first = 0, queued = 0;
    c->mark_edges = 0;
    while (c->mark_edges < budget) {
        if (c->mark_object == NULL) {
            while (queued < QUEUE && c->stack.count > 0) {
                void *object = c->stack.items[--c->stack.count];
                __builtin_prefetch(object);
                queue[(first + queued++) % QUEUE] = object;
            }
            if (queued == 0)
                return true;
            c->mark_object = queue[first];
            c->mark_cursor = 0;
            c->mark_fresh = 0;
            first = (first + 1) % QUEUE;
            queued--;
            c->marked++;
        }
        c->mark_edges++;
        c->host->traverse(c->ctx, c->mark_object, visit_mark, c, &c->mark_cursor);
        if (c->mark_cursor != 0)
            continue;
        if (c->mark_fresh == 0 && c->host->is_untrackable != NULL &&
            c->host->is_untrackable(c->ctx, c->mark_object))
            nv_vec_push(c->heap, &c->untrackable, c->mark_object);
        c->mark_object = NULL;
    }
    while (queued > 0)
        nv_vec_push(c->heap, &c->stack, queue[(first + --queued) % QUEUE]);
    return false;
}

bool nv_mark_is_white(const neve_collector *c, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(c->heap, object);
    unsigned granule = nv_granule(object);
    return chunk != NULL && (chunk->white[granule / 64] >> (granule % 64) & 1) != 0;
}

void nv_mark_blacken(neve_collector *c, const void *object)
{
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    unsigned granule = nv_granule(object);
    chunk->white[granule / 64] &= ~((uint64_t)1 << (granule % 64));
}

typedef struct suspects {
    neve_collector *c;
    nv_vec *into;
    bool failed;
} suspects;

static void chunk_suspects(nv_chunk *chunk, void *arg)
{
    suspects *s = arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS && !s->failed; w++) {
        uint64_t bits = chunk->white[w];
        if (bits == 0)
            continue;
        /* Old, and not permanent. */
        for (bits &= chunk->state[w].hi & ~chunk->state[w].lo; bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (!nv_is_tracked(s->c, object)) {
                /* It left the collector's care without being freed. */
                chunk->state[w].hi &= ~((uint64_t)1 << (granule % 64));
                continue;
            }
            if (!nv_vec_push(s->c->heap, s->into, object))
                s->failed = true;
        }
    }
}

neve_status nv_mark_suspects(neve_collector *c, nv_vec *into)
{
    suspects s = {.c = c, .into = into};
    nv_chunk_each(c->heap, chunk_suspects, &s);
    return s.failed ? NEVE_ENOMEM : NEVE_OK;
}

void nv_mark_finish(neve_collector *c)
{
    c->heap->marking = false;
    c->mark_object = NULL;
    nv_white_drop(c->heap);
    nv_vec_trim(c->heap, &c->stack);
}
