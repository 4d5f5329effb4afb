/* SPDX-License-Identifier: MIT */
/*
 * The heap: blocks of memory for a runtime's objects and buffers.
 *
 * Requests up to NEVE_SMALL_MAX bytes come from pools of one size class each
 * (classes of 16 bytes), cut from aligned arenas; larger ones from the
 * system's malloc or from an allocator that the caller brings. The heap keeps
 * bits about objects (their generation, marks) in side tables keyed by
 * address; freeing a block clears its bits.
 *
 * Locking: a heap belongs to one lock domain. No function here may run on the
 * same heap in two threads at once; several heaps are independent.
 * Re-entrancy: no function here calls back into the caller except the large
 * allocator and the two hooks of its options.
 */
#ifndef NEVE_HEAP_H
#define NEVE_HEAP_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct neve_heap neve_heap;

#define NEVE_SMALL_MAX 512u /* the largest size, in bytes, that pools serve */
#define NEVE_GRANULE 16u    /* the alignment of every block, in bytes */

/* What a block holds. Blocks of different domains never share an OS page, as
 * far as they come from pools. */
typedef enum neve_domain {
    /* Counted objects that may refer to others. Unless the collector's host
     * gathers young objects itself, every live block of this domain must be
     * an initialised object at each safe point. */
    NEVE_DOMAIN_OBJECT = 0,
    NEVE_DOMAIN_LEAF = 1, /* counted objects that refer to none */
    NEVE_DOMAIN_RAW = 2,  /* buffers without a count */
} neve_domain;
#define NEVE_DOMAINS 3

/* Serves requests over NEVE_SMALL_MAX. The first three functions behave as malloc,
 * realloc and free do, with 16-byte alignment. They run with the heap's lock held,
 * and must not use the heap. */
typedef struct neve_large_allocator {
    size_t struct_size; /* sizeof(neve_large_allocator) of the caller */
    void *(*malloc)(void *ctx, size_t size);
    void *(*realloc)(void *ctx, void *block, size_t size);
    void (*free)(void *ctx, void *block);
    void *ctx;
    /* The bytes of a live block that may be used, at least those that were asked for;
     * NULL: those that were asked for. Only neve_heap_usable_size, neve_heap_realloc and
     * neve_heap_check ask. */
    size_t (*usable_size)(void *ctx, const void *block);
} neve_large_allocator;

/* Fills in the functions of an allocator of which only the name is known: "system" (malloc,
 * realloc and free, whoever serves them), "jemalloc", "mimalloc" or "tcmalloc". The caller sets
 * struct_size, and gets no more than it covers. Those three libraries
 * are called by names of their own (mallocx, mi_malloc, tc_malloc, ...), so that the
 * program's malloc stays what it is; the library is looked for among those that are
 * loaded (linked or preloaded), then loaded privately, and stays loaded.
 *
 * NEVE_EINVAL: there is no such name, or struct_size is not that of neve_large_allocator (`message`
 * says so). NEVE_EUNSUPPORTED: the library is not installed or cannot
 * be loaded into a running process; `message` (may be NULL) then gets the loader's
 * reason, always terminated. jemalloc as Debian builds it needs more thread-local
 * storage than a running process has to spare: link or preload it, or start the program
 * with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096.
 *
 * Belongs to no heap and may be called in any thread at any time, but for signal
 * handlers. Costs a search of the loaded libraries, the first time milliseconds. */
NEVE_API neve_status neve_large_allocator_find(const char *name, neve_large_allocator *allocator,
                                               char *message, size_t message_size);

/* Told of damage that the heap or a checker found, before the process is
 * aborted; it may print or longjmp, it must not use the heap. */
typedef void (*neve_corruption_fn)(void *ctx, const char *message);

