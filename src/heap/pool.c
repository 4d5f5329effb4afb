/* SPDX-License-Identifier: MIT */
/*
 * Blocks: the paths that every allocation and every free takes.
 *
 * Allocation pops, and freeing pushes, the cache of the domain and size class
 * (heap/cache.c). Only when a cache is empty or full are pools looked at.
 *
 * For each domain and size class one pool is current; an empty cache gets its
 * free list as a whole. An exhausted pool is in no list until one of its blocks
 * comes home; then it waits in a partial list, at the end, so that it can gather
 * more free blocks before it is drawn from. A pool hands out its memory for the
 * first time one OS page's worth of blocks at a time (`carved`), so that what is
 * not needed is not touched.
 *
 * In debug builds a free block carries a mark in its second word, by which a
 * second free of it is found.
 */
#include "heap_internal.h"

#define CARVE_BYTES 4096u
/* Odd multiples of a cache line go through all places of a page. */
#define COLOUR_STEP ((size_t)7 * 64)
/* What a pool carves for other classes than its own, if a page has fewer. */
#define LENT_BLOCKS 16u

#if NEVE_DEBUG >= 1
#define FREED_MARK ((uintptr_t)0xf4eeb10cu)
#endif

static inline void mark_freed(void *block)
{
#if NEVE_DEBUG >= 1
    ((uintptr_t *)block)[1] = FREED_MARK ^ (uintptr_t)block;
#else
    (void)block;
#endif
}

static inline void mark_allocated(void *block)
{
#if NEVE_DEBUG >= 1
    ((uintptr_t *)block)[1] = 0;
#else
    (void)block;
#endif
}

static void partial_remove(neve_heap *heap, nv_pool *pool)
{
    nv_pool **first = &heap->partial_first[pool->domain][pool->size_class];
    nv_pool **last = &heap->partial_last[pool->domain][pool->size_class];
    if (pool->prev != NULL)
        pool->prev->next = pool->next;
    else
        *first = pool->next;
    if (pool->next != NULL)
        pool->next->prev = pool->prev;
    else
        *last = pool->prev;
    pool->next = pool->prev = NULL;
    pool->place = NV_POOL_FULL;
}

void nv_partial_push(neve_heap *heap, nv_pool *pool)
{
    nv_pool **last = &heap->partial_last[pool->domain][pool->size_class];
    pool->next = NULL;
    pool->prev = *last;
    if (*last != NULL)
        (*last)->next = pool;
    else
        heap->partial_first[pool->domain][pool->size_class] = pool;
    *last = pool;
    pool->place = NV_POOL_PARTIAL;
}

/* Where in its first page a pool begins. Pools are aligned to more than a way of the
 * processor's caches holds, so if all began in the same place, the first blocks of all classes,
 * which small programs use over and over, would compete for the lines of few sets (the
 * colouring of slabs: Bonwick, 1994). A multiple of the block size. */
static size_t colour_of(const nv_pool *pool, size_t bytes)
{
    size_t offset = (size_t)pool->size_class * COLOUR_STEP % CARVE_BYTES;
    return offset - offset % bytes;
}

/* Links the next page's worth of never used blocks into the free list. */
static void pool_carve(nv_pool *pool)
{
    char *base = nv_pool_base(pool);
    size_t bytes = nv_pool_block_bytes(pool);
    unsigned count = CARVE_BYTES / (unsigned)bytes;
    if (count > (unsigned)(pool->capacity - pool->carved))
        count = (unsigned)(pool->capacity - pool->carved);
    char *first = base + pool->carved * bytes;
    for (unsigned i = 0; i + 1 < count; i++) {
        *(void **)(void *)(first + i * bytes) = first + (i + 1) * bytes;
        mark_freed(first + i * bytes);
    }
    char *last = first + (count - 1) * bytes;
    mark_freed(last);
    size_t colour = pool->carved == 0 ? colour_of(pool, bytes) : 0;
    if (colour > 0 && colour < count * bytes) {
        /* Those in front of the first come last. */
        *(void **)(void *)last = first;
        first += colour;
        last = first - bytes;
    }
    *(void **)(void *)last = pool->free;
    pool->free = first;
    pool->carved = (uint16_t)(pool->carved + count);
}

