/* SPDX-License-Identifier: MIT */
/*
 * The two-level table of chunks, keyed by address, and the side tables that
 * hang on each chunk: state bits, mark bits, index.
 *
 * Descriptors and their tables come from slabs of NV_SLAB_CHUNKS, whose pages
 * the system commits on first touch, so that a chunk in which few objects lie
 * costs few pages, and whose mark tables go back to the system in one call.
 *
 * Called by the heap and by the collector's marking and verification.
 */
#include "heap_internal.h"

#include "platform/os.h"

void *nv_heap_map(neve_heap *heap, size_t bytes)
{
    if (nv_fails_now(heap))
        return NULL;
    void *address = nv_os_map(bytes);
    if (address != NULL)
        heap->table_bytes += bytes;
    return address;
}

void *nv_heap_remap(neve_heap *heap, void *address, size_t old_bytes, size_t new_bytes)
{
    if (nv_fails_now(heap))
        return NULL;
    void *moved = nv_os_remap(address, old_bytes, new_bytes);
    if (moved != NULL)
        heap->table_bytes += new_bytes - old_bytes;
    return moved;
}

void nv_heap_unmap(neve_heap *heap, void *address, size_t bytes)
{
    if (address == NULL)
        return;
    nv_os_unmap(address, bytes);
    heap->table_bytes -= bytes;
}

void **nv_list_grow(neve_heap *heap, void **items, size_t *capacity, size_t wanted)
{
    size_t old_bytes = *capacity * sizeof(void *);
    size_t bytes = old_bytes == 0 ? 4096 : old_bytes;
    while (bytes < wanted * sizeof(void *))
        bytes *= 2;
    void **grown =
        old_bytes == 0 ? nv_heap_map(heap, bytes) : nv_heap_remap(heap, items, old_bytes, bytes);
    if (grown != NULL)
        *capacity = bytes / sizeof(void *);
    return grown;
}

#define TABLE_BYTES (NV_CHUNK_WORDS * sizeof(uint64_t)) /* of one kind of bits, of a chunk */

static size_t page_round(size_t bytes)
{
    size_t page = nv_os_page_bytes();
    return (bytes + page - 1) & ~(page - 1);
}

/* A slab is laid out as: descriptors | high | low | white | grey, a table of each for
 * every chunk, on pages of their own: the marks are written and given back at other
 * times than the states, and many chunks have neither low bits nor grey ones. */
static bool slab_add(neve_heap *heap)
{
    size_t head = page_round(sizeof(nv_slab));
    size_t table = page_round(TABLE_BYTES);
    size_t bytes = head + NV_SLAB_CHUNKS * 4 * table;

    nv_slab *slab = nv_heap_map(heap, bytes);
    if (slab == NULL)
        return false;
    slab->bytes = bytes;
    char *at = (char *)slab + head;
    uint64_t *tables[4];
    for (unsigned k = 0; k < 4; k++)
        tables[k] = (uint64_t *)(void *)(at + k * NV_SLAB_CHUNKS * table);
    slab->marks = tables[2];
    for (unsigned i = NV_SLAB_CHUNKS; i-- > 0;) {
        nv_chunk *chunk = &slab->chunks[i];
        size_t first = i * (table / sizeof(uint64_t));
        chunk->high = tables[0] + first;
        chunk->low = tables[1] + first;
        chunk->white = tables[2] + first;
        chunk->grey = tables[3] + first;
        chunk->next = heap->free_chunks;
        heap->free_chunks = chunk;
    }
    slab->next = heap->slabs;
    heap->slabs = slab;
    return true;
}

nv_chunk *nv_chunk_ensure(neve_heap *heap, const void *address)
{
    nv_chunk *chunk = nv_chunk_find(heap, address);
    if (chunk != NULL)
        return chunk;

    uintptr_t number = (uintptr_t)address >> NV_CHUNK_SHIFT;
    uintptr_t top = number >> NV_LEAF_SHIFT;
    if (top >= NV_ROOT_ENTRIES)
        return NULL; /* beyond 48 bits: no allocator hands out such addresses */
    if (heap->root[top] == NULL) {
        heap->root[top] = nv_heap_map(heap, page_round(sizeof(nv_leaf)));
        if (heap->root[top] == NULL)
            return NULL;
        heap->root[top]->low = NV_LEAF_ENTRIES;
        if (heap->root_high == 0 || top < heap->root_low)
            heap->root_low = top;
        if (top >= heap->root_high)
            heap->root_high = top + 1;
    }
    if (heap->free_chunks == NULL && !slab_add(heap))
        return NULL;
    chunk = heap->free_chunks;
    heap->free_chunks = chunk->next;
    chunk->next = chunk->prev = NULL;
    chunk->base = number << NV_CHUNK_SHIFT;
    nv_leaf *leaf = heap->root[top];
    size_t at = number & (NV_LEAF_ENTRIES - 1);
    leaf->entries[at] = (uintptr_t)chunk;
    if (at < leaf->low)
        leaf->low = at;
    if (at >= leaf->high)
        leaf->high = at + 1;
    return chunk;
}