/* Called before a function that allocates returns NULL, for `bytes` that the system
 * refused; `attempt` is 1 at first. It may free blocks of this heap (but one that is
 * being reallocated), trim it, release objects, collect garbage if the caller could, and
 * must return: true has the allocation tried again, after which it is called with the
 * next attempt if that fails too; false lets it return NULL. It is not called for what it
 * allocates itself, in the middle of a collection (but for what finalizers and
 * callbacks allocate), by neve_heap_alloc_or, nor while a runtime is being created. */
typedef bool (*neve_out_of_memory_fn)(void *ctx, size_t bytes, unsigned attempt);

typedef struct neve_heap_options {
    size_t struct_size;                /* sizeof(neve_heap_options) of the caller */
    const neve_large_allocator *large; /* copied; NULL: malloc, realloc, free */
    neve_corruption_fn on_corruption;  /* NULL: print to standard error */
    void *on_corruption_ctx;
    /* Where an object may begin in its block: bit i says "i granules after
     * the block's start". 0 means 1 (objects begin where their block does);
     * CPython, with its collector's head in front, uses bits 1 and 2. */
    unsigned object_starts;
    /* Empty memory that is kept for the next allocations before it goes back
     * to the OS, in bytes. 0: the default of 1 MiB. */
    size_t retain_bytes;
    /* So many requests of each size class and domain are left to the other
     * allocator by neve_heap_alloc_or, before the heap has pools for them: of most
     * sizes a program needs hardly more. 0: none. */
    uint16_t rare_requests;
    neve_out_of_memory_fn on_out_of_memory; /* NULL: none */
    void *on_out_of_memory_ctx;
} neve_heap_options;

/* What is wrong with these options, in one sentence in `message` (may be NULL), and
 * NEVE_EINVAL; NEVE_OK: neve_heap_create takes them. NULL is fine. */
NEVE_API neve_status neve_heap_options_check(const neve_heap_options *options, char *message,
                                             size_t message_size);

/* Creates an empty heap. `options` may be NULL. The heap must be destroyed
 * with neve_heap_destroy. NEVE_ENOMEM, NEVE_EINVAL (neve_heap_options_check says why). */
NEVE_API neve_status neve_heap_create(const neve_heap_options *options, neve_heap **heap);

/* Gives everything back, blocks that are still allocated included. NULL: nothing. */
NEVE_API void neve_heap_destroy(neve_heap *heap);

/* `size` bytes, aligned to 16, uninitialised; NULL when the system refuses.
 * A size of 0 counts as 1. A handful of instructions in the common case.
 * Never collects, and calls nothing but the hook for want of memory. */
NEVE_API void *neve_heap_alloc(neve_heap *heap, neve_domain domain, size_t size);

/* For a heap that shares its callers with another allocator: where neve_heap_alloc
 * would return NULL, and for the first requests of a size (`rare_requests`), what
 * `otherwise` returns. */
NEVE_API void *neve_heap_alloc_or(neve_heap *heap, neve_domain domain, size_t size,
                                  void *(*otherwise)(void *ctx, size_t size), void *ctx);

/* As neve_heap_alloc, filled with zeros; NULL as well when count * size overflows. */
NEVE_API void *neve_heap_calloc(neve_heap *heap, neve_domain domain, size_t count, size_t size);

/* Changes the size of `block` (NULL: allocates), in place where it can. NULL
 * leaves the block as it was. Side-table bits do not follow a moved block. */
NEVE_API void *neve_heap_realloc(neve_heap *heap, neve_domain domain, void *block, size_t size);

/* Frees a block of this heap and clears its bits. NULL: nothing. Freeing what
 * the heap does not own is reported as corruption. */
NEVE_API void neve_heap_free(neve_heap *heap, void *block);

/* For a heap that shares its callers with another allocator: frees the block
 * and returns true if this heap owns it; otherwise only clears the side-table
 * bits of an object in that block, and returns false. May be called outside the
 * heap's lock domain for a block that the heap does not own and that holds no
 * object with such bits, and so may neve_heap_usable_size. */
NEVE_API bool neve_heap_try_free(neve_heap *heap, void *block);