static nv_pool *pool_fresh(neve_heap *heap, neve_domain domain, unsigned size_class)
{
    nv_pool *pool = nv_pool_acquire(heap);
    if (pool == NULL)
        return NULL;
    pool->free = NULL;
    pool->held = NULL;
    pool->next = pool->prev = NULL;
    pool->tag = heap->tag;
    pool->used = pool->carved = 0;
    pool->capacity = (uint16_t)(NV_POOL_BYTES / (size_class * NEVE_GRANULE));
    pool->size_class = (uint8_t)size_class;
    pool->domain = (uint8_t)domain;
    nv_kind_update(heap, pool);
    return pool;
}

static bool touched_add(neve_heap *heap, nv_pool *pool)
{
    if (heap->touched_count == heap->touched_capacity) {
        void **grown = nv_list_grow(heap, (void **)heap->touched, &heap->touched_capacity,
                                    heap->touched_count + 1);
        if (grown == NULL)
            return false;
        heap->touched = (nv_pool **)grown;
    }
    heap->touched[heap->touched_count++] = pool;
    pool->touched = (uint32_t)heap->touched_count;
    nv_kind_update(heap, pool);
    return true;
}

void nv_touched_remove(neve_heap *heap, nv_pool *pool)
{
    if (pool->touched == 0)
        return;
    nv_pool *last = heap->touched[--heap->touched_count];
    heap->touched[pool->touched - 1] = last;
    last->touched = pool->touched;
    pool->touched = 0;
}

void nv_touched_clear(neve_heap *heap, nv_pool *pool)
{
    pool->touched = 0;
    nv_kind_update(heap, pool);
}

static void ask_of_untouched(nv_chunk *chunk, void *arg)
{
    for (unsigned i = 1; chunk->is_arena && i < NV_POOLS; i++)
        if ((chunk->free_mask >> i & 1) == 0)
            nv_kind_update(arg, nv_pool_at(chunk->base, i));
}

void nv_touched_begin(neve_heap *heap)
{
    nv_cache_flush_domain(heap, NEVE_DOMAIN_OBJECT);
    heap->tracks_touched = true;
    nv_chunk_each(heap, ask_of_untouched, heap);
}

void nv_kind_update(neve_heap *heap, const nv_pool *pool)
{
    const char *base = nv_pool_base(pool);
    if (!nv_is_owned(heap, base))
        return;
    unsigned kind = NV_KIND_OF(pool->domain, pool->size_class) << NV_KIND_SHIFT;
    if (((pool->tag ^ heap->tag) & ~NV_POOL_HAS_STATE) != 0)
        kind = 0;
    else if ((pool->tag & NV_POOL_HAS_STATE) != 0)
        kind |= NV_KIND_ASK;
    else if (pool->domain == NEVE_DOMAIN_OBJECT && heap->tracks_touched && pool->touched == 0)
        kind |= NV_KIND_ASK;
    *nv_kind_at(heap, base) = (uint8_t)kind;
}

static inline unsigned class_of(size_t size)
{
    return (unsigned)(size + NEVE_GRANULE - 1) / NEVE_GRANULE;
}

/* Of a size other than 0. */
static inline size_t kind_of(neve_domain domain, size_t size)
{
    return (size_t)domain * NV_KIND_CLASSES + (size - 1) / NEVE_GRANULE + 1;
}

/* Blocks in the pool's free list. */
static unsigned free_count(const nv_pool *pool)
{
    unsigned count = (unsigned)(pool->carved - pool->used);
    for (unsigned w = 0; pool->held != NULL && w < nv_pool_bits_words(pool); w++)
        count -= (unsigned)__builtin_popcountll(pool->held[w]);
    return count;
}

