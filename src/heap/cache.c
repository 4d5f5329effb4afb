/* SPDX-License-Identifier: MIT */
/*
 * Caches: for each domain and size class the blocks that were freed last, which are
 * allocated first. They are the ones that the processor still holds, and neither
 * their pool's descriptor nor its free list, whose blocks were freed long ago, has to be
 * read for them.
 *
 * For its pool a block in a cache is live, so it keeps the pool from becoming
 * empty. What a cache may hold is therefore bounded, and the bound follows the program:
 *   - an empty cache that is asked doubles its limit, up to MOST_BLOCKS;
 *   - one that is full keeps the half that was freed last, and the rest goes home;
 *     if it has not been empty since it was last full, more is freed than is
 *     allocated, and its limit is halved, too;
 *   - at a limit of 0 every block goes home at once. So a program that frees all that
 *     it has leaves no block in a cache that kept up.
 * Beside its limit a cache has room for as many blocks as the last pool that filled it gave
 * up. Once a second, when a collection ends, all blocks go home; so they do when memory is asked back.
 *
 * Those who look at pools (heap/check.c, the collector's gathering) ask
 * nv_pool_cached_blocks what is free there all the same. A fork makes strays of cached
 * blocks (heap/fork.c).
 */
#include "heap_internal.h"

/* Random replacement among live blocks moves a cache's level up and down: with 32 blocks
 * one in some twenty goes through its pool. */
#define MOST_BLOCKS 32u
#define FIRST_BLOCKS 4u

#define FLUSH_NS UINT64_C(1000000000)

void nv_cache_fill(neve_heap *heap, unsigned kind, void *first, unsigned count)
{
    nv_cache_pace *pace = &heap->paces[kind];
    unsigned limit = pace->limit == 0 ? FIRST_BLOCKS : pace->limit * 2u;
    if (limit > MOST_BLOCKS)
        limit = MOST_BLOCKS;
    pace->limit = (uint8_t)limit;
    pace->has_spilled = false;
    heap->caches[kind] =
        (nv_cache){.free = first, .room = (int32_t)limit, .limit = (int32_t)(count + limit)};
}

/* Keeps the first `keep` blocks of the cache. The others go back to their pools, and the
 * limit becomes that of the pace. */
static void shrink(neve_heap *heap, unsigned kind, unsigned keep)
{
    nv_cache *cache = &heap->caches[kind];
    void **link = &cache->free;
    unsigned kept = 0;
    for (; kept < keep && *link != NULL; kept++)
        link = *link;
    void *block = *link;
    *link = NULL;
    cache->limit = heap->paces[kind].limit;
    cache->room = cache->limit - (int32_t)kept;
    while (block != NULL) {
        void *next = *(void **)block;
        nv_pool_take_home(heap, block);
        block = next;
    }
}

__attribute__((noinline)) void nv_cache_spill(neve_heap *heap, unsigned kind, void *block)
{
    nv_cache *cache = &heap->caches[kind];
    nv_cache_pace *pace = &heap->paces[kind];
    if (pace->has_spilled)
        pace->limit /= 2;
    pace->has_spilled = true;
    shrink(heap, kind, pace->limit / 2u);
    if (pace->limit == 0) {
        nv_pool_take_home(heap, block);
        return;
    }
    *(void **)block = cache->free;
    cache->free = block;
    cache->room--;
}

void nv_cache_flush_domain(neve_heap *heap, neve_domain domain)
{
    for (unsigned kind = NV_KIND_OF(domain, 1); kind < NV_KIND_OF(domain + 1, 1); kind++)
        if (heap->caches[kind].free != NULL)
            shrink(heap, kind, 0);
}

void nv_cache_flush(neve_heap *heap)
{
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        nv_cache_flush_domain(heap, (neve_domain)domain);
}

void nv_cache_tick(neve_heap *heap, uint64_t now_ns)
{
    if (now_ns - heap->flushed_ns < FLUSH_NS)
        return;
    heap->flushed_ns = now_ns;
    nv_cache_flush(heap);
}

/* Whether the block lies in the pool at `base`; its bit is cleared. */
static bool take_out(const nv_pool *pool, const char *base, uintptr_t block, uint64_t *bits)
{
    size_t offset = block - (uintptr_t)base;
    if (offset >= NV_POOL_BYTES)
        return false;
    unsigned number = nv_block_number(offset, nv_block_inverse(nv_pool_block_bytes(pool)));
    if (bits != NULL)
        bits[number / 64] &= ~((uint64_t)1 << (number % 64));
    return true;
}

unsigned nv_pool_cached_blocks(const neve_heap *heap, const nv_pool *pool,
                               uint64_t bits[NV_POOL_BITS_WORDS])
{
    const char *base = nv_pool_base(pool);
    unsigned count = 0;
    if (nv_pool_is_foreign_epoch(heap, pool)) {
        for (size_t i = nv_stray_find(heap, (uintptr_t)base);
             i < heap->stray_count && heap->strays[i] < (uintptr_t)base + NV_POOL_BYTES; i++)
            count += (heap->strays[i] & 1) == 0 && take_out(pool, base, heap->strays[i], bits);
        return count;
    }
    const nv_cache *cache = &heap->caches[NV_KIND_OF(pool->domain, pool->size_class)];
    for (const void *at = cache->free; at != NULL; at = *(void *const *)at)
        count += take_out(pool, base, (uintptr_t)at, bits);
    return count;
}
