/* SPDX-License-Identifier: MIT */
/*
 * What the child of a fork does differently (invariant 8): it writes to an
 * inherited OS page only where the program itself has just written.
 *
 * neve_heap_after_fork_child only starts a new epoch and empties the lists, at
 * a cost that does not grow with the heap. Every pool of an earlier epoch thus
 * differs in its tag; the first free in it adopts it:
 *   - its free blocks are held back: they may lie on pages nobody has written;
 *   - a counted object that is freed has just dirtied its page by its count,
 *     so its block goes to the pool's (now child-local) free list;
 *   - a raw buffer is noted in the state table, whose bits no object uses
 *     there, and its block is not written;
 *   - a pool that becomes empty goes back to its arena, memory and all.
 */
#include "heap_internal.h"

void neve_heap_after_fork_child(neve_heap *heap)
{
    heap->tag += NV_EPOCH_UNIT;
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        for (unsigned size_class = 0; size_class < NV_CLASSES; size_class++) {
            heap->current[domain][size_class] = &heap->none;
            heap->partial_first[domain][size_class] = NULL;
            heap->partial_last[domain][size_class] = NULL;
        }
    memset(heap->by_free, 0, sizeof heap->by_free);
    heap->by_free_mask = 0;
    heap->used_pools = 0;
    heap->dirty_pools = 0;
    heap->swing_pools = heap->low_dirty = heap->high_dirty = heap->recent_pools = 0;
}

void nv_pool_adopt(neve_heap *heap, nv_pool *pool)
{
    if (pool->free != NULL) {
        unsigned list = 0;
        while (list < NV_HELD_LISTS - 1 && pool->held[list] != 0)
            list++;
        if (pool->held[list] != 0) {
            /* More forks inside forks than there are lists: one write joins two. */
            void *last = pool->free;
            while (*(void **)last != NULL)
                last = *(void **)last;
            *(void **)last = nv_pool_held(pool, list);
        }
        size_t offset = (size_t)((char *)pool->free - nv_pool_base(pool));
        pool->held[list] = (uint16_t)(offset / NEVE_GRANULE + 1);
    }
    pool->free = NULL;
    pool->next = pool->prev = NULL;
    pool->place = NV_POOL_FULL;
    pool->capacity = pool->carved; /* what was never touched stays so */
    pool->tag = (heap->tag & ~NV_POOL_FLAGS) | NV_POOL_INHERITED | (pool->tag & NV_POOL_HAS_STATE);
}

void nv_inherited_free_raw(neve_heap *heap, nv_chunk *chunk, nv_pool *pool, void *block)
{
    unsigned granule = nv_granule(block);
    uint64_t bit = (uint64_t)1 << (granule % 64);
    if ((chunk->state[granule / 64].hi & bit) != 0) {
        nv_corrupt(heap, "freed a block twice");
        return;
    }
    chunk->state[granule / 64].hi |= bit;
    if (--pool->used == 0) {
        nv_inherited_forget(chunk, pool);
        nv_pool_release(heap, pool);
    }
}

bool nv_inherited_is_noted(const nv_chunk *chunk, const nv_pool *pool, const void *block)
{
    return pool->domain == NEVE_DOMAIN_RAW && nv_state_in(chunk, block) != NV_STATE_YOUNG;
}

void nv_inherited_forget(nv_chunk *chunk, const nv_pool *pool)
{
    const size_t words = NV_POOL_BYTES / NEVE_GRANULE / 64;
    size_t first = (size_t)nv_pool_number(pool) * words;
    memset(&chunk->state[first], 0, words * sizeof(nv_state_word));
}
