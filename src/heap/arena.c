/* SPDX-License-Identifier: MIT */
/*
 * Arenas: aligned mappings cut into pools, where free pools are found, and how
 * empty memory goes back to the system.
 *
 * New pools come from the arena with the fewest free ones (as in CPython's
 * obmalloc), so that sparsely used arenas empty and can be unmapped; but as long as
 * some arena has free pools with memory, from the fullest of these: fresh memory
 * beside memory that lies idle would add to the program's peak. A pool
 * that becomes free keeps its memory ("dirty") until more than a bound of such
 * memory is kept: the largest of heap->retain_bytes, 1/16 of what is in use, and
 * the program's swing.
 *
 * The swing: a program that fills and drops batches of memory in turn would pay
 * for each batch with system calls and page faults; so would one that makes cycles,
 * which die together, full collection by full collection. So memory that is needed
 * again within NV_SWING_NS of being given back raises the bound by as much, up
 * to twice the memory in use (or NV_SWING_LEAST_BYTES, whichever is more), which is
 * what stays with a program that then falls idle. It was in use a moment ago and is taken
 * before any fresh memory is, so it adds nothing to the peak of what pools take. At the
 * end of each period the swing sinks to the range in which the amount of dirty
 * memory really moved, but not by more than half. A program that frees much once
 * gives it back at once.
 *
 * After fork() the lists start empty: the child takes pools from arenas of its
 * own, and an inherited arena joins the lists when one of its pools empties.
 * Memory of such an arena's free pools that the parent may still share is given
 * back before it is used again: a fresh page costs less than a copy of a page
 * whose contents nobody wants, and leaves the other to the parent alone.
 */
#include "heap_internal.h"

#include "platform/os.h"

/* How soon memory must be needed again to count, and the length of a period: longer
 * than programs of some 100 MB take from one full collection to the next. */
#define NV_SWING_NS UINT64_C(4000000000)
#define NV_SWING_LEAST_BYTES ((size_t)8 << 20)
/* So many pools, about, go back to the system in one go. */
#define NV_GIVE_POOLS ((size_t)128)
/* Where a swing was learned, the clock is looked at for each so many pools that become free: what
 * moves now may never come to the bound, and a program may collect nothing. */
#define NV_RELEASES_PER_LOOK 16u

/* Memory for four pools at a time, once all that can be idle for that, the rest of four
 * pools for each class of a domain in use, is a few percent. */
#define NV_POPULATE_POOLS 4u
#define NV_POPULATE_FROM_BYTES ((size_t)32 << 20)

static unsigned free_pools(const nv_chunk *chunk)
{
    return (unsigned)__builtin_popcountll(chunk->free_mask);
}

/* The masks and the list that they put the arena in change together: it leaves its
 * list before, and enters the other one after. An arena without free pools is in none. */
static void list_leave(neve_heap *heap, nv_chunk *chunk)
{
    unsigned free_count = free_pools(chunk);
    if (free_count == 0)
        return;
    bool is_dirty = chunk->dirty_mask != 0;
    nv_chunk **list = &heap->by_free[is_dirty][free_count - 1];
    if (chunk->prev != NULL)
        chunk->prev->next = chunk->next;
    else
        *list = chunk->next;
    if (chunk->next != NULL)
        chunk->next->prev = chunk->prev;
    chunk->next = chunk->prev = NULL;
    if (*list == NULL)
        heap->by_free_mask[is_dirty] &= ~((uint64_t)1 << (free_count - 1));
}

static void list_enter(neve_heap *heap, nv_chunk *chunk)
{
    unsigned free_count = free_pools(chunk);
    if (free_count == 0)
        return;
    bool is_dirty = chunk->dirty_mask != 0;
    nv_chunk **list = &heap->by_free[is_dirty][free_count - 1];
    chunk->prev = NULL;
    chunk->next = *list;
    if (chunk->next != NULL)
        chunk->next->prev = chunk;
    *list = chunk;
    heap->by_free_mask[is_dirty] |= (uint64_t)1 << (free_count - 1);
}

