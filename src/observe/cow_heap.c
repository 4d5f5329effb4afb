/* SPDX-License-Identifier: MIT */
/*
 * Neve's heap in another process: where its arenas, tables and pools are, and what of the
 * blocks on dirty pages differs from what they were at the fork.
 *
 * The structures are read with this library's own declarations, once the note has said
 * that they are the same.
 */
#include "cow_internal.h"

#include "platform/os.h"

#define MAX_LIST 65536u /* slabs and the like: more is nonsense */

static void region_add(nv_look *look, uintptr_t start, size_t bytes, neve_cow_area area)
{
    if (start == 0 || bytes == 0 || start + bytes < start)
        return;
    nv_region *region = nv_store_add(&look->regions);
    if (region == NULL)
        look->is_out_of_memory = true;
    else
        *region = (nv_region){start, start + bytes, (uint8_t)area};
}

static bool read_all(const nv_process *process, uintptr_t address, void *out, size_t bytes)
{
    return nv_process_read(process, address, out, bytes) == bytes;
}

#define READ(process, address, variable) read_all(process, address, &(variable), sizeof(variable))

/* ---- regions ---- */

static bool is_same_use(const nv_pool *a, const nv_pool *b)
{
    return a->size_class == b->size_class && a->domain == b->domain;
}

static bool is_pool_sane(const nv_pool *pool)
{
    return pool->size_class != 0 && pool->size_class < NV_CLASSES &&
           pool->carved <= NV_POOL_BYTES / nv_pool_block_bytes(pool) && pool->domain < NEVE_DOMAINS;
}

static void arena_regions(nv_look *look, uintptr_t base, uintptr_t chunk_address)
{
    nv_pool pools[NV_POOLS];
    nv_chunk chunk;
    if (!read_all(&look->now, (uintptr_t)nv_pool_at(base, 0), pools, sizeof pools) ||
        !READ(&look->now, chunk_address, chunk))
        return;
    nv_arena *arena = nv_store_add(&look->arenas);
    if (arena == NULL) {
        look->is_out_of_memory = true;
        return;
    }
    *arena = (nv_arena){base, (uintptr_t)chunk.high};
    region_add(look, base, NV_POOL_BYTES, NEVE_COW_AREA_TABLES);
    region_add(look, (uintptr_t)chunk.index, sizeof(nv_index), NEVE_COW_AREA_TABLES);
    region_add(look, (uintptr_t)chunk.numbered, sizeof(nv_numbered), NEVE_COW_AREA_TABLES);
    for (unsigned i = 1; i < NV_POOLS; i++) {
        neve_cow_area area = NEVE_COW_AREA_EMPTY;
        if (is_pool_sane(&pools[i]))
            area =
                pools[i].domain == NEVE_DOMAIN_RAW ? NEVE_COW_AREA_BUFFERS : NEVE_COW_AREA_OBJECTS;
        region_add(look, base + ((size_t)i << NV_POOL_SHIFT), NV_POOL_BYTES, area);
    }
}

static void leaf_regions(nv_look *look, uintptr_t address, uintptr_t first_number, nv_leaf *leaf)
{
    if (!read_all(&look->now, address, leaf, offsetof(nv_leaf, entries)) ||
        leaf->low > leaf->high || leaf->high > NV_LEAF_ENTRIES)
        return;
    region_add(look, address, sizeof *leaf, NEVE_COW_AREA_TABLES);
    size_t bytes = (leaf->high - leaf->low) * sizeof leaf->entries[0];
    if (!read_all(&look->now, address + offsetof(nv_leaf, entries) + leaf->low * sizeof(uintptr_t),
                  leaf->entries + leaf->low, bytes))
        return;
    for (size_t i = leaf->low; i < leaf->high; i++)
        if (nv_entry_is_arena(leaf->entries[i]))
            arena_regions(look, (first_number + i) << NV_CHUNK_SHIFT,
                          (uintptr_t)nv_entry_chunk(leaf->entries[i]));
}

