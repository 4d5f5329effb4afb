/* SPDX-License-Identifier: MIT */
/*
 * What happens before an allocation returns NULL: the program is asked whether it can
 * do without some memory, and the allocation is tried again.
 *
 * The hook may free blocks, so nothing that an attempt has looked at is true after it:
 * each attempt begins afresh. It is asked where the heap and what is built on it are
 * whole, never from within itself (neve_heap.is_asking), and whoever allocates while
 * his own structures are not sets that flag for the time being.
 */
#include "heap_internal.h"

bool nv_out_of_memory(neve_heap *heap, size_t bytes, unsigned attempt)
{
    if (heap->on_out_of_memory == NULL || heap->is_asking)
        return false;
    heap->is_asking = true;
    bool try_again = heap->on_out_of_memory(heap->on_out_of_memory_ctx, bytes, attempt);
    heap->is_asking = false;
    return try_again;
}

void *nv_alloc_again(neve_heap *heap, neve_domain domain, size_t size)
{
    void *block = NULL;
    if (size == 0) /* counts as 1, for the hook as well */
        size = 1;
    for (unsigned attempt = 1; block == NULL && nv_out_of_memory(heap, size, attempt); attempt++) {
        heap->is_asking = true;
        block = neve_heap_alloc(heap, domain, size);
        heap->is_asking = false;
    }
    return block;
}
