/* SPDX-License-Identifier: MIT */
/*
 * Memory from which the models cut their blocks one after another, as from the fresh pools of an
 * allocator. Pages are of the smallest size: a huge one would be copied as a whole.
 */
#ifndef NEVE_BENCH_REGION_H
#define NEVE_BENCH_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

enum { REGION_GRANULE = 16 };

typedef struct region {
    char *start, *at;
} region;

static inline size_t region_rounded(size_t bytes)
{
    return (bytes + REGION_GRANULE - 1) / REGION_GRANULE * REGION_GRANULE;
}

/* Room for blocks of so many bytes in all, once rounded. False: no memory. */
static inline bool region_open(region *r, size_t bytes)
{
    void *memory = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    (void)madvise(memory, bytes + 1, MADV_NOHUGEPAGE);
    r->start = r->at = memory;
    return true;
}

static inline void *region_take(region *r, size_t bytes)
{
    void *block = r->at;
    r->at += region_rounded(bytes);
    return block;
}

#endif
