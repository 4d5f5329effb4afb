/* SPDX-License-Identifier: MIT */
/*
 * Creation, destruction and statistics.
 */
#include "heap_internal.h"

#include <stdlib.h>

#include "platform/os.h"

#define DEFAULT_RETAIN_BYTES ((size_t)1 << 20)

neve_status neve_heap_create(const neve_heap_options *options, neve_heap **out)
{
    neve_heap_options given;
    if (out == NULL || nv_heap_options_read(&given, options, NULL, 0) != NEVE_OK)
        return NEVE_EINVAL;
    options = &given;

    size_t page = nv_os_page_bytes();
    size_t bytes = (sizeof(neve_heap) + page - 1) & ~(page - 1);
    neve_heap *heap = nv_os_map(bytes);
    if (heap == NULL)
        return NEVE_ENOMEM;
    heap->bytes = bytes;
    heap->table_bytes = bytes;
    heap->tag = NV_EPOCH_UNIT;
    heap->owned[0] = NV_OWNED_NONE(0);
    heap->object_starts = options->object_starts != 0 ? options->object_starts : 1u;
    heap->retain_bytes = options->retain_bytes != 0 ? options->retain_bytes : DEFAULT_RETAIN_BYTES;
    heap->on_corruption = options->on_corruption;
    heap->on_corruption_ctx = options->on_corruption_ctx;
    heap->on_out_of_memory = options->on_out_of_memory;
    heap->on_out_of_memory_ctx = options->on_out_of_memory_ctx;
    heap->large = nv_large_system;
    if (options->large != NULL) /* it has been checked */
        (void)nv_large_allocator_read(&heap->large, options->large, NULL, 0);
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        for (unsigned size_class = 0; size_class < NV_CLASSES; size_class++)
            heap->rare[domain][size_class] = options->rare_requests;

#if NEVE_DEBUG >= 1
    const char *fail_at = getenv("NEVE_FAIL_ALLOC_AT");
    if (fail_at != NULL)
        heap->fail_in = strtoull(fail_at, NULL, 10);
#endif
    *out = heap;
    return NEVE_OK;
}

static void arena_unmap(nv_chunk *chunk, void *arg)
{
    (void)arg;
    if (chunk->is_arena)
        nv_os_unmap((void *)chunk->base, NV_CHUNK_BYTES);
}

void neve_heap_destroy(neve_heap *heap)
{
    if (heap == NULL)
        return;
    nv_large_destroy(heap);
    nv_heap_unmap(heap, heap->touched, heap->touched_capacity * sizeof(nv_pool *));
    nv_index_drop(heap);
    nv_held_destroy(heap);
    nv_heap_unmap(heap, heap->strays, heap->stray_bytes);
    nv_chunk_each(heap, arena_unmap, NULL);
    while (heap->slabs != NULL) {
        nv_slab *slab = heap->slabs;
        heap->slabs = slab->next;
        nv_heap_unmap(heap, slab, slab->bytes);
    }
    for (size_t top = 0; top < NV_ROOT_ENTRIES; top++)
        if (heap->root[top] != NULL)
            nv_os_unmap(heap->root[top], sizeof(nv_leaf));
    nv_os_unmap(heap, heap->bytes);
}

size_t neve_heap_trim(neve_heap *heap)
{
    size_t before = heap->returned_bytes;
    nv_cache_flush(heap);
    for (unsigned domain = 0; domain < NEVE_DOMAINS; domain++)
        for (unsigned size_class = 0; size_class < NV_CLASSES; size_class++) {
            nv_pool *pool = heap->current[domain][size_class];
            if (pool == NULL || pool->used != 0)
                continue;
            heap->current[domain][size_class] = NULL;
            nv_pool_release(heap, pool);
        }
    nv_arena_purge(heap, 0);
    return heap->returned_bytes - before;
}

typedef struct chunk_counts {
    const neve_heap *heap;
    neve_heap_stats *stats;
} chunk_counts;

static void chunk_count(nv_chunk *chunk, void *arg)
{
    const neve_heap *heap = ((chunk_counts *)arg)->heap;
    neve_heap_stats *stats = ((chunk_counts *)arg)->stats;
    if (!chunk->is_arena)
        return;
    stats->arenas++;
    for (unsigned i = 1; i < NV_POOLS; i++) {
        const nv_pool *pool = nv_pool_at(chunk->base, i);
        if ((chunk->free_mask >> i & 1) != 0)
            continue;
        size_t live = pool->used - nv_pool_cached_blocks(heap, pool, NULL);
        size_t used = live * nv_pool_block_bytes(pool);
        stats->small_blocks[pool->domain] += live;
        stats->small_bytes[pool->domain] += used;
        stats->pools_used += live != 0;
        stats->cached_bytes += pool->carved * nv_pool_block_bytes(pool) - used;
    }
    size_t dirty = (size_t)__builtin_popcountll(chunk->dirty_mask);
    stats->pools_cached += dirty;
    stats->cached_bytes += dirty << NV_POOL_SHIFT;
}

void neve_heap_get_stats(const neve_heap *heap, neve_heap_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    chunk_counts counts = {heap, stats};
    nv_chunk_each(heap, chunk_count, &counts);
    stats->arena_bytes = stats->arenas * NV_CHUNK_BYTES;
    stats->large_blocks = heap->large_count;
    stats->large_bytes = heap->large_bytes;
    stats->returned_bytes = heap->returned_bytes;
    stats->side_table_bytes = heap->table_bytes;
}

neve_status neve_heap_fail_alloc_at(neve_heap *heap, uint64_t n)
{
    heap->fail_in = n;
    return NEVE_DEBUG >= 1 ? NEVE_OK : NEVE_EUNSUPPORTED;
}