/* A pool from which blocks can be taken, made current; NULL without memory. */
static nv_pool *pool_to_draw_from(neve_heap *heap, neve_domain domain, unsigned size_class)
{
    nv_pool *pool = heap->current[domain][size_class], *next = pool;
    if (pool == NULL || (pool->free == NULL && pool->carved == pool->capacity)) {
        next = heap->partial_first[domain][size_class];
        if (next != NULL)
            partial_remove(heap, next);
        else if ((next = pool_fresh(heap, domain, size_class)) == NULL)
            return NULL;
    }
    if (domain == NEVE_DOMAIN_OBJECT && heap->tracks_touched && next->touched == 0 &&
        !touched_add(heap, next)) {
        if (next == pool)
            return NULL;
        if (next->used == 0)
            nv_pool_release(heap, next);
        else
            nv_partial_push(heap, next);
        return NULL;
    }
    if (next != pool && pool != NULL)
        pool->place = NV_POOL_FULL;
    next->place = NV_POOL_CURRENT;
    heap->current[domain][size_class] = next;
    return next;
}

static inline void *cache_pop(nv_cache *cache)
{
    void *block = cache->free;
    cache->free = *(void **)block;
    cache->room++;
    mark_allocated(block);
    return block;
}

static void *alloc_slow(neve_heap *heap, neve_domain domain, unsigned size_class);

/* The child of a fork would hold an OS page of its own for each class that it uses at all, and
 * workers use nearly all, most of them for a few blocks. So the first blocks of a larger
 * class are for smaller ones as well: the first page, or the first LENT_BLOCKS of them. They go
 * by their pool, as all blocks do, when they are freed. NULL: the class is to have its own. */
static void *alloc_lent(neve_heap *heap, neve_domain domain, unsigned size_class)
{
    /* The next power of two, at least 4. */
    unsigned lender = size_class <= 4 ? 4 : 1u << (32 - __builtin_clz(size_class - 1));
    const nv_pool *pool = heap->current[domain][lender];
    nv_cache *cache = &heap->caches[NV_KIND_OF(domain, lender)];
    if (lender != size_class && cache->free != NULL)
        return cache_pop(cache);
    if (lender == size_class || (pool != NULL && pool->carved >= LENT_BLOCKS)) {
        heap->borrowers[domain] &= ~((uint64_t)1 << size_class);
        return NULL;
    }
    return alloc_slow(heap, domain, lender);
}

/* The cache is empty: it gets all free blocks of a pool. */
static void *alloc_slow(neve_heap *heap, neve_domain domain, unsigned size_class)
{
    if (NEVE_UNLIKELY((heap->borrowers[domain] >> size_class & 1) != 0) &&
        heap->partial_first[domain][size_class] == NULL) {
        void *block = alloc_lent(heap, domain, size_class);
        if (block != NULL)
            return block;
    }
    nv_pool *pool = pool_to_draw_from(heap, domain, size_class);
    if (pool == NULL)
        return NULL;
    if (pool->free == NULL)
        pool_carve(pool);
    unsigned count = free_count(pool);
    unsigned kind = NV_KIND_OF(domain, size_class);
    nv_cache_fill(heap, kind, pool->free, count);
    pool->free = NULL;
    pool->used = (uint16_t)(pool->used + count);
    return cache_pop(&heap->caches[kind]);
}

/* Out of line, so that the fast path, which callers inline, stays small. Asks nobody for
 * memory: that is for the caller, if at all. */
static __attribute__((noinline)) void *alloc_otherwise(neve_heap *heap, neve_domain domain,
                                                       size_t size)
{
    if (size > NEVE_SMALL_MAX)
        return nv_large_alloc(heap, domain, size);
    unsigned size_class = class_of(size == 0 ? 1 : size);
    nv_cache *cache = &heap->caches[NV_KIND_OF(domain, size_class)];
    if (cache->free == NULL)
        return alloc_slow(heap, domain, size_class);
    /* For a size of 0, which the callers' fast paths leave out. */
    return cache_pop(cache);
}

