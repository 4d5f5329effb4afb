/* SPDX-License-Identifier: MIT */
/*
 * A memory profiler for test_memory_tools.py: hooks the mem domain (bit 0), the
 * object domain (bit 1), counts calls, and puts back what it found.
 */
#include <Python.h>

static PyMemAllocatorEx found[2];
static int active;
static long count;

static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static void *count_malloc(void *ctx, size_t size)
{
    PyMemAllocatorEx *below = ctx;
    count++;
    return below->malloc(below->ctx, size);
}

static void *count_calloc(void *ctx, size_t n, size_t size)
{
    PyMemAllocatorEx *below = ctx;
    count++;
    return below->calloc(below->ctx, n, size);
}

static void *count_realloc(void *ctx, void *block, size_t size)
{
    PyMemAllocatorEx *below = ctx;
    count++;
    return below->realloc(below->ctx, block, size);
}

static void count_free(void *ctx, void *block)
{
    PyMemAllocatorEx *below = ctx;
    count++;
    below->free(below->ctx, block);
}

void start(int which);
void stop(void);
long calls(void);
void save(void);
void put_back(void);

void start(int which)
{
    active = which;
    count = 0;
    for (int i = 0; i < 2; i++) {
        if ((active >> i & 1) == 0)
            continue;
        PyMem_GetAllocator(domains[i], &found[i]);
        PyMemAllocatorEx hook = {&found[i], count_malloc, count_calloc, count_realloc, count_free};
        PyMem_SetAllocator(domains[i], &hook);
    }
}

void stop(void)
{
    for (int i = 0; i < 2; i++)
        if ((active >> i & 1) != 0)
            PyMem_SetAllocator(domains[i], &found[i]);
    active = 0;
}

long calls(void)
{
    return count;
}

void save(void)
{
    for (int i = 0; i < 2; i++)
        PyMem_GetAllocator(domains[i], &found[i]);
}

void put_back(void)
{
    for (int i = 0; i < 2; i++)
        PyMem_SetAllocator(domains[i], &found[i]);
}