/* One word, in order: other threads may ask for other blocks meanwhile. */
static void entry_store(neve_heap *heap, const nv_chunk *chunk, uintptr_t entry)
{
    uintptr_t number = chunk->base >> NV_CHUNK_SHIFT;
    uintptr_t *at = &heap->root[number >> NV_LEAF_SHIFT]->entries[number & (NV_LEAF_ENTRIES - 1)];
    __atomic_store_n(at, entry, __ATOMIC_RELEASE);
    uintptr_t *owned = &heap->owned[number % NV_OWNED];
    if (nv_entry_is_arena(entry)) {
        if (*owned != number) /* none of its pools is in use */
            memset(nv_kind_at(heap, (void *)chunk->base), 0, NV_POOLS);
        __atomic_store_n(owned, number, __ATOMIC_RELEASE);
    } else if (*owned == number)
        __atomic_store_n(owned, NV_OWNED_NONE(number), __ATOMIC_RELEASE);
}

/* Zeroes a table by giving its pages back. */
static void table_clear(void *table, size_t bytes)
{
    if (!nv_os_discard(table, page_round(bytes)))
        memset(table, 0, bytes);
}

static void index_reset(nv_index *index, bool is_arena)
{
    if (index == NULL)
        return;
    table_clear(index, sizeof *index);
    index->pools[0].first = is_arena ? NV_INDEX_HEAD : 0;
}

void nv_chunk_set_arena(neve_heap *heap, nv_chunk *chunk, bool is_arena)
{
    /* No candidate lies there any more, or yet; the slots have another meaning. */
    if (chunk->is_arena != is_arena)
        index_reset(chunk->index, is_arena);
    chunk->is_arena = is_arena;
    entry_store(heap, chunk, (uintptr_t)chunk | (is_arena ? NV_ENTRY_ARENA : 0));
}

void nv_chunk_remove(neve_heap *heap, nv_chunk *chunk)
{
    entry_store(heap, chunk, 0);

    /* An index table exists only inside a verification; it stays in the list
     * of tables to be dropped, so the descriptor may not be reused yet. The
     * callers free no arena then. */
    NV_ASSERT(chunk->index == NULL && chunk->numbered == NULL);
    table_clear(chunk->high, TABLE_BYTES);
    if (chunk->has_low)
        table_clear(chunk->low, TABLE_BYTES);
    table_clear(chunk->white, TABLE_BYTES);
    table_clear(chunk->grey, TABLE_BYTES);
    *chunk = (nv_chunk){.high = chunk->high,
                        .low = chunk->low,
                        .white = chunk->white,
                        .grey = chunk->grey,
                        .next = heap->free_chunks};
    heap->free_chunks = chunk;
}

void nv_chunk_each(const neve_heap *heap, void (*visit)(nv_chunk *chunk, void *arg), void *arg)
{
    for (size_t top = heap->root_low; top < heap->root_high; top++) {
        const nv_leaf *leaf = heap->root[top];
        if (leaf == NULL)
            continue;
        for (size_t i = leaf->low; i < leaf->high; i++)
            if (leaf->entries[i] != 0)
                visit(nv_entry_chunk(leaf->entries[i]), arg);
    }
}

nv_chunk *nv_chunk_next(const neve_heap *heap, uintptr_t address)
{
    uintptr_t number = (address + NV_CHUNK_BYTES - 1) >> NV_CHUNK_SHIFT;
    size_t top = number >> NV_LEAF_SHIFT;
    size_t i = number & (NV_LEAF_ENTRIES - 1);
    for (; top < heap->root_high; top++, i = 0) {
        const nv_leaf *leaf = heap->root[top];
        if (leaf == NULL)
            continue;
        for (i = i < leaf->low ? leaf->low : i; i < leaf->high; i++)
            if (leaf->entries[i] != 0)
                return nv_entry_chunk(leaf->entries[i]);
    }
    return NULL;
}

bool nv_state_set(neve_heap *heap, void *object, nv_state state)
{
    nv_chunk *chunk = nv_chunk_find(heap, object);
    if (chunk == NULL) {
        if (state == NV_STATE_YOUNG)
            return true;
        chunk = nv_chunk_ensure(heap, object);
        if (chunk == NULL)
            return false;
    }
    nv_state_set_in(heap, chunk, object, state);
    return true;
}

