/* SPDX-License-Identifier: MIT */
/*
 * What the child of a fork does differently (invariant 8): it writes to an
 * inherited OS page only where the program itself has just written.
 *
 * Before the fork, neve_heap_before_fork gives empty memory back and has what is
 * still to be allocated fill the pools with the fewest holes.
 *
 * neve_heap_after_fork_child only starts a new epoch and empties the lists, at
 * a cost that does not grow with the heap. Every pool of an earlier epoch thus
 * differs in its tag; the first free in it adopts it:
 *   - its free blocks are held back, by bits of their own, for they may lie on
 *     pages that nobody has written;
 *   - a counted object that is freed has just dirtied its page by its count,
 *     so its block goes to the pool's (now child-local) free list, and with it
 *     the held blocks of that page;
 *   - a raw buffer is noted in the state table, whose bits no object uses
 *     there, as are the blocks of its pool that were free before, and its block
 *     is not written;
 *   - blocks that were in the heap's caches are *strays*: free, though their pools
 *     count them as used. Their addresses are copied at the fork, so that neither they
 *     nor descriptors are written then, and they are held back, or noted, with the rest;
 *   - a pool that becomes empty goes back to its arena, which has its memory
 *     replaced by fresh pages before it is used again (arena.c).
 *
 * Its own first blocks share pools, a larger class lending to smaller ones (pool.c): a
 * worker that holds little holds few pages.
 *
 * So free blocks are lost to a child only on pages where it frees nothing. A
 * chain of processes, each the child of the last, does not grow for that: a
 * page on which nothing dies holds what the program keeps.
 *
 * The bits of held blocks lie in small mappings beside all else. Without memory
 * for them a pool of objects keeps its free list, and pages are copied as it is
 * used.
 */
#include "heap_internal.h"

#include "platform/os.h"

/* ---- bits of held blocks ---- */

static unsigned held_size_class(const nv_pool *pool)
{
    unsigned size_class = 0;
    while ((1u << size_class) < nv_pool_bits_words(pool))
        size_class++;
    return size_class;
}