static void table_regions(nv_look *look, const neve_heap *heap)
{
    const neve_cow_area area = NEVE_COW_AREA_TABLES;
    nv_slab head;
    uintptr_t at = (uintptr_t)heap->slabs;
    for (unsigned i = 0; at != 0 && i < MAX_LIST; i++, at = (uintptr_t)head.next) {
        if (!read_all(&look->now, at, &head, offsetof(nv_slab, chunks)))
            break;
        region_add(look, at, head.bytes, area);
    }
    nv_held_slab held;
    at = (uintptr_t)heap->held_slabs;
    for (unsigned i = 0; at != 0 && i < MAX_LIST; i++, at = (uintptr_t)held.next) {
        if (!READ(&look->now, at, held))
            break;
        region_add(look, at, NV_HELD_SLAB_BYTES, area);
    }
    region_add(look, (uintptr_t)heap->touched, heap->touched_capacity * sizeof(void *), area);
    region_add(look, (uintptr_t)heap->young_large, heap->young_large_capacity * sizeof(void *),
               area);
    region_add(look, (uintptr_t)heap->large_table.slots,
               heap->large_table.capacity * sizeof(nv_large), area);
    region_add(look, (uintptr_t)heap->large_inherited.slots,
               heap->large_inherited.capacity * sizeof(nv_large), area);
    region_add(look, (uintptr_t)heap->large_gone, heap->large_inherited.capacity / 8, area);
}

void nv_cow_heap_regions(nv_look *look, uintptr_t address)
{
    const size_t page = look->page_bytes;
    const size_t room = (sizeof(neve_heap) + sizeof(nv_leaf) + page - 1) & ~(page - 1);
    neve_heap *heap = nv_os_map(room);
    if (heap == NULL) {
        look->is_out_of_memory = true;
        return;
    }
    nv_leaf *leaf = (nv_leaf *)(void *)(heap + 1);
    if (read_all(&look->now, address, heap, offsetof(neve_heap, root)) &&
        heap->root_low <= heap->root_high && heap->root_high <= NV_ROOT_ENTRIES) {
        region_add(look, address, heap->bytes, NEVE_COW_AREA_TABLES);
        table_regions(look, heap);
        for (size_t top = heap->root_low; top < heap->root_high; top++) {
            uintptr_t at = 0;
            if (READ(&look->now, address + offsetof(neve_heap, root) + top * sizeof(void *), at) &&
                at != 0)
                leaf_regions(look, at, (uintptr_t)top << NV_LEAF_SHIFT, leaf);
        }
    }
    nv_os_unmap(heap, room);
}

/* ---- pools ---- */

/* What a table of bits has for one pool. */
#define STATE_BYTES (NV_POOL_BYTES / NEVE_GRANULE / 64 * sizeof(uint64_t))

/* A pool in one of the two processes. */
typedef struct pool_view {
    const nv_process *process;
    const nv_store *cached;
    nv_pool pool; /* size_class 0: it is not in use, or nonsense */
    uint64_t live[NV_POOL_BITS_WORDS];
} pool_view;

static bool is_live(const pool_view *view, size_t number)
{
    return (view->live[number / 64] >> (number % 64) & 1) != 0;
}

static void set_free(pool_view *view, size_t number)
{
    view->live[number / 64] &= ~((uint64_t)1 << (number % 64));
}

/* Blocks of an inherited raw pool that are noted as free in a state table (heap/fork.c). */
static void subtract_noted(pool_view *view, uintptr_t state)
{
    enum { WORDS = NV_POOL_BYTES / NEVE_GRANULE / 64 };
    uint64_t words[WORDS];
    if (!READ(view->process, state, words))
        return;
    size_t granules = nv_pool_block_bytes(&view->pool) / NEVE_GRANULE;
    for (size_t i = 0; i < view->pool.carved; i++) {
        size_t granule = i * granules;
        if ((words[granule / 64] >> (granule % 64) & 1) != 0)
            set_free(view, i);
    }
}

/* Which blocks are live: all that were handed out but for those in the free list, in
 * caches, held back, or noted as free. `state` is the address of the pool's words in the
 * table of high bits. */
