/* SPDX-License-Identifier: MIT */
/*
 * The operating system as the layers above see it: address space, pages, a
 * clock, and a child that works on a copy of the memory. Nothing here knows of
 * heaps or objects, and nothing keeps state.
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
 * afterwards. False if the system forbids it: contents are then unchanged, and so is errno. */
bool nv_os_discard(void *address, size_t bytes);

/* Has the system put memory behind pages that are about to be written anyway: one call
 * instead of a fault for each. False: it did not; nothing else is different, nor is errno. */
bool nv_os_populate(void *address, size_t bytes);

size_t nv_os_page_bytes(void);

/* A monotonic clock, in nanoseconds. */
uint64_t nv_os_now_ns(void);

/* The processor time that the calling thread has used, in nanoseconds: a system
 * call, some hundred of them. */
uint64_t nv_os_thread_ns(void);

/* Zeroed pages that a later child shares, committed on first touch; NULL when the
 * system refuses. Given back by nv_os_unmap. */
void *nv_os_map_shared(size_t bytes);

/* ---- os_library.c ---- */

/* The address of the function `symbol`: where the program's loaded libraries have it, or
 * else in `library` (a file name for the dynamic loader), which is loaded for it without
 * taking part in the resolution of anybody's symbols, and stays. NULL: the loader's reason is in
 * `message` (may be NULL), always terminated. */
void *nv_os_library_symbol(const char *library, const char *symbol, char *message,
                           size_t message_size);

/* ---- os_child.c ---- */

/* The number of this process. */
int nv_os_process(void);

/* Makes a child that has a copy-on-write copy of the memory as it is now, calls
 * `run` there, and ends when that returns. Returns the child's number, or 0 when the
 * system refuses.
 *
 * The child is nobody's business but the caller's: it sends no signal when it ends, and
 * wait() and waitpid() do not see it unless asked for children of its kind
 * (__WALL); no handler of fork() runs; no signal handler of the program's ever runs
 * in it; it holds no open file, since it shares the table of them; it dies with this
 * process, or after `limit_s` seconds; it is named `name` and has a low priority.
 *
 * The other threads are not there, and the locks that they held are never released:
 * `run` may call what is safe in a signal handler, map memory, and nothing else; it
 * must not open or close files. */
int nv_os_child_begin(void (*run)(void *arg), void *arg, unsigned limit_s, const char *name);

typedef enum nv_os_child_state {
    NV_OS_CHILD_RUNS,
    NV_OS_CHILD_ENDED, /* and was reaped, here or by somebody else */
} nv_os_child_state;
/* Looks whether the child has ended, and reaps it. Only the process whose child it is
 * may ask, or end it. */
nv_os_child_state nv_os_child_reap(int child);
/* Ends a child that runs. To be reaped later, or, if `waits`, reaped when this
 * returns; without the permission to end it (the program gave up its rights) it is
 * left to its limit. */
void nv_os_child_end(int child, bool waits);

#endif
