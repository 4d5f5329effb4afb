/* SPDX-License-Identifier: MIT */
/*
 * Blocks over NEVE_SMALL_MAX: given out by the large allocator (malloc, or the
 * caller's), and registered here, so that the heap can tell its own from other
 * allocators' blocks, count them, and give them back when it is destroyed.
 *
 * The registry is a hash table by address with linear probing and backward
 * shifting on removal; nothing of it lies in the blocks, which may be shared
 * with a forked parent. The child of a fork registers its blocks in a table of its
 * own, and only notes which of the inherited ones it has freed: the entries of one
 * address range lie all over the table.
 */
#include "heap_internal.h"

#include <malloc.h>
#include <stdlib.h>

#include "platform/os.h"

#define FIRST_CAPACITY 256u

/* Malloc aligns as the largest scalar type asks, which is 8 bytes on some 32-bit machines (Arm). */
static const bool malloc_aligns = _Alignof(max_align_t) >= NEVE_GRANULE;

static void *system_malloc(void *ctx, size_t size)
{
    (void)ctx;
    void *block;
    if (malloc_aligns)
        return malloc(size);
    return posix_memalign(&block, NEVE_GRANULE, size) == 0 ? block : NULL;
}

static void *system_realloc(void *ctx, void *block, size_t size)
{
    if (malloc_aligns)
        return realloc(block, size);
    void *moved = system_malloc(ctx, size);
    if (moved == NULL)
        return NULL;
    size_t held = malloc_usable_size(block);
    memcpy(moved, block, held < size ? held : size);
    free(block);
    return moved;
}

static void system_free(void *ctx, void *block)
{
    (void)ctx;
    free(block);
}

const neve_large_allocator nv_large_system = {
    .struct_size = sizeof(neve_large_allocator),
    .malloc = system_malloc,
    .realloc = system_realloc,
    .free = system_free,
};

static size_t slot_of(const nv_large_table *table, const void *block)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)block >> NV_GRANULE_SHIFT) * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> 32) & (table->capacity - 1);
}

static nv_large *find_in(const nv_large_table *table, const void *block)
{
    if (table->count == 0)
        return NULL;
    for (size_t i = slot_of(table, block);; i = (i + 1) & (table->capacity - 1)) {
        nv_large *entry = &table->slots[i];
        if (entry->block == block)
            return entry;
        if (entry->block == NULL)
            return NULL;
    }
}

static bool is_gone(const neve_heap *heap, size_t slot)
{
    return (heap->large_gone[slot / 64] >> (slot % 64) & 1) != 0;
}

nv_large *nv_large_find(const neve_heap *heap, const void *block)
{
    if (heap->large_count == 0 || block == NULL)
        return NULL;
    nv_large *entry = find_in(&heap->large_table, block);
    if (entry != NULL || heap->large_inherited.count == 0)
        return entry;
    entry = find_in(&heap->large_inherited, block);
    return entry == NULL || is_gone(heap, (size_t)(entry - heap->large_inherited.slots)) ? NULL
                                                                                         : entry;
}

static nv_large *slot_for(const nv_large_table *table, const void *block)
{
    size_t i = slot_of(table, block);
    while (table->slots[i].block != NULL)
        i = (i + 1) & (table->capacity - 1);
    return &table->slots[i];
}

static void entry_add(neve_heap *heap, nv_large entry)
{
    nv_large_table *table = &heap->large_table;
    *slot_for(table, entry.block) = entry;
    table->count++;
    heap->large_count++;
    heap->large_bytes += entry.size;
}

/* Keeps the table at most two thirds full. */
static bool make_room(neve_heap *heap)
{
    nv_large_table *table = &heap->large_table;
    if (table->count * 3 < table->capacity * 2)
        return true;
    nv_large_table old = *table;
    size_t capacity = old.capacity == 0 ? FIRST_CAPACITY : old.capacity * 2;
    nv_large *slots = nv_heap_map(heap, capacity * sizeof(nv_large));
    if (slots == NULL)
        return old.count + 1 < old.capacity; /* fuller, and slower, but correct */
    table->slots = slots;
    table->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].block != NULL)
            *slot_for(table, old.slots[i].block) = old.slots[i];
    nv_heap_unmap(heap, old.slots, old.capacity * sizeof(nv_large));
    return true;
}

/* Closes the holes that freed objects left in the list of young ones. */
static void young_compact(neve_heap *heap)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->young_large_count; i++) {
        void *block = heap->young_large[i];
        if (block == NULL)
            continue;
        heap->young_large[kept++] = block;
        nv_large_find(heap, block)->young = (uint32_t)kept;
    }
    heap->young_large_count = kept;
    heap->young_large_holes = 0;
}

/* Objects are young at first: the collector will ask for the list. */
static bool young_add(neve_heap *heap, nv_large *entry)
{
    if (heap->young_large_count == heap->young_large_capacity &&
        heap->young_large_holes > heap->young_large_count / 2)
        young_compact(heap);
    if (heap->young_large_count == heap->young_large_capacity) {
        void **grown = nv_list_grow(heap, heap->young_large, &heap->young_large_capacity,
                                    heap->young_large_count + 1);
        if (grown == NULL)
            return false;
        heap->young_large = grown;
    }
    heap->young_large[heap->young_large_count++] = entry->block;
    entry->young = (uint32_t)heap->young_large_count;
    return true;
}

