/* SPDX-License-Identifier: MIT */
/*
 * A walk over all live blocks of a heap: pools in the order of their addresses, then
 * large blocks in that of their registry. Reads only, and allocates nothing.
 */
#include "heap_internal.h"

typedef struct walk {
    neve_block_fn visit;
    void *arg;
    int result; /* not 0: the walk has ended */
} walk;

static void walk_pool(walk *w, const neve_heap *heap, const nv_chunk *chunk, const nv_pool *pool)
{
    uint64_t live[NV_POOL_BITS_WORDS];
    nv_pool_live_blocks(heap, pool, live);
    size_t bytes = nv_pool_block_bytes(pool);
    bool is_inherited = (pool->tag & NV_POOL_INHERITED) != 0;
    for (unsigned word = 0; word < nv_pool_bits_words(pool); word++) {
        for (uint64_t bits = live[word]; bits != 0 && w->result == 0; bits &= bits - 1) {
            size_t number = word * 64 + (unsigned)__builtin_ctzll(bits);
            neve_block block = {.address = nv_pool_base(pool) + number * bytes,
                                .bytes = bytes,
                                .domain = (neve_domain)pool->domain};
            if (!is_inherited || !nv_inherited_is_noted(chunk, pool, block.address))
                w->result = w->visit(w->arg, &block);
        }
    }
}

static void walk_large(const nv_large *entry, void *arg)
{
    walk *w = arg;
    if (w->result != 0)
        return;
    neve_block block = {.address = entry->block,
                        .bytes = entry->size,
                        .domain = (neve_domain)entry->domain,
                        .is_large = true};
    w->result = w->visit(w->arg, &block);
}

int neve_heap_walk(const neve_heap *heap, neve_block_fn visit, void *arg)
{
    walk w = {.visit = visit, .arg = arg};
    for (const nv_chunk *chunk = nv_chunk_next(heap, 0); chunk != NULL && w.result == 0;
         chunk = nv_chunk_next(heap, chunk->base + 1)) {
        if (!chunk->is_arena)
            continue;
        for (unsigned i = 1; i < NV_POOLS && w.result == 0; i++)
            if ((chunk->free_mask >> i & 1) == 0)
                walk_pool(&w, heap, chunk, nv_pool_at(chunk->base, i));
    }
    if (w.result == 0)
        nv_large_each(heap, walk_large, &w);
    return w.result;
}
