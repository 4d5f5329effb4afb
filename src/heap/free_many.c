/* SPDX-License-Identifier: MIT */
/*
 * Freeing many blocks at once: garbage, mostly, which a collector lists in the order of
 * addresses. Where all live blocks of a pool are among them, nothing is written to the
 * blocks and their bits go word by word; the pool is as if nothing had ever been carved
 * from it. A block in a cache counts as live, so none of such a pool is in one.
 *
 * Called by the object model.
 */
#include "heap_internal.h"

/* How many of the blocks, from the first on, lie in the same place of an arena. */
static size_t run_length(void *const *blocks, size_t n)
{
    uintptr_t place = (uintptr_t)blocks[0] >> NV_POOL_SHIFT;
    size_t run = 1;
    while (run < n && (uintptr_t)blocks[run] >> NV_POOL_SHIFT == place)
        run++;
    return run;
}

/* Invariant 5, for all blocks of a pool. */
static void clear_bits(neve_heap *heap, const nv_pool *pool)
{
    nv_chunk *chunk = pool->chunk;
    unsigned first = nv_pool_number(pool) * (unsigned)NV_POOL_BITS_WORDS;
    for (unsigned w = first; w < first + NV_POOL_BITS_WORDS; w++)
        nv_bits_clear_word(heap, chunk, w, UINT64_MAX);
}

static void free_pool(neve_heap *heap, nv_pool *pool, void *block)
{
    if ((pool->tag & NV_POOL_HAS_STATE) != 0)
        clear_bits(heap, pool);
    if (pool->place == NV_POOL_CURRENT) {
        /* Allocation goes on here, from its beginning. */
        pool->free = NULL;
        pool->used = pool->carved = 0;
        return;
    }
    /* As if all but this one were free already. */
    pool->used = 1;
    nv_pool_take_home(heap, block);
}

void nv_free_many(neve_heap *heap, void *const *blocks, size_t n)
{
    for (size_t i = 0, run; i < n; i += run) {
        run = 1;
        if (nv_is_owned(heap, blocks[i])) {
            nv_pool *pool = nv_pool_of(blocks[i]);
            run = run_length(blocks + i, n - i);
            if (run == pool->used && nv_pool_is_own(heap, pool)) {
                free_pool(heap, pool, blocks[i]);
                continue;
            }
        }
        for (size_t k = i; k < i + run; k++)
            neve_heap_free(heap, blocks[k]);
    }
}
