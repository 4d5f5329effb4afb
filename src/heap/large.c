/* SPDX-License-Identifier: MIT */
/*
 * Blocks over NEVE_SMALL_MAX: given out by the large allocator (malloc, or the
 * caller's), and registered here, so that the heap can tell its own from other
 * allocators' blocks, count them, and give them back when it is destroyed.
 *
 * The registry is a hash table by address with linear probing and backward
 * shifting on removal; nothing of it lies in the blocks, which may be shared
 * with a forked parent.
 */
#include "heap_internal.h"

#include "platform/os.h"

#define FIRST_CAPACITY 256u

static size_t slot_of(const neve_heap *heap, const void *block)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)block >> NV_GRANULE_SHIFT) * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> 32) & (heap->large_capacity - 1);
}

nv_large *nv_large_find(const neve_heap *heap, const void *block)
{
    if (heap->large_count == 0 || block == NULL)
        return NULL;
    for (size_t i = slot_of(heap, block);; i = (i + 1) & (heap->large_capacity - 1)) {
        nv_large *entry = &heap->large_slots[i];
        if (entry->block == block)
            return entry;
        if (entry->block == NULL)
            return NULL;
    }
}

static nv_large *slot_for(neve_heap *heap, const void *block)
{
    size_t i = slot_of(heap, block);
    while (heap->large_slots[i].block != NULL)
        i = (i + 1) & (heap->large_capacity - 1);
    return &heap->large_slots[i];
}

/* Keeps the table at most two thirds full. */
static bool make_room(neve_heap *heap)
{
    if (heap->large_count * 3 < heap->large_capacity * 2)
        return true;
    size_t old_capacity = heap->large_capacity;
    nv_large *old = heap->large_slots;
    size_t capacity = old_capacity == 0 ? FIRST_CAPACITY : old_capacity * 2;
    nv_large *slots = nv_heap_map(heap, capacity * sizeof(nv_large));
    if (slots == NULL)
        return heap->large_count + 1 < old_capacity; /* fuller, and slower, but correct */
    heap->large_slots = slots;
    heap->large_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].block != NULL)
            *slot_for(heap, old[i].block) = old[i];
    nv_heap_unmap(heap, old, old_capacity * sizeof(nv_large));
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
    size_t mask = heap->large_capacity - 1;
    size_t hole = (size_t)(entry - heap->large_slots);
    for (size_t i = (hole + 1) & mask; heap->large_slots[i].block != NULL; i = (i + 1) & mask) {
        size_t home = slot_of(heap, heap->large_slots[i].block);
        /* The entry may move into the hole unless its home lies behind it. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            heap->large_slots[hole] = heap->large_slots[i];
            hole = i;
        }
    }
    memset(&heap->large_slots[hole], 0, sizeof(nv_large));
}

void *nv_large_alloc(neve_heap *heap, neve_domain domain, size_t size)
{
    if (!make_room(heap))
        return NULL;
    void *block = heap->large.malloc(heap->large.ctx, size);
    if (block == NULL)
        return NULL;
    nv_large *entry = slot_for(heap, block);
    *entry = (nv_large){.block = block, .size = size, .domain = (uint32_t)domain};
    heap->large_count++;
    heap->large_bytes += size;
    if (domain == NEVE_DOMAIN_OBJECT && heap->tracks_touched && !young_add(heap, entry)) {
        entry_remove(heap, entry);
        heap->large.free(heap->large.ctx, block);
        return NULL;
    }
    return block;
}

void *nv_large_realloc(neve_heap *heap, neve_domain domain, void *block, size_t size)
{
    if (nv_fails_now(heap))
        return NULL;
    nv_large *entry = nv_large_find(heap, block);
    nv_chunk *chunk = nv_chunk_find(heap, block);
    nv_large old = *entry;
    void *moved = heap->large.realloc(heap->large.ctx, block, size);
    if (moved == NULL)
        return NULL;
    if (moved == block) {
        heap->large_bytes += size - entry->size;
        entry->size = size;
        return block;
    }
    if (chunk != NULL)
        nv_bits_clear(heap, chunk, block);
    /* The count of entries and of young ones stays, so there is room. */
    uint32_t young = old.young;
    entry->young = 0;
    entry_remove(heap, entry);
    entry = slot_for(heap, moved);
    *entry = (nv_large){.block = moved, .size = size, .domain = (uint32_t)domain, .young = young};
    if (young != 0)
        heap->young_large[young - 1] = moved;
    heap->large_count++;
    heap->large_bytes += size;
    return moved;
}

void nv_large_free(neve_heap *heap, nv_large *entry)
{
    void *block = entry->block;
    entry_remove(heap, entry);
    heap->large.free(heap->large.ctx, block);
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

void nv_large_destroy(neve_heap *heap)
{
    for (size_t i = 0; i < heap->large_capacity; i++)
        if (heap->large_slots[i].block != NULL)
            heap->large.free(heap->large.ctx, heap->large_slots[i].block);
    nv_heap_unmap(heap, heap->large_slots, heap->large_capacity * sizeof(nv_large));
    nv_heap_unmap(heap, heap->young_large, heap->young_large_capacity * sizeof(void *));
    heap->large_slots = NULL;
    heap->young_large = NULL;
    heap->large_capacity = heap->large_count = 0;
}