static bool arena_add(neve_heap *heap)
{
    if (nv_fails_now(heap))
        return false;
    void *memory = nv_os_map_aligned(NV_CHUNK_BYTES, NV_CHUNK_BYTES);
    if (memory == NULL)
        return false;
    /* A chunk may be known here already, if objects of another allocator have
     * lain at these addresses: its bits are clear, since they were freed. */
    nv_chunk *chunk = nv_chunk_ensure(heap, memory);
    if (chunk == NULL) {
        nv_os_unmap(memory, NV_CHUNK_BYTES);
        return false;
    }
    nv_chunk_set_arena(heap, chunk, true);
    chunk->free_mask = ~(uint64_t)1;
    chunk->dirty_mask = chunk->inherited_mask = 0;
    chunk->epoch = heap->tag & ~NV_POOL_FLAGS;
    list_enter(heap, chunk);
    heap->arenas++;
    return true;
}

/* Gives the memory of all dirty free pools of the arena, which is in a list, back, run
 * by run. */
static void arena_clean(neve_heap *heap, nv_chunk *chunk)
{
    list_leave(heap, chunk);
    uint64_t dirty = chunk->dirty_mask;
    while (dirty != 0) {
        unsigned first = (unsigned)__builtin_ctzll(dirty);
        /* Place 0 is no pool, so zeros are shifted in. */
        unsigned length = (unsigned)__builtin_ctzll(~(dirty >> first));
        size_t bytes = (size_t)length << NV_POOL_SHIFT;
        nv_os_discard((char *)chunk->base + ((size_t)first << NV_POOL_SHIFT), bytes);
        heap->returned_bytes += bytes;
        heap->dirty_pools -= length;
        dirty = first + length >= NV_POOLS ? 0 : dirty >> (first + length) << (first + length);
    }
    chunk->dirty_mask = chunk->inherited_mask = 0;
    list_enter(heap, chunk);
}

/* Unmaps an arena all of whose pools are free and which is in a list. During a
 * marking, whose queue may hold the chunk, only the memory goes. */
static void arena_drop(neve_heap *heap, nv_chunk *chunk)
{
    if (heap->marking) {
        arena_clean(heap, chunk);
        return;
    }
    list_leave(heap, chunk);
    size_t dirty = (size_t)__builtin_popcountll(chunk->dirty_mask);
    heap->dirty_pools -= dirty;
    heap->returned_bytes += dirty << NV_POOL_SHIFT;
    heap->arenas--;

    /* First the entry of the table, then the memory: as soon as that is free
     * another thread may get it from the system, and ask whose it is (see
     * neve_heap_try_free). */
    void *memory = (void *)chunk->base;
    if (chunk->index != NULL) {
        /* A verification is under way: only the memory goes, the descriptor
         * stays as that of a chunk in which nothing of ours lies. */
        nv_chunk_set_arena(heap, chunk, false);
        chunk->free_mask = chunk->dirty_mask = chunk->inherited_mask = 0;
    } else {
        nv_chunk_remove(heap, chunk);
    }
    nv_os_unmap(memory, NV_CHUNK_BYTES);
}

static size_t swing_most(const neve_heap *heap)
{
    size_t least = NV_SWING_LEAST_BYTES >> NV_POOL_SHIFT;
    return heap->used_pools * 2 < least ? least : heap->used_pools * 2;
}

/* A pool without memory is taken while some were given back not long ago. */
static __attribute__((noinline)) void note_needed_again(neve_heap *heap)
{
    if (nv_os_now_ns() - heap->recent_ns > NV_SWING_NS) {
        heap->recent_pools = 0;
        return;
    }
    heap->recent_pools--;
    if (heap->swing_pools < swing_most(heap))
        heap->swing_pools++;
}

/* What is kept whether the program swings or not. */
static size_t fixed_bound(const neve_heap *heap)
{
    size_t retained = heap->retain_bytes >> NV_POOL_SHIFT;
    return heap->used_pools / 16 < retained ? retained : heap->used_pools / 16;
}