static __attribute__((noinline)) void *alloc_or_ask(neve_heap *heap, neve_domain domain,
                                                    size_t size)
{
    void *block = alloc_otherwise(heap, domain, size);
    return NEVE_LIKELY(block != NULL) ? block : nv_alloc_again(heap, domain, size);
}

void *neve_heap_alloc(neve_heap *heap, neve_domain domain, size_t size)
{
    if (nv_fails_now(heap))
        return nv_alloc_again(heap, domain, size);
    /* One comparison for both: a size of 0 wraps around. */
    if (NEVE_LIKELY(size - 1 < NEVE_SMALL_MAX)) {
        nv_cache *cache = &heap->caches[kind_of(domain, size)];
        if (NEVE_LIKELY(cache->free != NULL))
            return cache_pop(cache);
    }
    return alloc_or_ask(heap, domain, size);
}

/* Whether to leave a request to the other allocator: a size class has to be asked for
 * some times before it gets a pool. Programs want few sizes often, and some blocks of
 * nearly all others, which would hold an OS page for each domain and class; the other
 * allocator has room for them on pages that it holds anyway. */
static inline bool is_rare(neve_heap *heap, neve_domain domain, size_t size)
{
    unsigned size_class = class_of(size);
    if (size - 1 >= NEVE_SMALL_MAX || heap->rare[domain][size_class] == 0)
        return false;
    heap->rare[domain][size_class]--;
    return true;
}

/* Out of line and called last, so that the fast path needs no frame. */
static __attribute__((noinline)) void *alloc_or_otherwise(neve_heap *heap, neve_domain domain,
                                                          size_t size,
                                                          void *(*otherwise)(void *, size_t),
                                                          void *ctx)
{
    void *block = is_rare(heap, domain, size) ? NULL : alloc_otherwise(heap, domain, size);
    return block != NULL ? block : otherwise(ctx, size);
}

void *neve_heap_alloc_or(neve_heap *heap, neve_domain domain, size_t size,
                         void *(*otherwise)(void *ctx, size_t size), void *ctx)
{
    if (nv_fails_now(heap))
        return otherwise(ctx, size);
    if (NEVE_LIKELY(size - 1 < NEVE_SMALL_MAX)) {
        nv_cache *cache = &heap->caches[kind_of(domain, size)];
        if (NEVE_LIKELY(cache->free != NULL))
            return cache_pop(cache);
    }
    return alloc_or_otherwise(heap, domain, size, otherwise, ctx);
}

