/* SPDX-License-Identifier: MIT */
/*
 * Which objects there are, of which generation: gathering the young, setting
 * and counting states, walking the old.
 *
 * Young objects are in no list here. A host that keeps its own lists gathers
 * them; for the others every live block of NEVE_DOMAIN_OBJECT is an object, and
 * the young ones are those without state bits in the pools that allocation has
 * drawn from since the last collection.
 */
#include "collect_internal.h"

/* ---- the young and middle generations ---- */

bool nv_is_tracked(const neve_collector *c, void *object)
{
    return c->host->is_tracked == NULL || c->host->is_tracked(c->ctx, object);
}

bool neve_gather_add(neve_gather *into, void *object)
{
    NV_ASSERT((uintptr_t)object % NEVE_GRANULE == 0 && "objects begin at a granule");
    if (into->into->count >= into->collector->gather_limit) {
        into->collector->is_partial = true;
        return false;
    }
    if (!nv_vec_push(into->collector->heap, into->into, object))
        into->failed = true;
    return !into->failed;
}

void neve_gather_young(neve_gather *into)
{
    into->collector->middle_begin = 0;
    into->collector->middle_end = into->into->count;
}

/* Adds the blocks of `pool` that are objects of `state`. */
static bool gather_pool(neve_collector *c, const nv_pool *pool, nv_state state, nv_vec *into)
{
    uint64_t live[NV_POOL_BITS_WORDS];
    nv_pool_live_blocks(c->heap, pool, live);
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

/* Takes whole pools until there are enough objects. What is left then stays in
 * the list of touched pools. */
static bool gather_touched(neve_collector *c, nv_vec *into)
{
    for (size_t i = 0; i < c->heap->touched_count; i++) {
        if (into->count >= c->gather_limit) {
            c->is_partial = true;
            c->gathered_pools = i;
            return true;
        }
        if (!gather_pool(c, c->heap->touched[i], NV_STATE_YOUNG, into))
            return false;
    }
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
        for (uint64_t bits = chunk->low[w] & ~chunk->high[w]; bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (nv_is_tracked(g->c, object) && !nv_vec_push(g->c->heap, g->into, object))
                g->failed = true;
        }
}

neve_status nv_gather(neve_collector *c, int generation, nv_vec *into)
{
    c->is_partial = false;
    c->middle_begin = c->middle_end = 0;
    if (c->host->gather != NULL) {
        neve_gather gather = {.collector = c, .into = into};
        c->host->gather(c->ctx, generation, &gather);
        return gather.failed ? NEVE_ENOMEM : NEVE_OK;
    }
    if (!gather_touched(c, into))
        return NEVE_ENOMEM;
    if (generation > 0 && !c->is_partial) {
        size_t first = into->count;
        gather_middle g = {.c = c, .into = into};
        nv_chunk_each(c->heap, gather_middle_chunk, &g);
        if (g.failed)
            return NEVE_ENOMEM;
        c->middle_begin = first;
        c->middle_end = into->count;
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

static void touched_put(neve_heap *heap, size_t at, nv_pool *pool)
{
    heap->touched[at] = pool;
    pool->touched = (uint32_t)at + 1;
}

/* The first `gathered` pools leave the list. Allocation goes on in the current ones without
 * telling anybody: those stay. */
static void let_go(neve_heap *heap, size_t gathered)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->touched_count; i++) {
        nv_pool *pool = heap->touched[i], *other = heap->touched[kept];
        if (i < gathered && pool != heap->current[NEVE_DOMAIN_OBJECT][pool->size_class])
            continue;
        touched_put(heap, i, other);
        touched_put(heap, kept++, pool);
    }
    /* With blocks of the pools that go. Those that become empty leave the list at once, and
     * the last in it takes their place: one that goes, while there is one. */
    nv_cache_flush_domain(heap, NEVE_DOMAIN_OBJECT);
    while (heap->touched_count > kept)
        nv_touched_clear(heap, heap->touched[--heap->touched_count]);
}

void nv_touched_take(neve_collector *c, int generation)
{
    if (c->is_partial && c->heap->tracks_touched)
        let_go(c->heap, c->gathered_pools);
    else
        nv_touched_reset(c, generation);
}

void nv_touched_reset(neve_collector *c, int generation)
{
    neve_heap *heap = c->heap;
    if (!heap->tracks_touched)
        return;
    let_go(heap, heap->touched_count);
    nv_large_take_young(heap, is_young, heap);
    if (generation > 0)
        nv_chunk_each(heap, forget_middle, NULL);
}

size_t nv_promote(neve_collector *c, void **objects, size_t n, int generation)
{
    /* Where the host keeps the middle generation, its objects have no bits. */
    bool has_bits = generation >= 2 || c->host->gather == NULL;
    nv_state state = generation >= 2 ? NV_STATE_OLD : NV_STATE_MIDDLE;
    size_t moved = has_bits ? 0 : n;
    nv_chunk *chunk = NULL; /* objects of one age are neighbours, mostly */
    for (size_t i = 0; has_bits && i < n; i++) {
        void *object = objects[i];
        if (chunk == NULL || (uintptr_t)object - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_ensure(c->heap, object);
        if (chunk == NULL)
            continue;
        nv_state_set_in(c->heap, chunk, object, state);
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

/* The first granules of all blocks of a full pool, word by word; of the class of the last call. */
typedef struct pool_pattern {
    unsigned size_class; /* 0: none */
    uint64_t bits[NV_POOL_BITS_WORDS];
} pool_pattern;

static void pattern_of(pool_pattern *pattern, const nv_pool *pool)
{
    if (pattern->size_class == pool->size_class)
        return;
    *pattern = (pool_pattern){.size_class = pool->size_class};
    for (unsigned i = 0; i < pool->capacity; i++) {
        unsigned granule = i * pool->size_class;
        pattern->bits[granule / 64] |= nv_bit(granule);
    }
}

/* The same of those that are live. */
static void live_pattern(const neve_heap *heap, const nv_pool *pool,
                         uint64_t bits[NV_POOL_BITS_WORDS])
{
    uint64_t live[NV_POOL_BITS_WORDS];
    nv_pool_live_blocks(heap, pool, live);
    memset(bits, 0, NV_POOL_BITS_WORDS * sizeof *bits);
    for (unsigned w = 0; w < nv_pool_bits_words(pool); w++)
        for (uint64_t left = live[w]; left != 0; left &= left - 1) {
            unsigned granule = (w * 64 + (unsigned)__builtin_ctzll(left)) * pool->size_class;
            bits[granule / 64] |= nv_bit(granule);
        }
}

/* The young objects of a pool become old. No block is in a cache. */
static void promote_pool(neve_heap *heap, nv_pool *pool, pool_pattern *full)
{
    uint64_t live[NV_POOL_BITS_WORDS];
    const uint64_t *blocks = live;
    if (pool->used == pool->capacity && nv_pool_is_own(heap, pool)) {
        pattern_of(full, pool);
        blocks = full->bits;
    } else {
        live_pattern(heap, pool, live);
    }
    unsigned first = nv_granule(nv_pool_base(pool)) / 64;
    nv_chunk *chunk = pool->chunk;
    size_t promoted = 0;
    for (unsigned w = 0; w < NV_POOL_BITS_WORDS; w++) {
        uint64_t young = blocks[w] & ~(chunk->high[first + w] | nv_low_bits(chunk, first + w));
        if (young == 0)
            continue;
        chunk->high[first + w] |= young;
        promoted += (size_t)__builtin_popcountll(young);
    }
    heap->old_objects += promoted;
    if (promoted > 0 && (pool->tag & NV_POOL_HAS_STATE) == 0) {
        pool->tag |= NV_POOL_HAS_STATE;
        nv_kind_update(heap, pool);
    }
}

static void promote_middle(nv_chunk *chunk, void *arg)
{
    neve_heap *heap = arg;
    if (!chunk->has_middle)
        return;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uint64_t middle = chunk->low[w] & ~chunk->high[w];
        if (middle == 0 || !nv_holds_objects(chunk, w))
            continue;
        chunk->low[w] &= ~middle;
        chunk->high[w] |= middle;
        heap->old_objects += (size_t)__builtin_popcountll(middle);
    }
}

void nv_promote_unseen(neve_collector *c)
{
    neve_heap *heap = c->heap;
    pool_pattern full = {0};
    nv_cache_flush_domain(heap, NEVE_DOMAIN_OBJECT);
    for (size_t i = 0; i < heap->touched_count; i++)
        promote_pool(heap, heap->touched[i], &full);
    for (size_t i = 0; i < heap->young_large_count; i++) {
        void *object = heap->young_large[i];
        /* Without memory for a table it stays young, and in the list. */
        if (object != NULL && nv_state_get(heap, object) == NV_STATE_YOUNG)
            (void)nv_state_set(heap, object, NV_STATE_OLD);
    }
    nv_chunk_each(heap, promote_middle, heap);
}

typedef struct state_counts {
    size_t old, frozen;
} state_counts;

static void count_chunk(nv_chunk *chunk, void *arg)
{
    state_counts *counts = arg;
    size_t high = 0, both = 0;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uint64_t hi = chunk->high[w];
        if (hi == 0 || !nv_holds_objects(chunk, w))
            continue;
        high += (size_t)__builtin_popcountll(hi);
        both += (size_t)__builtin_popcountll(nv_frozen_bits(chunk, w));
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

/* ---- the old and permanent generations ---- */

bool nv_holds_objects(const nv_chunk *chunk, unsigned word)
{
    if (!chunk->is_arena)
        return true;
    const nv_pool *pool = nv_pool_at(chunk->base, word / (unsigned)NV_POOL_BITS_WORDS);
    return pool->size_class != 0 && pool->domain != NEVE_DOMAIN_RAW;
}

static void forget_chunk(nv_chunk *chunk, void *arg)
{
    neve_heap *heap = arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if ((chunk->high[w] | nv_low_bits(chunk, w)) != 0 && nv_holds_objects(chunk, w)) {
            heap->old_objects -= (size_t)__builtin_popcountll(chunk->high[w]);
            chunk->high[w] = 0;
            if (chunk->has_low)
                chunk->low[w] = 0;
        }
    chunk->has_middle = false;
}

size_t neve_collector_frozen_count(const neve_collector *c)
{
    size_t old, frozen;
    nv_count_states(c->heap, &old, &frozen);
    return frozen;
}

int neve_collector_generation_of(const neve_collector *c, const void *object)
{
    return (int)nv_state_get(c->heap, object);
}

typedef struct walk {
    const neve_collector *c;
    nv_state state;
    neve_visit_fn visit;
    void *arg;
    int result;
} walk;

static void walk_chunk(nv_chunk *chunk, void *arg)
{
    walk *w = arg;
    for (unsigned i = 0; i < NV_CHUNK_WORDS && w->result == 0; i++) {
        uint64_t bits =
            w->state == NV_STATE_FROZEN ? nv_frozen_bits(chunk, i) : nv_old_bits(chunk, i);
        if (bits == 0 || !nv_holds_objects(chunk, i))
            continue;
        for (; bits != 0 && w->result == 0; bits &= bits - 1) {
            unsigned granule = i * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (nv_is_tracked(w->c, object))
                w->result = w->visit(object, w->arg);
        }
    }
}

int neve_collector_walk(const neve_collector *c, int generation, neve_visit_fn visit, void *arg)
{
    walk w = {.c = c,
              .state = generation == 3 ? NV_STATE_FROZEN : NV_STATE_OLD,
              .visit = visit,
              .arg = arg};
    nv_chunk_each(c->heap, walk_chunk, &w);
    return w.result;
}

neve_status neve_collector_adopt(neve_collector *c, void *object, int generation)
{
    NV_ASSERT((uintptr_t)object % NEVE_GRANULE == 0 && "objects begin at a granule");
    return nv_state_set(c->heap, object, generation == 3 ? NV_STATE_FROZEN : NV_STATE_OLD)
               ? NEVE_OK
               : NEVE_ENOMEM;
}

/* It is no suspect from now on, nor to be traversed: it may be freed before the marking comes to
 * it, and what has no state bits is not looked for in the tables of marks then. */
static __attribute__((noinline)) void forget_known(neve_collector *c, const void *object)
{
    unsigned granule = nv_granule(object);
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    nv_bits_clear_word(c->heap, chunk, granule / 64, nv_bit(granule));
}

/* Most were young all along, of which nothing is known here (nor are they white): they
 * cost no frame. */
void neve_collector_forget(neve_collector *c, void *object)
{
    if (nv_state_get(c->heap, object) != NV_STATE_YOUNG)
        forget_known(c, object);
}

void neve_collector_forget_all(neve_collector *c)
{
    if (!c->is_collecting)
        nv_cycle_abandon(c); /* it goes by what is forgotten */
    nv_chunk_each(c->heap, forget_chunk, c->heap);
}