/* ... and for its swing, which was learned while more may have been in use. */
static size_t swing_bound(const neve_heap *heap)
{
    size_t most = swing_most(heap);
    return heap->swing_pools < most ? heap->swing_pools : most;
}

static size_t bound_pools(const neve_heap *heap)
{
    size_t fixed = fixed_bound(heap), swing = swing_bound(heap);
    return fixed < swing ? swing : fixed;
}

/* Half the fixed bound stays, but seven eighths of the swing, so that the next pools do
 * not each cost a system call. What is more goes in steps, one for each pool that is released
 * and for each look: no program stands still for as long as a gigabyte takes. */
static void give_back(neve_heap *heap, uint64_t now_ns)
{
    size_t before = heap->dirty_pools;
    size_t fixed = fixed_bound(heap) / 2, swing = swing_bound(heap) - swing_bound(heap) / 8;
    size_t kept = fixed < swing ? swing : fixed;
    size_t left = before > NV_GIVE_POOLS ? before - NV_GIVE_POOLS : 0;
    nv_arena_purge(heap, (left < kept ? kept : left) << NV_POOL_SHIFT);
    heap->is_giving = heap->dirty_pools > kept;
    heap->recent_pools += before - heap->dirty_pools;
    heap->recent_ns = now_ns;
}

void nv_arena_tick(neve_heap *heap, uint64_t now_ns)
{
    if (heap->is_giving)
        give_back(heap, now_ns);
    if (now_ns - heap->period_ns < NV_SWING_NS)
        return;
    size_t range = heap->high_dirty - heap->low_dirty;
    if (heap->swing_pools > range)
        heap->swing_pools = heap->swing_pools / 2 > range ? heap->swing_pools / 2 : range;
    heap->period_ns = now_ns;
    heap->low_dirty = heap->high_dirty = heap->dirty_pools;
    if (!heap->is_giving && heap->dirty_pools > bound_pools(heap))
        give_back(heap, now_ns);
}

/* A heap that is large and grows will soon write to what lies behind the pool, too: faults
 * cost more than memory that is asked for in one piece. The pools behind it become dirty
 * ones, which are taken next. Returns the number of pools that got memory, this one
 * included. */
static unsigned populate(neve_heap *heap, nv_chunk *chunk, unsigned number)
{
    if (heap->used_pools < NV_POPULATE_FROM_BYTES >> NV_POOL_SHIFT)
        return 1;
    unsigned run = 1;
    while (run < NV_POPULATE_POOLS && number + run < NV_POOLS &&
           ((chunk->free_mask & ~chunk->dirty_mask) >> (number + run) & 1) != 0)
        run++;
    if (!nv_os_populate((char *)chunk->base + ((size_t)number << NV_POOL_SHIFT),
                        (size_t)run << NV_POOL_SHIFT))
        return 1;
    for (unsigned i = 1; i < run; i++)
        chunk->dirty_mask |= (uint64_t)1 << (number + i);
    heap->dirty_pools += run - 1;
    return run;
}

nv_pool *nv_pool_acquire(neve_heap *heap)
{
    bool is_dirty = heap->by_free_mask[true] != 0;
    if (!is_dirty && heap->by_free_mask[false] == 0 && !arena_add(heap))
        return NULL;
    nv_chunk *chunk = heap->by_free[is_dirty][__builtin_ctzll(heap->by_free_mask[is_dirty])];
    uint64_t from = chunk->dirty_mask != 0 ? chunk->dirty_mask : chunk->free_mask;
    unsigned number = (unsigned)__builtin_ctzll(from);
    uint64_t bit = (uint64_t)1 << number;

    list_leave(heap, chunk);
    chunk->free_mask &= ~bit;
    if ((chunk->dirty_mask & bit) != 0) {
        chunk->dirty_mask &= ~bit;
        heap->dirty_pools--;
        if (NEVE_UNLIKELY((chunk->inherited_mask & bit) != 0)) {
            chunk->inherited_mask &= ~bit;
            nv_os_discard((char *)chunk->base + ((size_t)number << NV_POOL_SHIFT), NV_POOL_BYTES);
        }
        if (heap->low_dirty > heap->dirty_pools)
            heap->low_dirty = heap->dirty_pools;
    } else {
        for (unsigned run = populate(heap, chunk, number); run > 0 && heap->recent_pools > 0; run--)
            note_needed_again(heap);
    }
    list_enter(heap, chunk);
    heap->used_pools++;
    nv_pool *pool = nv_pool_at(chunk->base, number);
    pool->chunk = chunk;
    return pool;
}