/* The same; what the heap does not own is given to `otherwise`. */
NEVE_API void neve_heap_free_or(neve_heap *heap, void *block,
                                void (*otherwise)(void *ctx, void *block), void *ctx);

/* Whether this heap gave out `block` (a block's start, not its inside); any
 * address may be asked for. */
NEVE_API bool neve_heap_owns(const neve_heap *heap, const void *block);

/* The bytes that `block`, a live block of any allocator, may use without
 * realloc; 0 if the heap does not own it. A handful of instructions; of a large block
 * a search, and what the large allocator says if it has a usable_size. */
NEVE_API size_t neve_heap_usable_size(const neve_heap *heap, const void *block);

/* Gives all empty memory back to the OS now; returns how many bytes. */
NEVE_API size_t neve_heap_trim(neve_heap *heap);

/* Worth calling in the parent before fork(), or before each of several: empty
 * memory goes back to the OS, as by neve_heap_trim, and the blocks still to be
 * allocated fill up the pools with the fewest free ones. No block moves, none is
 * freed. Costs microseconds per MiB. */
NEVE_API void neve_heap_before_fork(neve_heap *heap);

/* To be called in the child right after fork(), before it allocates: from
 * then on new blocks come from fresh pools, and an inherited OS page is
 * written only where the program itself has just written. Costs nothing that
 * grows with the heap. In the parent nothing has to be done. The thread that
 * forks must hold the heap's lock, if it has one: another thread could be in
 * the middle of a function that the child never ends. */
NEVE_API void neve_heap_after_fork_child(neve_heap *heap);

typedef struct neve_heap_stats {
    size_t small_blocks[NEVE_DOMAINS]; /* live blocks in pools */
    size_t small_bytes[NEVE_DOMAINS];  /* ... times their class sizes */
    size_t large_blocks;               /* live blocks of the large allocator */
    size_t large_bytes;                /* ... as requested */
    size_t arenas;                     /* mapped arenas */
    size_t arena_bytes;                /* their address space */
    size_t pools_used;                 /* pools with at least one live block */
    size_t pools_cached;               /* empty pools whose memory is kept */
    size_t cached_bytes;               /* memory in empty pools and free blocks */
    size_t returned_bytes;             /* given back to the OS since creation */
    size_t side_table_bytes;           /* address space of descriptors, bits, gc_refs, lists */
} neve_heap_stats;

/* Counts by walking the pool descriptors: microseconds per MiB. */
NEVE_API void neve_heap_get_stats(const neve_heap *heap, neve_heap_stats *stats);

/* A live block, as a walk shows it. */
typedef struct neve_block {
    void *address;
    size_t bytes; /* of its size class; of a large one as requested */
    neve_domain domain;
    bool is_large; /* from the large allocator */
} neve_block;
typedef int (*neve_block_fn)(void *arg, const neve_block *block);

/* Calls `visit` for each live block; ends early when it returns non-zero, and returns
 * that value. `visit` must neither allocate from the heap nor free. Costs a walk over the
 * pools' free lists, and allocates nothing. */
NEVE_API int neve_heap_walk(const neve_heap *heap, neve_block_fn visit, void *arg);

/* Checks every pool, free list, bit and count of the heap against the others.
 * NEVE_ECORRUPT, with the first finding in `message` (may be NULL), which is
 * always terminated. Allocates nothing; its cost grows with the heap. */
NEVE_API neve_status neve_heap_check(const neve_heap *heap, char *message, size_t message_size);

/* Testing: the allocation with number n from now on (1 is the next), whether
 * for a block or for a table of the heap's own, fails, and only that one; 0
 * switches it off. NEVE_EUNSUPPORTED in builds without NEVE_DEBUG. The
 * environment variable NEVE_FAIL_ALLOC_AT sets it at creation. */
NEVE_API neve_status neve_heap_fail_alloc_at(neve_heap *heap, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