static void find_live(pool_view *view, uintptr_t base, const unsigned char *bytes, uintptr_t state)
{
    const nv_pool *pool = &view->pool;
    memset(view->live, 0, sizeof view->live);
    if (!is_pool_sane(pool)) {
        view->pool.size_class = 0;
        return;
    }
    size_t block_bytes = nv_pool_block_bytes(pool);
    for (size_t i = 0; i < pool->carved; i++)
        view->live[i / 64] |= (uint64_t)1 << (i % 64);
    uintptr_t at = (uintptr_t)pool->free;
    for (unsigned i = 0; at != 0 && i < pool->carved; i++) {
        size_t offset = at - base;
        if (offset >= NV_POOL_BYTES || offset % block_bytes != 0)
            break;
        set_free(view, offset / block_bytes);
        memcpy(&at, bytes + offset, sizeof at);
    }
    const uintptr_t *end = nv_cow_cached_from(view->cached, UINTPTR_MAX);
    for (const uintptr_t *cached = nv_cow_cached_from(view->cached, base);
         cached != NULL && cached < end && *cached < base + NV_POOL_BYTES; cached++)
        set_free(view, (*cached - base) / block_bytes);
    uint64_t held[NV_POOL_BITS_WORDS];
    if (pool->held != NULL && read_all(view->process, (uintptr_t)pool->held, held,
                                       nv_pool_bits_words(pool) * sizeof *held))
        for (unsigned w = 0; w < nv_pool_bits_words(pool); w++)
            view->live[w] &= ~held[w];
    if (pool->domain == NEVE_DOMAIN_RAW && (pool->tag & NV_POOL_INHERITED) != 0)
        subtract_noted(view, state);
}

/* The bytes at both times are in look->bytes_now and look->bytes_then. */
typedef struct pool_work {
    uintptr_t base;
    pool_view now, then;
    bool is_gone;                             /* it has emptied since, which was counted */
    size_t pages;                             /* that it lies on */
    neve_cow_page *page[NV_POOL_BYTES >> 10]; /* NULL: not present */
    bool is_comparable[NV_POOL_BYTES >> 10];
} pool_work;

static bool was_live(const pool_work *work, size_t number)
{
    /* A pool that served something else is made of other blocks. */
    return is_same_use(&work->then.pool, &work->now.pool) && is_live(&work->then, number);
}

static nv_block block_of(const nv_look *look, const pool_work *work, size_t number)
{
    size_t bytes = nv_pool_block_bytes(&work->now.pool);
    nv_block block = {
        .address = work->base + number * bytes,
        .size = bytes,
        .plain_type = work->now.pool.domain == NEVE_DOMAIN_RAW ? NV_TYPE_BUFFER : NV_TYPE_BLOCK,
        .was_live = was_live(work, number),
        .is_live = is_live(&work->now, number),
        .now = look->bytes_now + number * bytes,
        .then = look->bytes_then + number * bytes,
        .first_bytes = bytes < NV_FIRST_BYTES ? bytes : NV_FIRST_BYTES,
    };
    return block;
}

/* Compares the parts of a block that lie on pages that are to be compared. */
static void compare_block(nv_look *look, pool_work *work, size_t number)
{
    nv_block block = block_of(look, work, number);
    size_t start = number * block.size, end = start + block.size;
    bool is_freed = block.was_live && !block.is_live;
    if (!is_freed && memcmp(block.now, block.then, block.size) == 0)
        return;
    nv_block_identify(look, &block);
    while (start < end) {
        size_t in_page = (work->base + start) & (look->page_bytes - 1);
        size_t piece =
            look->page_bytes - in_page < end - start ? look->page_bytes - in_page : end - start;
        size_t which = start / look->page_bytes;
        if (work->is_comparable[which])
            nv_block_compare(look, &block, start - number * block.size, look->bytes_now + start,
                             look->bytes_then + start, piece, work->page[which]);
        start += piece;
    }
    if (!work->is_gone)
        nv_block_count(look, &block);
}

/* Blocks that begin on pages that were not there, or whose contents are the same again. */
static void count_others(nv_look *look, pool_work *work)
{
    nv_tally tally = {0};
    size_t bytes = nv_pool_block_bytes(&work->now.pool), tallied = 0;
    for (size_t i = 0; i < work->now.pool.carved; i++) {
        size_t which = i * bytes / look->page_bytes;
        neve_cow_page *page = work->page[which];
        if (which != tallied) {
            nv_tally_close(look, &tally);
            tally = (nv_tally){0};
            tallied = which;
        }
        if (page == NULL || page->state != NEVE_COW_STATE_DIRTY || !is_live(&work->now, i))
            continue;
        nv_block block = block_of(look, work, i);
        const unsigned is_new = 1u << NEVE_COW_CAUSE_NEW;
        const unsigned all = (1u << NEVE_COW_CAUSES) - 1;
        if ((page->causes & is_new) != 0)
            nv_block_count_new(look, &block);
        else if (work->is_comparable[which] && (page->causes & all) == 0)
            nv_tally_add(look, &tally, &block);
    }
    nv_tally_close(look, &tally);
}