/* The arenas in the list have free pools only. */
static void drop_all(neve_heap *heap, nv_chunk *chunk, size_t keep_pools)
{
    while (chunk != NULL && (heap->dirty_pools > keep_pools || keep_pools == 0)) {
        nv_chunk *next = chunk->next;
        arena_drop(heap, chunk);
        chunk = next;
    }
}

void nv_arena_purge(neve_heap *heap, size_t keep_bytes)
{
    size_t keep_pools = keep_bytes >> NV_POOL_SHIFT;
    drop_all(heap, heap->by_free[true][NV_ARENA_POOLS - 1], keep_pools);
    drop_all(heap, heap->by_free[false][NV_ARENA_POOLS - 1], keep_pools);
    for (unsigned free_count = NV_ARENA_POOLS - 1; free_count > 0; free_count--)
        while (heap->by_free[true][free_count - 1] != NULL) {
            if (heap->dirty_pools <= keep_pools)
                return;
            arena_clean(heap, heap->by_free[true][free_count - 1]);
        }
}

/* After an arena's last pool emptied: keep at most one that is empty. */
static void drop_clean_arenas(neve_heap *heap)
{
    unsigned kept = heap->by_free[true][NV_ARENA_POOLS - 1] != NULL;
    nv_chunk *chunk = heap->by_free[false][NV_ARENA_POOLS - 1];
    while (chunk != NULL) {
        nv_chunk *next = chunk->next;
        if (++kept > 1)
            arena_drop(heap, chunk);
        chunk = next;
    }
}

void nv_pool_release(neve_heap *heap, nv_pool *pool)
{
    nv_chunk *chunk = pool->chunk;
    unsigned number = nv_pool_number(pool);
    uint64_t bit = (uint64_t)1 << number;

    unsigned free_count = free_pools(chunk);
    if (!nv_chunk_is_listed(heap, chunk)) {
        /* An inherited arena: its other free pools become usable as well. */
        chunk->next = chunk->prev = NULL;
        chunk->epoch = heap->tag & ~NV_POOL_FLAGS;
        chunk->inherited_mask = chunk->dirty_mask;
        heap->dirty_pools += (size_t)__builtin_popcountll(chunk->dirty_mask);
    } else {
        list_leave(heap, chunk);
    }
    nv_touched_remove(heap, pool);
    if ((pool->tag & NV_POOL_INHERITED) != 0) {
        nv_held_drop(heap, pool);
        chunk->inherited_mask |= bit;
    } else {
        heap->used_pools--; /* which an inherited one was never added to */
    }
    if (nv_is_owned(heap, (void *)chunk->base))
        *nv_kind_at(heap, nv_pool_base(pool)) = 0;
    memset(pool, 0, sizeof *pool);

    chunk->free_mask |= bit;
    chunk->dirty_mask |= bit;
    heap->dirty_pools++;
    if (heap->high_dirty < heap->dirty_pools)
        heap->high_dirty = heap->dirty_pools;
    list_enter(heap, chunk);

    bool is_look = heap->swing_pools != 0 && ++heap->releases % NV_RELEASES_PER_LOOK == 0;
    if (heap->dirty_pools > bound_pools(heap) || heap->is_giving || is_look) {
        uint64_t now_ns = nv_os_now_ns();
        nv_arena_tick(heap, now_ns);
        if (!heap->is_giving && heap->dirty_pools > bound_pools(heap))
            give_back(heap, now_ns);
    }
    if (free_count + 1 == NV_ARENA_POOLS)
        drop_clean_arenas(heap);
}