void *neve_heap_calloc(neve_heap *heap, neve_domain domain, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *block = neve_heap_alloc(heap, domain, bytes);
    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

/* A block of `pool` was freed, and the pool has become empty or was full. */
static __attribute__((noinline)) void free_edge(neve_heap *heap, nv_pool *pool)
{
    if (pool->place == NV_POOL_CURRENT)
        return;
    if (pool->used == 0) {
        if (pool->place == NV_POOL_PARTIAL)
            partial_remove(heap, pool);
        nv_pool_release(heap, pool);
    } else if (pool->place == NV_POOL_FULL) {
        nv_partial_push(heap, pool);
    }
}

#if NEVE_DEBUG >= 1
/* Misuse that can be told from the descriptor and the block's mark. */
static void check_free(const neve_heap *heap, const nv_pool *pool, const void *block)
{
    size_t offset = (uintptr_t)block & (NV_POOL_BYTES - 1);
    if (pool->size_class == 0)
        nv_corrupt(heap, "freed a block of a pool that is not in use");
    else if (offset % nv_pool_block_bytes(pool) != 0 ||
             offset / nv_pool_block_bytes(pool) >= pool->carved)
        nv_corrupt(heap, "freed an address that is not a block's start");
    else if (nv_held_has(pool, (unsigned)(offset / nv_pool_block_bytes(pool))) ||
             (nv_pool_is_foreign_epoch(heap, pool) && nv_is_stray(heap, block)))
        nv_corrupt(heap, "freed a block twice");
    else if (((const uintptr_t *)block)[1] == (FREED_MARK ^ (uintptr_t)block)) {
        const nv_cache *cache = &heap->caches[NV_KIND_OF(pool->domain, pool->size_class)];
        const void *const lists[] = {pool->free, cache->free};
        for (unsigned i = 0; i < 2; i++)
            for (const void *at = lists[i]; at != NULL; at = *(void *const *)at)
                if (at == block)
                    nv_corrupt(heap, "freed a block twice");
    }
}
#endif

static inline __attribute__((always_inline)) void push_free(neve_heap *heap, nv_pool *pool,
                                                            void *block, bool may_hold)
{
    void *head = pool->free;
    *(void **)block = head;
    mark_freed(block);
    pool->free = block;
    if (may_hold && pool->held != NULL)
        nv_held_release_page(pool, block);
    if (NEVE_UNLIKELY(--pool->used == 0 || head == NULL))
        free_edge(heap, pool);
}

void nv_pool_take_home(neve_heap *heap, void *block)
{
    push_free(heap, nv_pool_of(block), block, true);
}

/* Freed memory that is not in an arena. */
static __attribute__((noinline)) bool free_other(neve_heap *heap, nv_chunk *chunk, void *block)
{
    nv_large *entry = nv_large_find(heap, block);
    if (chunk != NULL)
        nv_bits_clear(heap, chunk, block);
    if (entry == NULL)
        return false;
    nv_large_free(heap, entry);
    return true;
}

/* Whatever free_here leaves. False: the heap does not own the block. */
static __attribute__((noinline)) bool free_otherwise(neve_heap *heap, void *block)
{
    if (block == NULL)
        return true;
    uintptr_t entry = nv_entry_find(heap, block);
    nv_chunk *chunk = nv_entry_chunk(entry);
    if (!nv_entry_is_arena(entry))
        return free_other(heap, chunk, block);
    nv_pool *pool = nv_pool_of(block);
#if NEVE_DEBUG >= 1
    check_free(heap, pool, block);
#endif
    if (nv_pool_is_foreign_epoch(heap, pool))
        nv_pool_adopt(heap, pool);
    if ((pool->tag & NV_POOL_HAS_STATE) != 0)
        nv_bits_clear(heap, chunk, block);
    if ((pool->tag & NV_POOL_INHERITED) != 0 && pool->domain == NEVE_DOMAIN_RAW)
        nv_inherited_free_raw(heap, chunk, pool, block);
    else
        push_free(heap, pool, block, true);
    return true;
}

/* Whether nv_bits_clear would find something in this block, or has to look closer. Mark
 * bits are set only where state bits are. */
static inline bool may_have_bits(const neve_heap *heap, const nv_chunk *chunk, const void *block)
{
    unsigned granule = nv_granule(block);
    unsigned shift = granule % 64;
    if (NEVE_UNLIKELY(shift > 60)) /* the bits may lie in two words */
        return true;
    uint64_t bits = (uint64_t)heap->object_starts << shift;
    return ((chunk->high[granule / 64] | nv_low_bits(chunk, granule / 64)) & bits) != 0;
}

/* Frees a block of a pool of this epoch that has no bits any more. False: it has no kind. */
static inline __attribute__((always_inline)) bool free_clean(neve_heap *heap, unsigned kind,
                                                             bool is_cached, void *block)
{
    nv_cache *cache = (nv_cache *)(void *)((uint64_t *)(void *)heap->caches + kind);
    if (NEVE_LIKELY(cache->room > 0 && is_cached)) {
        *(void **)block = cache->free;
        mark_freed(block);
        cache->free = block;
        cache->room--;
        return true;
    }
    if (kind == 0)
        return false;
    if (cache->limit == 0 || !is_cached) {
        /* In line, and without a store but the pool's: when a program drops all it has, the
         * less lies between two of its own cache misses, the more of these overlap. */
        push_free(heap, nv_pool_of(block), block, false);
    } else {
        mark_freed(block);
        nv_cache_spill(heap, kind >> NV_KIND_SHIFT, block);
    }
    return true;
}

/* Whether the block may be handed out again from a cache: otherwise it would come back young
 * where nobody looks for it. */
static inline bool may_be_cached(const neve_heap *heap, const nv_pool *pool)
{
    return !heap->tracks_touched || pool->domain != NEVE_DOMAIN_OBJECT || pool->touched != 0;
}

/* nv_bits_clear for the common cases; false: ask that function. Mark bits are set
 * only where state bits are. */
static inline bool bits_clear_here(neve_heap *heap, nv_chunk *chunk, const void *block)
{
    unsigned granule = nv_granule(block);
    unsigned shift = granule % 64;
    if (NEVE_UNLIKELY(shift > 60)) /* the bits may lie in two words */
        return false;
    uint64_t bits = (uint64_t)heap->object_starts << shift;
    uint64_t *high = &chunk->high[granule / 64], *low = &chunk->low[granule / 64];
    bool is_low = chunk->has_low && (*low & bits) != 0;
    if ((*high & bits) == 0 && !is_low)
        return true;
    if (NEVE_UNLIKELY(heap->marking))
        return false;
    /* One object begins in a block. */
    NV_ASSERT(__builtin_popcountll((*high | nv_low_bits(chunk, granule / 64)) & bits) == 1);
    heap->old_objects -= (*high & bits) != 0;
    *high &= ~bits;
    if (is_low)
        *low &= ~bits;
    return true;
}

/* Out of line and called last, so that free_here needs no frame. */
static __attribute__((noinline)) void free_with_bits(neve_heap *heap, unsigned kind, void *block)
{
    nv_pool *pool = nv_pool_of(block);
    if (!bits_clear_here(heap, pool->chunk, block))
        nv_bits_clear(heap, pool->chunk, block);
    free_clean(heap, kind, may_be_cached(heap, pool), block);
}

/* Frees a block of this heap's, in the cases that are common: most objects die young,
 * and a pool with state bits is common, but not one that was inherited by a fork.
 * False: nothing was done. */
static inline __attribute__((always_inline)) bool free_here(neve_heap *heap, void *block)
{
    if (NEVE_UNLIKELY(!nv_is_owned(heap, block)))
        return false; /* NULL, too */
    unsigned kind = *nv_kind_at(heap, block);
#if NEVE_DEBUG >= 1
    check_free(heap, nv_pool_of(block), block);
#endif
    if ((kind & NV_KIND_ASK) == 0)
        return free_clean(heap, kind, true, block);
    kind -= NV_KIND_ASK;
    nv_pool *pool = nv_pool_of(block);
    if (!may_have_bits(heap, pool->chunk, block))
        return free_clean(heap, kind, may_be_cached(heap, pool), block);
    free_with_bits(heap, kind, block);
    return true;
}

bool neve_heap_try_free(neve_heap *heap, void *block)
{
    return free_here(heap, block) || free_otherwise(heap, block);
}

static __attribute__((noinline)) void
free_or_otherwise(neve_heap *heap, void *block, void (*otherwise)(void *, void *), void *ctx)
{
    if (!free_otherwise(heap, block))
        otherwise(ctx, block);
}

void neve_heap_free_or(neve_heap *heap, void *block, void (*otherwise)(void *ctx, void *block),
                       void *ctx)
{
    if (NEVE_UNLIKELY(!free_here(heap, block)))
        free_or_otherwise(heap, block, otherwise, ctx);
}

static void free_stranger(void *heap, void *block)
{
    (void)block;
    nv_corrupt(heap, "freed a block that the heap does not own");
}

void neve_heap_free(neve_heap *heap, void *block)
{
    neve_heap_free_or(heap, block, free_stranger, heap);
}

static __attribute__((noinline)) size_t size_otherwise(const neve_heap *heap, const void *block)
{
    if (nv_entry_is_arena(nv_entry_find(heap, block)))
        return nv_pool_block_bytes(nv_pool_of(block));
    const nv_large *entry = nv_large_find(heap, block);
    return entry == NULL ? 0 : nv_large_usable_size(heap, entry);
}

size_t neve_heap_usable_size(const neve_heap *heap, const void *block)
{
    if (NEVE_LIKELY(nv_is_owned(heap, block))) {
        unsigned kind = *nv_kind_at(heap, block);
        if (NEVE_LIKELY(kind != 0))
            return (((size_t)(kind >> NV_KIND_SHIFT) - 1) % NV_KIND_CLASSES + 1) * NEVE_GRANULE;
    }
    return size_otherwise(heap, block);
}

bool neve_heap_owns(const neve_heap *heap, const void *block)
{
    if (block == NULL)
        return false;
    if (!nv_entry_is_arena(nv_entry_find(heap, block)))
        return nv_large_find(heap, block) != NULL;
    const nv_pool *pool = nv_pool_of(block);
    size_t offset = (uintptr_t)block & (NV_POOL_BYTES - 1);
    return pool->size_class != 0 && offset % nv_pool_block_bytes(pool) == 0 &&
           offset / nv_pool_block_bytes(pool) < pool->carved;
}

void *neve_heap_realloc(neve_heap *heap, neve_domain domain, void *block, size_t size)
{
    if (block == NULL)
        return neve_heap_alloc(heap, domain, size);
    size_t old = neve_heap_usable_size(heap, block);
    if (NEVE_UNLIKELY(old == 0)) {
        nv_corrupt(heap, "realloc of a block that the heap does not own");
        return NULL;
    }
    if (old <= NEVE_SMALL_MAX) {
        /* In place while the class fits, unless over a quarter would be lost. */
        if (size <= old && size + old / 4 + NEVE_GRANULE > old)
            return block;
    } else if (size > NEVE_SMALL_MAX) {
        void *grown = nv_large_realloc(heap, domain, block, size);
        for (unsigned attempt = 1; grown == NULL && nv_out_of_memory(heap, size, attempt);
             attempt++)
            grown = nv_large_realloc(heap, domain, block, size);
        return grown;
    }
    void *moved = neve_heap_alloc(heap, domain, size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, size < old ? size : old);
    neve_heap_free(heap, block);
    return moved;
}

void nv_pool_live_blocks(const neve_heap *heap, const nv_pool *pool,
                         uint64_t bits[NV_POOL_BITS_WORDS])
{
    const char *base = nv_pool_base(pool);
    size_t bytes = nv_pool_block_bytes(pool);
    memset(bits, 0, NV_POOL_BITS_WORDS * sizeof *bits);
    for (unsigned i = 0; i < pool->carved / 64u; i++)
        bits[i] = ~(uint64_t)0;
    if (pool->carved % 64 != 0)
        bits[pool->carved / 64] = ((uint64_t)1 << (pool->carved % 64)) - 1;
    uint32_t inverse = nv_block_inverse(bytes);
    for (const void *at = pool->free; at != NULL; at = *(void *const *)at) {
        unsigned number = nv_block_number((size_t)((const char *)at - base), inverse);
        bits[number / 64] &= ~((uint64_t)1 << (number % 64));
    }
    for (unsigned w = 0; pool->held != NULL && w < nv_pool_bits_words(pool); w++)
        bits[w] &= ~pool->held[w];
    nv_pool_cached_blocks(heap, pool, bits);
}
