/* SPDX-License-Identifier: MIT */
/*
 * The operating system as the layers above see it: address space, pages, a
 * clock. Nothing here knows of heaps or objects, and nothing keeps state.
 */
#ifndef NV_PLATFORM_OS_H
#define NV_PLATFORM_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed pages, private to the process, committed on first touch; NULL when
 * the system refuses. `bytes` is a multiple of the page size. */
void *nv_os_map(size_t bytes);

/* The same at an address that is a multiple of `alignment` (a power of two). */
void *nv_os_map_aligned(size_t bytes, size_t alignment);

/* Grows or shrinks a mapping made by nv_os_map; may move it. NULL: unchanged. */
void *nv_os_remap(void *address, size_t old_bytes, size_t new_bytes);

void nv_os_unmap(void *address, size_t bytes);

/* Gives the pages' memory back and keeps the address space; they read as zeros
 * afterwards. False if the system forbids it: contents are then unchanged. */
bool nv_os_discard(void *address, size_t bytes);

size_t nv_os_page_bytes(void);

/* A monotonic clock, in nanoseconds. */
uint64_t nv_os_now_ns(void);

/* The processor time that the calling thread has used, in nanoseconds: a system
 * call, some hundred of them. */
uint64_t nv_os_thread_ns(void);

#endif