static void entry_remove(neve_heap *heap, nv_large *entry)
{
    if (entry->young != 0) {
        heap->young_large[entry->young - 1] = NULL;
        heap->young_large_holes++;
    }
    heap->large_count--;
    heap->large_bytes -= entry->size;
    size_t inherited = (size_t)((uintptr_t)entry - (uintptr_t)heap->large_inherited.slots);
    if (inherited < heap->large_inherited.capacity * sizeof *entry) {
        size_t slot = inherited / sizeof *entry;
        heap->large_gone[slot / 64] |= (uint64_t)1 << (slot % 64);
        return;
    }
    nv_large_table *table = &heap->large_table;
    size_t mask = table->capacity - 1;
    size_t hole = (size_t)(entry - table->slots);
    for (size_t i = (hole + 1) & mask; table->slots[i].block != NULL; i = (i + 1) & mask) {
        size_t home = slot_of(table, table->slots[i].block);
        /* The entry may move into the hole unless its home lies behind it. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table->slots[hole] = table->slots[i];
            hole = i;
        }
    }
    memset(&table->slots[hole], 0, sizeof(nv_large));
    table->count--;
}

void *nv_large_alloc(neve_heap *heap, neve_domain domain, size_t size)
{
    if (!make_room(heap))
        return NULL;
    void *block = heap->large.malloc(heap->large.ctx, size);
    if (block == NULL)
        return NULL;
    entry_add(heap, (nv_large){.block = block, .size = size, .domain = (uint32_t)domain});
    if (domain == NEVE_DOMAIN_OBJECT && heap->tracks_touched &&
        !young_add(heap, nv_large_find(heap, block))) {
        entry_remove(heap, nv_large_find(heap, block));
        heap->large.free(heap->large.ctx, block);
        return NULL;
    }
    return block;
}

void *nv_large_realloc(neve_heap *heap, neve_domain domain, void *block, size_t size)
{
    if (nv_fails_now(heap) || !make_room(heap))
        return NULL;
    nv_large *entry = nv_large_find(heap, block);
    nv_chunk *chunk = nv_chunk_find(heap, block);
    nv_large changed = *entry;
    void *moved = heap->large.realloc(heap->large.ctx, block, size);
    if (moved == NULL)
        return NULL;
    if (moved != block && chunk != NULL)
        nv_bits_clear(heap, chunk, block);
    /* Out and in again: the entry may be one that is only to be read. */
    uint32_t young = changed.young;
    if (young != 0)
        entry->young = 0; /* its place in the list is kept */
    entry_remove(heap, entry);
    changed.block = moved;
    changed.size = size;
    if (moved != block)
        changed.domain = (uint32_t)domain;
    entry_add(heap, changed);
    if (young != 0)
        heap->young_large[young - 1] = moved;
    return moved;
}

void nv_large_free(neve_heap *heap, nv_large *entry)
{
    void *block = entry->block;
    entry_remove(heap, entry);
    heap->large.free(heap->large.ctx, block);
}

size_t nv_large_usable_size(const neve_heap *heap, const nv_large *entry)
{
    if (heap->large.usable_size == NULL)
        return entry->size;
    return heap->large.usable_size(heap->large.ctx, entry->block);
}

void nv_large_take_young(neve_heap *heap, bool (*keep)(void *block, void *arg), void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->young_large_count; i++) {
        void *block = heap->young_large[i];
        if (block == NULL)
            continue;
        nv_large *entry = nv_large_find(heap, block);
        if (keep != NULL && keep(block, arg)) {
            heap->young_large[kept++] = block;
            entry->young = (uint32_t)kept;
        } else {
            entry->young = 0;
        }
    }
    heap->young_large_count = kept;
    heap->young_large_holes = 0;
}

void nv_large_inherit(neve_heap *heap)
{
    /* In a fork inside a fork the second table is this process's own, in part. */
    nv_large_table *table = &heap->large_table;
    if (heap->large_inherited.slots != NULL || table->capacity <= FIRST_CAPACITY)
        return;
    heap->large_gone = nv_heap_map(heap, table->capacity / 8);
    if (heap->large_gone == NULL)
        return; /* then its pages are copied as they are written */
    heap->large_inherited = *table;
    *table = (nv_large_table){0};
}

void nv_large_each(const neve_heap *heap, void (*visit)(const nv_large *entry, void *arg),
                   void *arg)
{
    for (size_t i = 0; i < heap->large_table.capacity; i++)
        if (heap->large_table.slots[i].block != NULL)
            visit(&heap->large_table.slots[i], arg);
    for (size_t i = 0; i < heap->large_inherited.capacity; i++)
        if (heap->large_inherited.slots[i].block != NULL && !is_gone(heap, i))
            visit(&heap->large_inherited.slots[i], arg);
}

static void free_block(const nv_large *entry, void *arg)
{
    neve_heap *heap = arg;
    heap->large.free(heap->large.ctx, entry->block);
}

void nv_large_destroy(neve_heap *heap)
{
    nv_large_each(heap, free_block, heap);
    nv_heap_unmap(heap, heap->large_table.slots, heap->large_table.capacity * sizeof(nv_large));
    nv_heap_unmap(heap, heap->large_inherited.slots,
                  heap->large_inherited.capacity * sizeof(nv_large));
    nv_heap_unmap(heap, heap->large_gone, heap->large_inherited.capacity / 8);
    nv_heap_unmap(heap, heap->young_large, heap->young_large_capacity * sizeof(void *));
    heap->large_table = heap->large_inherited = (nv_large_table){0};
    heap->large_gone = NULL;
    heap->young_large = NULL;
    heap->large_count = 0;
}
