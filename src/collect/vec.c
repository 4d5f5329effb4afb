/* SPDX-License-Identifier: MIT */
/*
 * Vectors of objects, in mappings of their own: a collection may hold millions
 * of entries for some milliseconds, and gives them back to the OS right after.
 */
#include "collect_internal.h"

#include "platform/os.h"

/* Programs that only ever make a few large young collections, as at their start for the
 * modules that they import, do not carry the tables of these with them. */
#define KEEP_BYTES_AT_FIRST ((size_t)32 << 10)
#define GIVEN_BACK_AT_FIRST 8u

size_t nv_vec_keep_bytes(const neve_collector *c)
{
    return c->given_back < GIVEN_BACK_AT_FIRST ? KEEP_BYTES_AT_FIRST : NV_VEC_KEEP_BYTES;
}

bool nv_vec_reserve(neve_heap *heap, nv_vec *vec, size_t capacity)
{
    if (capacity <= vec->capacity)
        return true;
    void **grown = nv_list_grow(heap, vec->items, &vec->capacity, capacity);
    if (grown == NULL)
        return false;
    vec->items = grown;
    return true;
}

bool nv_vec_reserve_all(neve_heap *heap, nv_vec *vec, size_t capacity)
{
    size_t before = vec->capacity;
    if (!nv_vec_reserve(heap, vec, capacity))
        return false;
    if (before < capacity)
        nv_table_populate(vec->items + before, (capacity - before) * sizeof(void *));
    return true;
}

void nv_table_populate(void *table, size_t bytes)
{
    uintptr_t page = nv_os_page_bytes(), first = (uintptr_t)table & ~(page - 1);
    size_t whole = ((uintptr_t)table + bytes + page - 1 - first) & ~(page - 1);
    if (whole >= NV_VEC_KEEP_BYTES)
        (void)nv_os_populate((void *)first, whole);
}

void nv_vec_destroy(neve_heap *heap, nv_vec *vec)
{
    nv_heap_unmap(heap, vec->items, vec->capacity * sizeof(void *));
    *vec = (nv_vec){0};
}

void nv_vec_trim(const neve_collector *c, nv_vec *vec)
{
    vec->count = 0;
    if (vec->capacity * sizeof(void *) > nv_vec_keep_bytes(c))
        nv_vec_destroy(c->heap, vec);
}