/* Counts what lived in a pool whose memory was given up since. */
static void count_gone(nv_look *look, pool_work *work, const nv_pool *pool, uintptr_t state)
{
    work->then = (pool_view){.process = &look->then, .cached = &look->cached_then, .pool = *pool};
    if (!read_all(&look->then, work->base, look->bytes_then, NV_POOL_BYTES))
        return;
    find_live(&work->then, work->base, look->bytes_then, state);
    work->now = work->then;
    for (size_t i = 0; i < work->then.pool.carved && work->then.pool.size_class != 0; i++) {
        nv_block block = block_of(look, work, i);
        block.is_live = false;
        if (block.was_live)
            nv_block_count_gone(look, &block);
    }
}

static void compare_pool(nv_look *look, const nv_arena *arena, unsigned number,
                         const nv_pool *pool_now, const nv_pool *pool_then)
{
    pool_work work = {.base = arena->base + ((size_t)number << NV_POOL_SHIFT)};
    work.pages = NV_POOL_BYTES / look->page_bytes;
    if (work.pages == 0)
        work.pages = 1; /* a page holds several pools */
    /* A pool that emptied, and perhaps serves another size by now: what was in it is gone. */
    if (pool_then->size_class != 0 && !is_same_use(pool_then, pool_now))
        count_gone(look, &work, pool_then, arena->high + number * STATE_BYTES);
    bool any_dirty = false;
    for (size_t i = 0; i < work.pages; i++) {
        neve_cow_page *page = nv_page_of(look, work.base + i * look->page_bytes);
        work.page[i] = page;
        work.is_comparable[i] = nv_page_is_comparable(look, page);
        any_dirty |= page != NULL && page->state == NEVE_COW_STATE_DIRTY;
    }
    if (!any_dirty)
        return;
    uintptr_t state = arena->high + number * STATE_BYTES;
    nv_pages_read(look, work.base, NV_POOL_BYTES, look->bytes_now, look->bytes_then);
    work.now = (pool_view){.process = &look->now, .cached = &look->cached_now, .pool = *pool_now};
    work.then =
        (pool_view){.process = &look->then, .cached = &look->cached_then, .pool = *pool_then};
    find_live(&work.now, work.base, look->bytes_now, state);
    find_live(&work.then, work.base, look->bytes_then, state);
    if (work.now.pool.size_class == 0)
        work.now = work.then; /* emptied since: its blocks are those of then */
    if (work.now.pool.size_class == 0)
        return;
    work.is_gone = pool_now->size_class == 0; /* its frees are counted */
    if (work.is_gone)
        memset(work.now.live, 0, sizeof work.now.live);
    /* One that emptied and was taken again for the same size has handed out less so far. */
    size_t carved = work.now.pool.carved;
    if (is_same_use(&work.then.pool, &work.now.pool) && carved < work.then.pool.carved)
        carved = work.then.pool.carved;
    for (size_t i = 0; i < carved; i++)
        compare_block(look, &work, i);
    count_others(look, &work);
}

void nv_cow_heap_compare(nv_look *look)
{
    nv_pool now[NV_POOLS], then[NV_POOLS];
    if (!look->has_then)
        return;
    nv_cow_cached_gather(look);
    for (size_t i = 0; i < look->arenas.count; i++) {
        const nv_arena *arena = (const nv_arena *)look->arenas.items + i;
        uintptr_t at = (uintptr_t)nv_pool_at(arena->base, 0);
        if (!READ(&look->now, at, now))
            continue;
        if (!READ(&look->then, at, then))
            memset(then, 0, sizeof then); /* an arena of the process's own */
        for (unsigned k = 1; k < NV_POOLS; k++)
            compare_pool(look, arena, k, &now[k], &then[k]);
    }
}