/* Zeroed words for the pool's bits; NULL without memory. */
static uint64_t *held_alloc(neve_heap *heap, const nv_pool *pool)
{
    unsigned size_class = held_size_class(pool);
    size_t words = (size_t)1 << size_class;
    uint64_t *bits = heap->held_unused[size_class];
    if (bits != NULL) {
        heap->held_unused[size_class] = (uint64_t *)(uintptr_t)bits[0]; /* the link */
        memset(bits, 0, words * sizeof *bits);
        return bits;
    }
    if ((size_t)(heap->held_end - heap->held_at) < words) {
        nv_held_slab *slab = nv_heap_map(heap, NV_HELD_SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        slab->next = heap->held_slabs;
        heap->held_slabs = slab;
        heap->held_at = (uint64_t *)(void *)(slab + 1);
        heap->held_end = (uint64_t *)(void *)slab + NV_HELD_SLAB_BYTES / sizeof(uint64_t);
    }
    bits = heap->held_at;
    heap->held_at += words;
    return bits;
}

void nv_held_drop(neve_heap *heap, nv_pool *pool)
{
    if (pool->held == NULL)
        return;
    unsigned size_class = held_size_class(pool);
    pool->held[0] = (uintptr_t)heap->held_unused[size_class];
    heap->held_unused[size_class] = pool->held;
    pool->held = NULL;
}

void nv_held_destroy(neve_heap *heap)
{
    while (heap->held_slabs != NULL) {
        nv_held_slab *slab = heap->held_slabs;
        heap->held_slabs = slab->next;
        nv_heap_unmap(heap, slab, NV_HELD_SLAB_BYTES);
    }
}

void nv_held_release_page(nv_pool *pool, const void *block)
{
    size_t bytes = nv_pool_block_bytes(pool);
    size_t page = nv_os_page_bytes();
    char *base = nv_pool_base(pool);
    size_t first, end; /* offsets of the page in the pool */
    if (page >= NV_POOL_BYTES) {
        first = 0;
        end = NV_POOL_BYTES;
    } else {
        first = (size_t)((const char *)block - base) & ~(page - 1);
        end = first + page;
    }
    for (size_t i = (first + bytes - 1) / bytes; i < pool->carved && (i + 1) * bytes <= end; i++) {
        if ((pool->held[i / 64] >> (i % 64)) == 0) {
            i |= 63; /* nothing more in this word */
            continue;
        }
        if (!nv_held_has(pool, (unsigned)i))
            continue;
        pool->held[i / 64] &= ~((uint64_t)1 << (i % 64));
        *(void **)(void *)(base + i * bytes) = pool->free;
        pool->free = base + i * bytes;
    }
}

/* ---- before the fork ---- */

static unsigned free_blocks(const nv_pool *pool)
{
    return (unsigned)(pool->capacity - pool->used);
}

/* Sorts a list linked through `next`, the pools with the fewest free blocks
 * first: runs of doubling length are merged, with no memory but the links. */
static nv_pool *sort_fullest_first(nv_pool *first)
{
    for (size_t length = 1;; length *= 2) {
        nv_pool *rest = first, **link = &first;
        size_t runs = 0;
        while (rest != NULL) {
            nv_pool *a = rest, *b = rest;
            size_t left_a = 0, left_b = length;
            for (; left_a < length && b != NULL; left_a++)
                b = b->next;
            while (left_a > 0 || (left_b > 0 && b != NULL)) {
                nv_pool **from = &a;
                if (left_a == 0 || (left_b > 0 && b != NULL && free_blocks(b) < free_blocks(a))) {
                    from = &b;
                    left_b--;
                } else {
                    left_a--;
                }
                *link = *from;
                link = &(*from)->next;
                *from = (*from)->next;
            }
            *link = NULL;
            rest = b;
            runs++;
        }
        if (runs <= 1)
            return first;
    }
}

void neve_heap_before_fork(neve_heap *heap)
{
    neve_heap_trim(heap);
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        for (unsigned size_class = 0; size_class < NV_CLASSES; size_class++) {
            nv_pool *pool = sort_fullest_first(heap->partial_first[domain][size_class]);
            heap->partial_first[domain][size_class] = pool;
            nv_pool *last = NULL;
            for (; pool != NULL; pool = pool->next) {
                pool->prev = last;
                last = pool;
            }
            heap->partial_last[domain][size_class] = last;
        }
}

/* ---- strays ---- */

size_t nv_stray_find(const neve_heap *heap, uintptr_t address)
{
    size_t low = 0, high = heap->stray_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (heap->strays[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void nv_addresses_sort(uintptr_t *addresses, size_t count)
{
    size_t gap = 1;
    while (gap < count / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < count; i++) {
            uintptr_t address = addresses[i];
            size_t at = i;
            for (; at >= gap && addresses[at - gap] > address; at -= gap)
                addresses[at] = addresses[at - gap];
            addresses[at] = address;
        }
}

/* How many blocks of a cache are taken. Whoever forks without the heap's lock, as a library's
 * thread does that starts a program, may find the cache in the middle of a change. */
static unsigned count_in(const nv_cache *cache)
{
    const int32_t most = NV_POOL_BYTES / NEVE_GRANULE + UINT8_MAX;
    int32_t count = cache->limit - cache->room;
    return (unsigned)(count < 0 ? 0 : count > most ? most : count);
}

/* Copies the addresses of a cache's blocks, and follows no link that leads out of the arenas. */
static size_t copy_cached(const neve_heap *heap, const nv_cache *cache, uintptr_t *into)
{
    const void *at = cache->free;
    size_t count = 0;
    for (size_t most = count_in(cache); count < most; count++) {
        if (at == NULL || !nv_entry_is_arena(nv_entry_find(heap, at)))
            break;
        into[count] = (uintptr_t)at;
        at = *(void *const *)at;
    }
    return count;
}

/* Notes what the caches hold, beside the strays of earlier forks. Without memory those
 * blocks are lost to this process: their pools do not become empty. */
static void strays_gather(neve_heap *heap)
{
    size_t room = heap->stray_count, count = 0;
    for (unsigned kind = 0; kind < NV_KINDS; kind++)
        room += count_in(&heap->caches[kind]);
    if (room == 0)
        return;
    size_t page = nv_os_page_bytes();
    size_t bytes = (room * sizeof(uintptr_t) + page - 1) & ~(page - 1);
    uintptr_t *strays = nv_heap_map(heap, bytes);
    if (strays == NULL)
        bytes = 0;
    for (size_t i = 0; strays != NULL && i < heap->stray_count; i++)
        if ((heap->strays[i] & 1) == 0)
            strays[count++] = heap->strays[i];
    for (unsigned kind = 0; strays != NULL && kind < NV_KINDS; kind++)
        count += copy_cached(heap, &heap->caches[kind], strays + count);
    nv_addresses_sort(strays, count);
    nv_heap_unmap(heap, heap->strays, heap->stray_bytes);
    heap->strays = strays;
    heap->stray_count = count;
    heap->stray_bytes = bytes;
}

/* ---- the child ---- */

/* No pool of an earlier epoch has a kind. */
static void kinds_clear(neve_heap *heap)
{
    const size_t bytes = offsetof(neve_heap, paces) - offsetof(neve_heap, kinds);
    if (nv_os_page_bytes() > 4096 || !nv_os_discard(heap->kinds, bytes))
        memset(heap->kinds, 0, bytes);
}

void neve_heap_after_fork_child(neve_heap *heap)
{
    strays_gather(heap);
    kinds_clear(heap);
    memset(heap->caches, 0, sizeof heap->caches);
    memset(heap->paces, 0, sizeof heap->paces);
    heap->tag += NV_EPOCH_UNIT;
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        for (unsigned size_class = 0; size_class < NV_CLASSES; size_class++) {
            heap->current[domain][size_class] = NULL;
            heap->partial_first[domain][size_class] = NULL;
            heap->partial_last[domain][size_class] = NULL;
        }
    memset(heap->borrowers, 0xff, sizeof heap->borrowers);
    /* The other allocator would serve them on inherited pages. */
    memset(heap->rare, 0, sizeof heap->rare);
    memset(heap->by_free, 0, sizeof heap->by_free);
    memset(heap->by_free_mask, 0, sizeof heap->by_free_mask);
    heap->used_pools = 0;
    heap->dirty_pools = 0;
    heap->is_giving = false;
    heap->swing_pools = heap->low_dirty = heap->high_dirty = heap->recent_pools = 0;
    /* What is noted from now on goes to pages of this process's own. */
    heap->held_at = heap->held_end = NULL;
    memset(heap->held_unused, 0, sizeof heap->held_unused);
    nv_large_inherit(heap);
}

/* Notes in the chunk's table that a raw block is free. */
static void note_free(const nv_pool *pool, const void *block)
{
    unsigned granule = nv_granule(block);
    pool->chunk->high[granule / 64] |= nv_bit(granule);
}

static void hold_back(const nv_pool *pool, const void *block)
{
    size_t offset = (size_t)((const char *)block - nv_pool_base(pool));
    unsigned number = nv_block_number(offset, nv_block_inverse(nv_pool_block_bytes(pool)));
    pool->held[number / 64] |= (uint64_t)1 << (number % 64);
}

void nv_pool_adopt(neve_heap *heap, nv_pool *pool)
{
    bool is_raw = pool->domain == NEVE_DOMAIN_RAW;
    uintptr_t base = (uintptr_t)nv_pool_base(pool);
    size_t stray = nv_stray_find(heap, base),
           strays_end = nv_stray_find(heap, base + NV_POOL_BYTES);
    if (!is_raw && (pool->free != NULL || stray < strays_end) && pool->held == NULL)
        pool->held = held_alloc(heap, pool);
    if (is_raw || pool->held != NULL) {
        for (const void *at = pool->free; at != NULL; at = *(void *const *)at) {
            if (is_raw)
                note_free(pool, at);
            else
                hold_back(pool, at);
        }
        pool->free = NULL;
    }
    for (; stray < strays_end; stray++) {
        void *block = (void *)heap->strays[stray];
        if (((uintptr_t)block & 1) != 0)
            continue;
        heap->strays[stray] |= 1;
        pool->used--;
        if (is_raw) {
            note_free(pool, block);
        } else if (pool->held != NULL) {
            hold_back(pool, block);
        } else {
            *(void **)block = pool->free;
            pool->free = block;
        }
    }
    pool->next = pool->prev = NULL;
    pool->place = NV_POOL_FULL;
    pool->capacity = pool->carved; /* what was never touched stays so */
    pool->tag = (heap->tag & ~NV_POOL_FLAGS) | NV_POOL_INHERITED | (pool->tag & NV_POOL_HAS_STATE);
    if (pool->free != NULL)
        nv_partial_push(heap, pool);
}

void nv_inherited_free_raw(neve_heap *heap, nv_chunk *chunk, nv_pool *pool, void *block)
{
    if (nv_inherited_is_noted(chunk, pool, block)) {
        nv_corrupt(heap, "freed a block twice");
        return;
    }
    note_free(pool, block);
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
    memset(&chunk->high[first], 0, words * sizeof *chunk->high);
}
