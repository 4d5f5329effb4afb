/* SPDX-License-Identifier: MIT */
/*
 * Blocks of another process's heap that are free though their pools count them as used:
 * those in its caches, and strays of a fork (heap/cache.c, heap/fork.c). Their addresses
 * are gathered once for each of the two processes and sorted.
 *
 * What is read may be nonsense, or change meanwhile: lists end where they cannot be read,
 * and at a length that no cache has.
 */
#include "cow_internal.h"

#define MAX_CACHED 65536u /* of one heap: more is nonsense */

static bool add(nv_look *look, nv_store *store, uintptr_t block)
{
    uintptr_t *item = nv_store_add(store);
    if (item == NULL)
        look->is_out_of_memory = true;
    else
        *item = block;
    return item != NULL;
}

static bool read_into(const nv_process *process, uintptr_t address, void *out, size_t bytes)
{
    return nv_process_read(process, address, out, bytes) == bytes;
}

static void gather_heap(nv_look *look, const nv_process *process, uintptr_t heap, nv_store *store)
{
    nv_cache caches[NV_KINDS];
    if (!read_into(process, heap + offsetof(neve_heap, caches), caches, sizeof caches))
        return;
    for (unsigned kind = 1; kind < NV_KINDS; kind++) {
        uintptr_t at = (uintptr_t)caches[kind].free;
        for (uint32_t n = 0; at != 0 && n < nv_cache_count(&caches[kind]) && n < MAX_CACHED; n++)
            if (!add(look, store, at) || !read_into(process, at, &at, sizeof at))
                break;
    }
    uintptr_t strays = 0;
    size_t count = 0;
    if (!read_into(process, heap + offsetof(neve_heap, strays), &strays, sizeof strays) ||
        !read_into(process, heap + offsetof(neve_heap, stray_count), &count, sizeof count))
        return;
    for (size_t i = 0; i < count && i < MAX_CACHED; i++) {
        uintptr_t block = 0;
        if (!read_into(process, strays + i * sizeof block, &block, sizeof block))
            return;
        if ((block & 1) == 0 && !add(look, store, block))
            return;
    }
}

static void gather(nv_look *look, const nv_process *process, nv_store *store)
{
    for (unsigned i = 0; i < NV_NOTE_HEAPS; i++)
        if (look->note.heaps[i].ready != 0)
            gather_heap(look, process, look->note.heaps[i].ready, store);
    nv_addresses_sort(store->items, store->count);
}

void nv_cow_cached_gather(nv_look *look)
{
    gather(look, &look->now, &look->cached_now);
    if (look->has_then)
        gather(look, &look->then, &look->cached_then);
}

const uintptr_t *nv_cow_cached_from(const nv_store *store, uintptr_t address)
{
    const uintptr_t *items = store->items;
    size_t low = 0, high = store->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (items[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return items == NULL ? NULL : items + low;
}
