/* SPDX-License-Identifier: MIT */
/*
 * platform/os.h for Linux (and, as far as it is POSIX with MAP_ANONYMOUS, for
 * its relatives).
 */
#include "os.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void *nv_os_map(size_t bytes)
{
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

void *nv_os_map_shared(size_t bytes)
{
    /* Mostly empty, and of use only as far as it is touched. */
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

void *nv_os_map_aligned(size_t bytes, size_t alignment)
{
    /* The kernel places mappings next to one another, so that after one
     * aligned mapping the next of the same size mostly is aligned as well. */
    char *address = nv_os_map(bytes);
    if (address == NULL || ((uintptr_t)address & (alignment - 1)) == 0)
        return address;
    nv_os_unmap(address, bytes);

    address = nv_os_map(bytes + alignment);
    if (address == NULL)
        return NULL;
    size_t before = (alignment - ((uintptr_t)address & (alignment - 1))) & (alignment - 1);
    if (before != 0)
        nv_os_unmap(address, before);
    if (before != alignment)
        nv_os_unmap(address + before + bytes, alignment - before);
    return address + before;
}

void *nv_os_remap(void *address, size_t old_bytes, size_t new_bytes)
{
#ifdef __SANITIZE_THREAD__
    /* It does not know mremap, and takes memory that one thread's mapping moved away from, and
     * another's moved to, for memory that both use. */
    void *copy = nv_os_map(new_bytes);
    if (copy != NULL) {
        memcpy(copy, address, old_bytes < new_bytes ? old_bytes : new_bytes);
        nv_os_unmap(address, old_bytes);
    }
    return copy;
#else
    void *moved = mremap(address, old_bytes, new_bytes, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
#endif
}

void nv_os_unmap(void *address, size_t bytes)
{
    munmap(address, bytes);
}

/* What fails here has no effect on anybody: a program that allocates or frees between a call
 * of its own and its look at errno shall not see it. */
static bool advise(void *address, size_t bytes, int advice)
{
    int before = errno;
    bool is_taken = madvise(address, bytes, advice) == 0;
    errno = before;
    return is_taken;
}

bool nv_os_discard(void *address, size_t bytes)
{
    return advise(address, bytes, MADV_DONTNEED);
}

bool nv_os_populate(void *address, size_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    return advise(address, bytes, MADV_POPULATE_WRITE); /* since Linux 5.14 */
#else
    (void)address, (void)bytes;
    return false;
#endif
}

size_t nv_os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t nv_os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t nv_os_thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
