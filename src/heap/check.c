/* SPDX-License-Identifier: MIT */
/*
 * The heap checker: executable documentation of the heap's invariants.
 *
 * Walks every chunk, pool and free list and compares what each says with what
 * the others say. Reads only, allocates nothing, and trusts no pointer of a
 * free list before it has been found to be a block of that pool.
 */
#include "heap_internal.h"

#include <stdio.h>

typedef struct check {
    const neve_heap *heap;
    char *message;
    size_t size;
    bool failed;
    size_t arenas, dirty, listed_arenas;
} check;

static void fail(check *c, const void *where, const char *what)
{
    if (c->failed)
        return;
    c->failed = true;
    if (c->message != NULL && c->size > 0)
        snprintf(c->message, c->size, "%s (at %p)", what, where);
}

/* Counts a free list; marks its blocks in `seen`; stops at the first fault. */
static unsigned check_list(check *c, const nv_pool *pool, const char *base, const void *first,
                           uint64_t seen[NV_POOL_BITS_WORDS])
{
    size_t bytes = nv_pool_block_bytes(pool);
    unsigned count = 0;
    for (const char *at = first; at != NULL; at = *(const char *const *)(const void *)at) {
        uintptr_t offset = (uintptr_t)at - (uintptr_t)base;
        if (offset >= NV_POOL_BYTES || offset % bytes != 0 || offset / bytes >= pool->carved) {
            fail(c, at, "a free list leads out of the blocks of its pool");
            return count;
        }
        size_t number = offset / bytes;
        if ((seen[number / 64] >> (number % 64) & 1) != 0) {
            fail(c, at, "a block is in a free list twice");
            return count;
        }
        seen[number / 64] |= (uint64_t)1 << (number % 64);
        count++;
    }
    return count;
}

/* The pool in use in which a block lies, if it begins where a block of the pool begins. */
static const nv_pool *pool_of(const check *c, const void *block)
{
    uintptr_t entry = nv_entry_find(c->heap, block);
    if (!nv_entry_is_arena(entry) ||
        (nv_entry_chunk(entry)->free_mask >> ((uintptr_t)block >> NV_POOL_SHIFT) % NV_POOLS & 1) !=
            0)
        return NULL;
    const nv_pool *pool = nv_pool_of(block);
    size_t offset = (uintptr_t)block & (NV_POOL_BYTES - 1), bytes = nv_pool_block_bytes(pool);
    bool is_block = bytes != 0 && offset % bytes == 0 && offset / bytes < pool->carved;
    return is_block && nv_pool_number(pool) != 0 ? pool : NULL;
}

/* Before anything else: the checks of pools follow the caches' lists. */
static void check_caches(check *c)
{
    for (unsigned kind = 0; kind < NV_KINDS && !c->failed; kind++) {
        const nv_cache *cache = &c->heap->caches[kind];
        const void *at = cache->free;
        uint32_t count = 0, wanted = nv_cache_count(cache);
        for (; at != NULL && count < wanted; count++) {
            const nv_pool *pool = pool_of(c, at);
            if (pool == NULL || NV_KIND_OF(pool->domain, pool->size_class) != kind ||
                nv_pool_is_foreign_epoch(c->heap, pool)) {
                fail(c, at, "a cache leads out of the blocks of its class");
                return;
            }
            at = *(const void *const *)at;
        }
        if (at != NULL || count != wanted || cache->room < 0)
            fail(c, at, "a cache's count disagrees with its list");
    }
}

static void check_kind(check *c, const nv_pool *pool)
{
    if (!nv_is_owned(c->heap, nv_pool_base(pool)))
        return;
    unsigned kind = *nv_kind_at(c->heap, nv_pool_base(pool));
    bool has_state = (pool->tag & NV_POOL_HAS_STATE) != 0;
    bool is_mine = ((pool->tag ^ c->heap->tag) & ~NV_POOL_HAS_STATE) == 0;
    bool is_untouched =
        c->heap->tracks_touched && pool->domain == NEVE_DOMAIN_OBJECT && pool->touched == 0;
    unsigned wanted = !is_mine ? 0 : NV_KIND_OF(pool->domain, pool->size_class) << NV_KIND_SHIFT;
    if (wanted != 0 && (has_state || is_untouched))
        wanted |= NV_KIND_ASK;
    if (kind != wanted)
        fail(c, nv_pool_base(pool), "the table of kinds disagrees with a pool");
}

