/* SPDX-License-Identifier: MIT */
/*
 * The nominators: which objects a collection verifies.
 *
 *   generation  all objects of the young, or the young and middle generations
 *   full        all objects, less what a marking from the host's roots reached
 *
 * A nominator has to be complete (what is garbage when it begins is nominated)
 * and may otherwise be as sloppy as it likes: verification decides.
 *
 * Young objects are not in any list here. A host that keeps its own lists
 * gathers them; for the others every live block of NEVE_DOMAIN_OBJECT is an
 * object, and the young ones are those without state bits in the pools that
 * allocation has drawn from since the last collection.
 */
#include "collect_internal.h"

#include "platform/os.h"

/* ---- vectors ---- */

bool nv_vec_reserve(neve_heap *heap, nv_vec *vec, size_t capacity)
{
    if (capacity <= vec->capacity)
        return true;
    size_t bytes = vec->capacity == 0 ? 4096 : vec->capacity * sizeof(void *);
    while (bytes < capacity * sizeof(void *))
        bytes *= 2;
    void **grown = vec->items == NULL
                       ? nv_heap_map(heap, bytes)
                       : nv_heap_remap(heap, vec->items, vec->capacity * sizeof(void *), bytes);
    if (grown == NULL)
        return false;
    vec->items = grown;
    vec->capacity = bytes / sizeof(void *);
    return true;
}

void nv_vec_destroy(neve_heap *heap, nv_vec *vec)
{
    nv_heap_unmap(heap, vec->items, vec->capacity * sizeof(void *));
    *vec = (nv_vec){0};
}

void nv_vec_trim(neve_heap *heap, nv_vec *vec)
{
    vec->count = 0;
    if (vec->capacity * sizeof(void *) > NV_VEC_KEEP_BYTES)
        nv_vec_destroy(heap, vec);
}

/* ---- gathering ---- */

bool nv_is_tracked(const neve_collector *c, void *object)
{
    return c->host->is_tracked == NULL || c->host->is_tracked(c->ctx, object);
}

bool neve_gather_add(neve_gather *into, void *object)
{
    if (!nv_vec_push(into->collector->heap, into->into, object))
        into->failed = true;
    return !into->failed;
}

/* Adds the blocks of `pool` that are objects of `state`. */
static bool gather_pool(neve_collector *c, const nv_pool *pool, nv_state state, nv_vec *into)
{
    uint64_t live[NV_POOL_BITS_WORDS];
    nv_pool_live_blocks(pool, live);
    char *base = nv_pool_base(pool);
    size_t bytes = nv_pool_block_bytes(pool);
    for (unsigned w = 0; w < NV_POOL_BITS_WORDS && w * 64 < pool->carved; w++)
        for (uint64_t bits = live[w]; bits != 0; bits &= bits - 1) {
            void *object = base + (w * 64 + (unsigned)__builtin_ctzll(bits)) * bytes;
            if (nv_state_in(pool->chunk, object) == state && nv_is_tracked(c, object) &&
                !nv_vec_push(c->heap, into, object))
                return false;
        }
    return true;
}

static bool gather_touched(neve_collector *c, nv_vec *into)
{
    for (const nv_pool *pool = c->heap->touched; pool != NULL; pool = pool->next_touched)
        if (pool->used != 0 && pool->domain == NEVE_DOMAIN_OBJECT &&
            !gather_pool(c, pool, NV_STATE_YOUNG, into))
            return false;
    for (size_t i = 0; i < c->heap->young_large_count; i++) {
        void *object = c->heap->young_large[i];
        if (object != NULL && nv_state_get(c->heap, object) == NV_STATE_YOUNG &&
            nv_is_tracked(c, object) && !nv_vec_push(c->heap, into, object))
            return false;
    }
    return true;
}

typedef struct gather_middle {
    neve_collector *c;
    nv_vec *into;
    bool failed;
} gather_middle;

static void gather_middle_chunk(nv_chunk *chunk, void *arg)
{
    gather_middle *g = arg;
    if (!chunk->has_middle)
        return;
    for (unsigned w = 0; w < NV_CHUNK_WORDS && !g->failed; w++)
        for (uint64_t bits = chunk->state[w].lo & ~chunk->state[w].hi; bits != 0;
             bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (nv_is_tracked(g->c, object) && !nv_vec_push(g->c->heap, g->into, object))
                g->failed = true;
        }
}