/* Writes only what changes: pages of the tables may be shared with a forked parent, or
 * not be there at all. */
void nv_bits_clear_word(neve_heap *heap, nv_chunk *chunk, unsigned at, uint64_t mask)
{
    uint64_t high = chunk->high[at] & mask;
    if (high != 0) {
        heap->old_objects -= (size_t)__builtin_popcountll(high);
        chunk->high[at] ^= high;
    }
    if ((nv_low_bits(chunk, at) & mask) != 0)
        chunk->low[at] &= ~mask;
    if (heap->marking) {
        if ((chunk->white[at] & mask) != 0)
            chunk->white[at] &= ~mask;
        if ((chunk->grey[at] & mask) != 0)
            chunk->grey[at] &= ~mask;
    }
}

void nv_bits_clear(neve_heap *heap, nv_chunk *chunk, const void *block)
{
    /* Objects begin within the first few granules of their block; the mask
     * may reach into the chunk's next word. */
    unsigned granule = nv_granule(block);
    unsigned shift = granule % 64;
    unsigned at = granule / 64;
    uint64_t mask = (uint64_t)heap->object_starts;
    nv_bits_clear_word(heap, chunk, at, mask << shift);
    uint64_t behind = shift == 0 ? 0 : mask >> (64 - shift);
    if (NEVE_LIKELY(behind == 0))
        return;
    if (at + 1 < NV_CHUNK_WORDS) {
        nv_bits_clear_word(heap, chunk, at + 1, behind);
    } else {
        nv_chunk *next = nv_chunk_find(heap, (const char *)block + 4 * NEVE_GRANULE);
        if (next != NULL)
            nv_bits_clear_word(heap, next, 0, behind);
    }
}

/* A table for a chunk; NULL without memory. */
static nv_index *index_make(neve_heap *heap, const nv_chunk *chunk)
{
    nv_index *index = nv_heap_map(heap, page_round(sizeof(nv_index)));
    if (index != NULL)
        index->pools[0].first = chunk->is_arena ? NV_INDEX_HEAD : 0;
    return index;
}

/* Gives the pool of `object` its slots, if it has none. */
static uint32_t *slot_ensure(const nv_chunk *chunk, nv_index *index, const void *object)
{
    if (chunk->is_arena) {
        const nv_pool *pool = nv_pool_of(object);
        unsigned number = nv_pool_number(pool);
        uint32_t inverse = nv_block_inverse(nv_pool_block_bytes(pool));
        NV_ASSERT(nv_pool_block_bytes(pool) >= (size_t)1 << NV_INDEX_SHIFT);
        if (index->pools[number].first == 0) {
            index->pools[number].inverse = inverse;
            index->pools[number].first = index->pools[0].first;
            index->pools[0].first += (uint32_t)(NV_POOL_BYTES / nv_pool_block_bytes(pool));
        }
    }
    return nv_index_slot((uintptr_t)chunk | (chunk->is_arena ? NV_ENTRY_ARENA : 0), index, object);
}

uint32_t *nv_index_ensure(neve_heap *heap, void *object)
{
    nv_chunk *chunk = nv_chunk_ensure(heap, object);
    if (chunk == NULL)
        return NULL;
    if (chunk->index == NULL) {
        chunk->index = index_make(heap, chunk);
        if (chunk->index == NULL)
            return NULL;
        chunk->next_indexed = heap->indexed;
        heap->indexed = chunk;
    }
    return slot_ensure(chunk, chunk->index, object);
}

nv_numbered *nv_numbered_ensure(neve_heap *heap, nv_chunk *chunk)
{
    if (chunk->numbered == NULL)
        chunk->numbered = nv_heap_map(heap, page_round(sizeof(nv_numbered)));
    return chunk->numbered;
}

void nv_numbered_drop(neve_heap *heap, nv_chunk *chunk)
{
    nv_heap_unmap(heap, chunk->numbered, page_round(sizeof(nv_numbered)));
    chunk->numbered = NULL;
}

void nv_index_drop(neve_heap *heap)
{
    while (heap->indexed != NULL) {
        nv_chunk *chunk = heap->indexed;
        heap->indexed = chunk->next_indexed;
        chunk->next_indexed = NULL;
        nv_heap_unmap(heap, chunk->index, page_round(sizeof(nv_index)));
        chunk->index = NULL;
    }
}

void nv_marks_drop_slab(nv_slab *slab)
{
    nv_os_discard(slab->marks, NV_SLAB_CHUNKS * 2 * page_round(TABLE_BYTES));
}

void nv_marks_drop(neve_heap *heap)
{
    for (nv_slab *slab = heap->slabs; slab != NULL; slab = slab->next)
        nv_marks_drop_slab(slab);
}