/* Marks the pool's blocks in its cache, or among the strays; counts them. */
static unsigned check_cached(check *c, const nv_pool *pool, uint64_t seen[NV_POOL_BITS_WORDS])
{
    uint64_t others[NV_POOL_BITS_WORDS];
    memset(others, 0xff, sizeof others);
    unsigned count = nv_pool_cached_blocks(c->heap, pool, others), found = 0;
    for (unsigned w = 0; w < NV_POOL_BITS_WORDS; w++) {
        if ((~others[w] & seen[w]) != 0)
            fail(c, nv_pool_base(pool), "a block that is cached is in another list");
        seen[w] |= ~others[w];
        found += (unsigned)__builtin_popcountll(~others[w]);
    }
    if (found != count)
        fail(c, nv_pool_base(pool), "a block is in a cache twice");
    return count;
}

static void check_pool(check *c, const nv_chunk *chunk, const nv_pool *pool)
{
    const char *base = nv_pool_base(pool);
    if (pool->chunk != chunk || pool->size_class == 0 || pool->size_class >= NV_CLASSES ||
        pool->domain >= NEVE_DOMAINS || pool->carved > pool->capacity ||
        pool->capacity > NV_POOL_BYTES / nv_pool_block_bytes(pool)) {
        fail(c, base, "a pool descriptor is damaged");
        return;
    }
    uint64_t seen[NV_POOL_BITS_WORDS] = {0};
    unsigned free_blocks = check_list(c, pool, base, pool->free, seen);
    for (unsigned w = 0; pool->held != NULL && w < nv_pool_bits_words(pool); w++) {
        if ((pool->held[w] & seen[w]) != 0)
            fail(c, base, "a block that is held back is in a free list");
        seen[w] |= pool->held[w];
        free_blocks += (unsigned)__builtin_popcountll(pool->held[w]);
    }
    unsigned cached = check_cached(c, pool, seen); /* which count as used, too */
    check_kind(c, pool);
    size_t bytes = nv_pool_block_bytes(pool);
    bool has_state = (pool->tag & NV_POOL_HAS_STATE) != 0;
    bool is_inherited = (pool->tag & NV_POOL_INHERITED) != 0;
    for (unsigned i = 0; i < pool->carved && !c->failed; i++) {
        const char *block = base + i * bytes;
        bool is_free = (seen[i / 64] >> (i % 64) & 1) != 0;
        if (is_inherited && nv_inherited_is_noted(chunk, pool, block)) {
            free_blocks++;
            continue;
        }
        /* Invariant 5: no bit names a free block. */
        for (unsigned g = 0; g < 4 && g < pool->size_class; g++) {
            if ((c->heap->object_starts >> g & 1) == 0)
                continue;
            nv_state state = nv_state_in(chunk, block + g * NEVE_GRANULE);
            if (state != NV_STATE_YOUNG && is_free)
                fail(c, block, "a state bit names a free block (invariant 5)");
            if (state != NV_STATE_YOUNG && !has_state)
                fail(c, block, "a pool's flag denies the state bits of its blocks");
        }
    }
    if (cached > pool->used)
        fail(c, base, "a pool has more cached blocks than used ones");
    if (!c->failed && free_blocks + pool->used != pool->carved)
        fail(c, base, "a pool's count of live blocks disagrees with its free list");
    bool is_mine = !nv_pool_is_foreign_epoch(c->heap, pool);
    if (is_mine && pool->place == NV_POOL_FULL && pool->free != NULL)
        fail(c, base, "a pool with free blocks is in no list");
    if (is_mine && pool->place == NV_POOL_PARTIAL && pool->free == NULL)
        fail(c, base, "a pool without free blocks is in a partial list");
    if (is_mine && pool->place == NV_POOL_CURRENT &&
        c->heap->current[pool->domain][pool->size_class] != pool)
        fail(c, base, "a pool believes to be current and is not");
}