neve_status nv_gather(neve_collector *c, int generation, nv_vec *into)
{
    if (c->host->gather != NULL) {
        neve_gather gather = {.collector = c, .into = into};
        c->host->gather(c->ctx, generation, &gather);
        return gather.failed ? NEVE_ENOMEM : NEVE_OK;
    }
    if (!gather_touched(c, into))
        return NEVE_ENOMEM;
    if (generation > 0) {
        gather_middle g = {.c = c, .into = into};
        nv_chunk_each(c->heap, gather_middle_chunk, &g);
        if (g.failed)
            return NEVE_ENOMEM;
    }
    return NEVE_OK;
}

static void forget_middle(nv_chunk *chunk, void *arg)
{
    (void)arg;
    if (chunk->has_middle)
        chunk->has_middle = false;
}

/* A large block lies outside the arenas; without memory for a table there, its
 * object could not be given a generation, and is nominated again as young. */
static bool is_young(void *block, void *arg)
{
    return nv_state_get(arg, block) == NV_STATE_YOUNG;
}

void nv_touched_reset(neve_collector *c, int generation)
{
    neve_heap *heap = c->heap;
    if (!heap->tracks_touched)
        return;
    while (heap->touched != NULL) {
        nv_pool *pool = heap->touched;
        heap->touched = pool->next_touched;
        pool->next_touched = NULL;
        pool->is_touched = false;
    }
    /* Allocation goes on in the current pools without telling anybody. */
    for (unsigned size_class = 1; size_class < NV_CLASSES; size_class++) {
        nv_pool *pool = heap->current[NEVE_DOMAIN_OBJECT][size_class];
        if (pool == &heap->none)
            continue;
        pool->is_touched = true;
        pool->next_touched = heap->touched;
        heap->touched = pool;
    }
    nv_large_take_young(heap, is_young, heap);
    if (generation > 0)
        nv_chunk_each(heap, forget_middle, NULL);
}

bool nv_states_set(neve_collector *c, void *const *objects, size_t n, nv_state state)
{
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all &= nv_state_set(c->heap, objects[i], state);
    return all;
}

size_t nv_promote(neve_collector *c, void **objects, size_t n, int generation)
{
    /* Where the host keeps the middle generation, its objects have no bits. */
    bool has_bits = generation >= 2 || c->host->gather == NULL;
    nv_state state = generation >= 2 ? NV_STATE_OLD : NV_STATE_MIDDLE;
    size_t moved = has_bits ? 0 : n;
    for (size_t i = 0; has_bits && i < n; i++) {
        void *object = objects[i];
        if (!nv_state_set(c->heap, object, state))
            continue;
        objects[i] = objects[moved];
        objects[moved++] = object;
    }
    if (c->host->promote != NULL) {
        c->host->promote(c->ctx, objects, moved, generation);
        if (moved < n)
            c->host->promote(c->ctx, objects + moved, n - moved, 1);
    }
    return moved;
}

typedef struct state_counts {
    size_t old, frozen;
} state_counts;

static void count_chunk(nv_chunk *chunk, void *arg)
{
    state_counts *counts = arg;
    size_t high = 0, both = 0;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uint64_t hi = chunk->state[w].hi;
        if (hi == 0)
            continue;
        high += (size_t)__builtin_popcountll(hi);
        both += (size_t)__builtin_popcountll(hi & chunk->state[w].lo);
    }
    /* In pools of raw buffers the bits mean something else (heap/fork.c). */
    if (chunk->is_arena && high != 0) {
        for (unsigned p = 0; p < NV_POOLS; p++) {
            const nv_pool *pool = &chunk->pools[p];
            if (pool->size_class == 0 || pool->domain != NEVE_DOMAIN_RAW)
                continue;
            for (unsigned w = p * NV_POOL_BITS_WORDS; w < (p + 1) * NV_POOL_BITS_WORDS; w++)
                high -= (size_t)__builtin_popcountll(chunk->state[w].hi);
        }
    }
    counts->old += high - both;
    counts->frozen += both;
}

void nv_count_states(const neve_heap *heap, size_t *old, size_t *frozen)
{
    state_counts counts = {0};
    nv_chunk_each(heap, count_chunk, &counts);
    *old = counts.old;
    *frozen = counts.frozen;
}

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
    neve_status status = nv_gather(c, 1, &c->young);
    if (status != NEVE_OK)
        return status;
    /* Everything is old from here on: garbage hangs together across
     * generations, and survivors stay where they are. What could not get old
     * waits for the next collection. */
    c->young.count = nv_promote(c, c->young.items, c->young.count, 2);
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