static void check_chunk(nv_chunk *chunk, void *arg)
{
    check *c = arg;
    for (unsigned w = 0; !chunk->has_low && w < NV_CHUNK_WORDS; w++)
        if (chunk->low[w] != 0)
            fail(c, (void *)chunk->base, "low state bits are set that nobody reads");
    if (!chunk->is_arena || c->failed)
        return;
    c->arenas++;
    if ((chunk->dirty_mask & ~chunk->free_mask) != 0)
        fail(c, (void *)chunk->base, "a pool in use is marked as empty");
    if ((chunk->inherited_mask & ~chunk->dirty_mask) != 0)
        fail(c, (void *)chunk->base, "a pool without memory is marked as inherited");
    if (nv_chunk_is_listed(c->heap, chunk))
        c->dirty += (size_t)__builtin_popcountll(chunk->dirty_mask);
    uintptr_t entry = nv_entry_find(c->heap, (void *)chunk->base);
    if (nv_entry_chunk(entry) != chunk || !nv_entry_is_arena(entry))
        fail(c, (void *)chunk->base, "the table does not know an arena as such");
    for (unsigned i = 1; i < NV_POOLS && !c->failed; i++)
        if ((chunk->free_mask >> i & 1) == 0)
            check_pool(c, chunk, nv_pool_at(chunk->base, i));
}

static void check_arena_list(check *c, bool is_dirty, unsigned free_count)
{
    const nv_chunk *first = c->heap->by_free[is_dirty][free_count - 1];
    if ((first != NULL) != ((c->heap->by_free_mask[is_dirty] >> (free_count - 1) & 1) != 0))
        fail(c, NULL, "the mask of arena lists disagrees with the lists");
    for (const nv_chunk *chunk = first; chunk != NULL; chunk = chunk->next)
        if ((unsigned)__builtin_popcountll(chunk->free_mask) != free_count ||
            (chunk->dirty_mask != 0) != is_dirty)
            fail(c, (void *)chunk->base, "an arena is in the wrong list");
}

static void check_lists(check *c)
{
    for (unsigned n = 1; n <= NV_ARENA_POOLS && !c->failed; n++) {
        check_arena_list(c, false, n);
        check_arena_list(c, true, n);
    }
    for (unsigned d = 0; d < NEVE_DOMAINS; d++)
        for (unsigned s = 0; s < NV_CLASSES; s++)
            for (const nv_pool *pool = c->heap->partial_first[d][s]; pool != NULL && !c->failed;
                 pool = pool->next)
                if (pool->domain != d || pool->size_class != s || pool->place != NV_POOL_PARTIAL)
                    fail(c, pool, "a pool is in the wrong partial list");
}

typedef struct check_large_blocks {
    check *c;
    size_t count, bytes;
} check_large_blocks;

static void check_entry(const nv_large *entry, void *arg)
{
    check_large_blocks *l = arg;
    const neve_heap *heap = l->c->heap;
    l->count++;
    l->bytes += entry->size;
    if (nv_large_find(heap, entry->block) != entry)
        fail(l->c, entry->block, "a large block cannot be found in its registry");
    if (entry->young != 0 && (entry->young > heap->young_large_count ||
                              heap->young_large[entry->young - 1] != entry->block))
        fail(l->c, entry->block, "a large block disagrees with the list of young ones");
    if (nv_large_usable_size(heap, entry) < entry->size)
        fail(l->c, entry->block, "the large allocator gave less than was asked for");
}

static void check_large(check *c)
{
    check_large_blocks l = {.c = c};
    nv_large_each(c->heap, check_entry, &l);
    if (l.count != c->heap->large_count || l.bytes != c->heap->large_bytes)
        fail(c, NULL, "the counts of large blocks are wrong");
}

neve_status neve_heap_check(const neve_heap *heap, char *message, size_t message_size)
{
    check c = {.heap = heap, .message = message, .size = message_size};
    if (message != NULL && message_size > 0)
        message[0] = '\0';
    check_caches(&c);
    nv_chunk_each(heap, check_chunk, &c);
    if (!c.failed && c.dirty != heap->dirty_pools)
        fail(&c, NULL, "the count of empty pools is wrong");
    check_lists(&c);
    check_large(&c);
    return c.failed ? NEVE_ECORRUPT : NEVE_OK;
}
