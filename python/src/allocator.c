/* SPDX-License-Identifier: MIT */
/*
 * CPython's object and mem domains, served by Neve's heap.
 *
 * Requests up to NEVE_SMALL_MAX bytes come from the heap's pools, counted
 * objects and buffers on separate OS pages. Larger ones, the first of each size,
 * and blocks that were given out before, stay with the allocator that was there
 * (for large ones: the system's malloc). What the heap does not own is handed to it, after the
 * side-table bits of an object in it were cleared (invariant 5).
 *
 * Where the functions go. CPython lets allocators be stacked: the debug hooks
 * (PYTHONMALLOC=debug) and tracemalloc keep a copy of the allocator that they
 * found, call it, and tracemalloc puts it back when it stops. Neve's functions
 * go below these two, directly above the interpreter's own allocator: the
 * debug hooks then check Neve's blocks as well, and tracemalloc may start and
 * stop in any order. A hook of unknown make that is in place already is
 * refused: if it took its copy back, Neve's blocks would be freed by an
 * allocator that does not know them. One that comes later does no harm.
 *
 * Once in place the functions stay until the process ends, because blocks of
 * Neve's live on; after uninstall() they pass every allocation on.
 *
 * Locks. Both domains demand the GIL. Interpreters with a GIL of their own
 * (CPython 3.12 and later) call these functions at the same time as we do:
 * from the creation of the first on, every allocation asks who calls, and
 * theirs go to the previous allocator. What they free was never ours, and
 * finding that out only reads: entries of the table are single words, and no
 * object of theirs has side-table bits. To know of that creation in time, and
 * for nothing else, Neve also sees the calls of PyMem_RawCalloc.
 */
#include "neve_python.h"

#include <pthread.h>
#include <string.h>

typedef enum served { OBJECT, MEM, SERVED } served;
#define WATCHED SERVED /* the number of the raw domain beside these, when probing */

static const PyMemAllocatorDomain domains[SERVED + 1] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM,
                                                         PYMEM_DOMAIN_RAW};
static const neve_domain heap_domains[SERVED] = {NEVE_DOMAIN_OBJECT, NEVE_DOMAIN_RAW};

static struct {
    /* The largest request that is served without further questions, in bytes:
     * 0 while Neve is not installed, or has to ask who calls. */
    size_t direct_max;
    bool serves;      /* Neve is installed, and the user did not ask for malloc */
    bool asks;        /* some interpreter has a GIL of its own */
    bool is_in_place; /* our functions are in the chain */
    unsigned probed;  /* domains whose functions were called, while probing */
    bool probes;
    PyMemAllocatorEx previous[SERVED]; /* the allocators below ours */
    size_t interpreter_bytes;
    void *(*raw_calloc)(void *ctx, size_t count, size_t size); /* NULL: not watched */
} allocator;

/* So many requests of each size are left to the interpreter's own allocator, which has
 * used most sizes before Neve was installed and has room for them on pages that it holds
 * already. Whoever opens a pool for a size pays for two, objects and buffers apart, so
 * that sizes of which a program needs some hundred had better stay there. */
#define RARE_REQUESTS 500

/* flatten: the heap's fast paths become part of these functions, which CPython
 * calls through pointers millions of times in a second. hot: they lie side by side, on
 * few pages. */
#define HOOK __attribute__((flatten, hot, noinline))

static void set_direct(void)
{
    allocator.direct_max =
        allocator.serves && !allocator.asks && !allocator.probes ? NEVE_SMALL_MAX : 0;
}

/* What the previous allocator gave out, or takes back, in bytes that matter. */
static inline void *note_large(void *block, size_t size)
{
    if (size >= NVPY_LARGE_BYTES && block != NULL &&
        (!allocator.asks || nvpy_compat_shares_gil(nvpy.interp)))
        nvpy_large_note(block, size);
    return block;
}

static inline void forget_large(const void *block)
{
    if (nvpy_large_count != 0 && (!allocator.asks || nvpy_compat_shares_gil(nvpy.interp)))
        nvpy_large_forget(block);
}

static void *malloc_previous(served which, size_t size)
{
    const PyMemAllocatorEx *previous = &allocator.previous[which];
    return note_large(previous->malloc(previous->ctx, size), size);
}

/* Requests that do not go to the heap's fast path. */
static __attribute__((noinline)) void *malloc_otherwise(neve_heap *heap, served which, size_t size)
{
    if (NEVE_UNLIKELY(allocator.probes))
        allocator.probed |= 1u << which;
    if (size <= NEVE_SMALL_MAX && allocator.serves &&
        (!allocator.asks || nvpy_compat_shares_gil(nvpy.interp))) {
        void *block = neve_heap_alloc(heap, heap_domains[which], size);
        if (block != NULL)
            return block;
    }
    return malloc_previous(which, size);
}

/* Those that the heap has no memory for, or leaves to the allocator before it. */
static void *object_malloc_previous(void *unused, size_t size)
{
    (void)unused;
    return malloc_previous(OBJECT, size);
}

static void *mem_malloc_previous(void *unused, size_t size)
{
    (void)unused;
    return malloc_previous(MEM, size);
}

/* Nothing comes behind the last calls here, on the common path or another, so that
 * no frame is needed. */
static inline void *malloc_in(neve_heap *heap, served which, size_t size)
{
    if (allocator.direct_max > NEVE_SMALL_MAX)
        __builtin_unreachable(); /* saves the heap's own comparison */
    /* One comparison for both: a size of 0 wraps around. */
    if (NEVE_LIKELY(size - 1 < allocator.direct_max))
        return neve_heap_alloc_or(heap, heap_domains[which], size,
                                  which == OBJECT ? object_malloc_previous : mem_malloc_previous,
                                  NULL);
    return malloc_otherwise(heap, which, size);
}

/* The small sizes, most, are cleared in line: the C library's function is far off. */
static inline void *cleared(void *block, size_t bytes)
{
    if (block == NULL || bytes < NEVE_GRANULE || bytes > 4 * NEVE_GRANULE)
        return block == NULL ? NULL : memset(block, 0, bytes);
    char *at = block, *end = at + bytes;
    memset(at, 0, NEVE_GRANULE);
    if (bytes > 2 * NEVE_GRANULE) {
        memset(at + NEVE_GRANULE, 0, NEVE_GRANULE);
        memset(end - 2 * NEVE_GRANULE, 0, NEVE_GRANULE);
    }
    memset(end - NEVE_GRANULE, 0, NEVE_GRANULE);
    return block;
}

/* The system knows which of its pages are zero. */
static __attribute__((noinline)) void *calloc_large(served which, size_t bytes)
{
    const PyMemAllocatorEx *previous = &allocator.previous[which];
    return note_large(previous->calloc(previous->ctx, 1, bytes), bytes);
}

static inline void *calloc_in(neve_heap *heap, served which, size_t count, size_t size)
{
    size_t bytes;
    if (NEVE_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return NULL;
    if (bytes > NEVE_SMALL_MAX)
        return calloc_large(which, bytes);
    return cleared(malloc_in(heap, which, bytes), bytes);
}

static __attribute__((noinline)) void *realloc_foreign(neve_heap *heap, served which, void *block,
                                                       size_t size)
{
    const PyMemAllocatorEx *previous = &allocator.previous[which];
    void *moved = previous->realloc(previous->ctx, block, size);
    if (moved == NULL)
        return NULL;
    /* Not ours: only forgets its bits. Where another interpreter runs meanwhile, which may have been
     * given that memory by now, there are none: its own objects have no bits. */
    if (moved != block && (!allocator.asks || nvpy_compat_shares_gil(nvpy.interp)))
        neve_heap_try_free(heap, block);
    if (moved != block || size < NVPY_LARGE_BYTES)
        forget_large(block);
    return note_large(moved, size);
}

/* Copies from one small block to another; no block is smaller than a granule. In line,
 * for the C library's function is far off. */
static inline void copy_small(void *to, const void *from, size_t bytes)
{
    char *into = to;
    const char *source = from;
    for (size_t at = NEVE_GRANULE; at < bytes; at += NEVE_GRANULE)
        memcpy(into + at - NEVE_GRANULE, source + at - NEVE_GRANULE, NEVE_GRANULE);
    size_t last = bytes > NEVE_GRANULE ? bytes - NEVE_GRANULE : 0;
    memcpy(into + last, source + last, NEVE_GRANULE);
}

static HOOK void *realloc_moving(neve_heap *heap, served which, void *block, size_t old,
                                 size_t size)
{
    /* After uninstall() it comes from somebody whose blocks may be smaller than a granule. */
    void *moved = malloc_in(heap, which, size < NEVE_GRANULE ? NEVE_GRANULE : size);
    if (moved == NULL)
        return NULL;
    copy_small(moved, block, size < old ? size : old); /* `old` is */
    neve_heap_free(heap, block);
    return moved;
}

static inline void *realloc_in(neve_heap *heap, served which, void *block, size_t size)
{
    if (block == NULL)
        return malloc_in(heap, which, size);
    size_t old = neve_heap_usable_size(heap, block);
    if (NEVE_UNLIKELY(old == 0))
        return realloc_foreign(heap, which, block, size);
    /* In place while the class fits, unless over a quarter would be lost. */
    if (size <= old && size + old / 4 + NEVE_GRANULE > old)
        return block;
    return realloc_moving(heap, which, block, old, size);
}

static void free_previous(void *previous, void *block)
{
    const PyMemAllocatorEx *allocator_below = previous;
    forget_large(block);
    allocator_below->free(allocator_below->ctx, block);
}

#define DEFINE_HOOKS(name, which)                                                                  \
    static HOOK void *name##_malloc(void *heap, size_t size)                                       \
    {                                                                                              \
        return malloc_in(heap, which, size);                                                       \
    }                                                                                              \
    static HOOK void *name##_calloc(void *heap, size_t count, size_t size)                         \
    {                                                                                              \
        return calloc_in(heap, which, count, size);                                                \
    }                                                                                              \
    static HOOK void *name##_realloc(void *heap, void *block, size_t size)                         \
    {                                                                                              \
        return realloc_in(heap, which, block, size);                                               \
    }                                                                                              \
    static HOOK void name##_free(void *heap, void *block)                                          \
    {                                                                                              \
        neve_heap_free_or(heap, block, free_previous, &allocator.previous[which]);                 \
    }

DEFINE_HOOKS(object, OBJECT)
DEFINE_HOOKS(mem, MEM)

/* Called without the GIL, at the same time in several threads. */
static void *watching_raw_calloc(void *ctx, size_t count, size_t size)
{
    /* The debug hooks, above, add some bytes. */
    if (count == 1 && size - allocator.interpreter_bytes < 128) {
        allocator.asks = true;
        set_direct();
    }
    if (NEVE_UNLIKELY(allocator.probes))
        allocator.probed |= 1u << WATCHED;
    return allocator.raw_calloc(ctx, count, size);
}

static void after_fork_child(void)
{
    nvpy_large_after_fork_child();
    /* The cycle's tables would be copied page by page as it goes on. */
    if (nvpy.collector != NULL)
        neve_collector_after_fork_child(nvpy.collector);
    if (nvpy.heap != NULL)
        neve_heap_after_fork_child(nvpy.heap);
}

/* ---- getting into the chain of allocators ---- */

/* Our place in a domain's chain: `at` is the copy of the allocator that a layer
 * of CPython's own keeps, or NULL if the domain has no such layers. */
typedef struct place {
    PyMemAllocatorEx *at;
    PyMemAllocatorEx base; /* the allocator at that place now */
    bool has_debug_hooks;
} place;

/* NULL, or why the functions of this domain cannot be put in place. */
static const char *find_place(unsigned which, place *p)
{
    *p = (place){0};
    PyMem_GetAllocator(domains[which], &p->base);
    for (;;) {
        PyMemAllocatorEx *below = NULL;
        switch (nvpy_compat_allocator_layer(domains[which], &p->base, &below)) {
        case NVPY_LAYER_BASE:
            return NULL;
        case NVPY_LAYER_DEBUG:
            p->has_debug_hooks = true;
            break;
        case NVPY_LAYER_TRACER:
            break;
        case NVPY_LAYER_UNKNOWN:
            return "another tool has hooked Python's memory allocators (a memory profiler?), and "
                   "would take neve's out while neve's blocks are in use: start it after neve, or "
                   "stop it before neve.install()";
        }
        p->at = below;
        p->base = *below;
    }
}

static void set_place(unsigned which, const place *p, const PyMemAllocatorEx *functions)
{
    /* The GIL is held, and the domains that we serve are used under it only. */
    if (p->at != NULL) {
        *p->at = *functions;
    } else {
        PyMemAllocatorEx copy = *functions;
        PyMem_SetAllocator(domains[which], &copy);
    }
}

/* In the raw domain only the pointer to one function changes: other threads may
 * be calling the others. */
static void watch_interpreters(void)
{
    place raw;
    allocator.interpreter_bytes = nvpy_compat_interpreter_bytes();
    if (allocator.interpreter_bytes == 0 || allocator.raw_calloc != NULL)
        return;
    if (find_place(WATCHED, &raw) != NULL) {
        allocator.asks = true; /* slower, and safe: it cannot be watched for good */
        return;
    }
    allocator.raw_calloc = raw.base.calloc;
    PyMemAllocatorEx watching = raw.base;
    watching.calloc = watching_raw_calloc;
    set_place(WATCHED, &raw, &watching);
}

/* Which of the domains' calls arrive here, a bit for each. */
static unsigned probe(void)
{
    allocator.probes = true;
    allocator.probed = 0;
    set_direct();
    PyObject_Free(PyObject_Malloc(NEVE_GRANULE));
    PyMem_Free(PyMem_Malloc(NEVE_GRANULE));
    if (allocator.raw_calloc != NULL)
        PyMem_RawFree(PyMem_RawCalloc(1, NEVE_GRANULE));
    allocator.probes = false;
    set_direct();
    return allocator.probed;
}

static bool is_reached(void)
{
    const unsigned both = (1u << SERVED) - 1;
    unsigned reached = probe();
    if (allocator.raw_calloc != NULL && (reached >> WATCHED & 1) == 0)
        allocator.asks = true;
    return (reached & both) == both;
}

static bool create_heap(const place places[SERVED])
{
    neve_heap_options options = {.struct_size = sizeof options,
                                 .object_starts = NVPY_OBJECT_STARTS,
                                 .rare_requests = RARE_REQUESTS};
    /* The debug hooks put 16 bytes of their own in front of each block. */
    if (places[OBJECT].has_debug_hooks)
        options.object_starts <<= 1;
    neve_status status = neve_heap_create(&options, &nvpy.heap);
    if (status != NEVE_OK) {
        nvpy_raise(status, "creating the heap");
        return false;
    }
    if (pthread_atfork(NULL, NULL, after_fork_child) != 0) {
        neve_heap_destroy(nvpy.heap);
        nvpy.heap = NULL;
        nvpy_raise(NEVE_ENOMEM, "registering a function for fork()");
        return false;
    }
    nvpy_cow_publish(places[OBJECT].has_debug_hooks);
    return true;
}

static bool put_in_place(void)
{
    place places[SERVED];
    for (served which = 0; which < SERVED; which++) {
        const char *refusal = find_place(which, &places[which]);
        if (refusal != NULL) {
            PyErr_SetString(PyExc_RuntimeError, refusal);
            return false;
        }
    }
    if (nvpy.heap == NULL && !create_heap(places))
        return false;
    const PyMemAllocatorEx ours[SERVED] = {
        {nvpy.heap, object_malloc, object_calloc, object_realloc, object_free},
        {nvpy.heap, mem_malloc, mem_calloc, mem_realloc, mem_free},
    };
    for (served which = 0; which < SERVED; which++) {
        allocator.previous[which] = places[which].base;
        set_place(which, &places[which], &ours[which]);
    }
    watch_interpreters();
    if (!is_reached()) {
        for (served which = 0; which < SERVED; which++)
            set_place(which, &places[which], &places[which].base);
        PyErr_SetString(PyExc_RuntimeError,
                        "this interpreter's memory allocators are stacked in a way that neve does "
                        "not know; neve cannot serve it");
        return false;
    }
    allocator.is_in_place = true;
    return true;
}

bool nvpy_allocator_install(void)
{
    if (!allocator.is_in_place) {
        if (!put_in_place())
            return false;
    } else if (!is_reached()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another tool has taken neve's functions out of Python's memory "
                        "allocators; neve cannot be installed again in this process");
        return false;
    }
    allocator.asks |= nvpy_compat_has_own_gils();
    /* PYTHONMALLOC=malloc is a wish that is heeded: the program is run under a
     * memory checker, or with a malloc of the user's choice. */
    allocator.serves = !nvpy_compat_is_system_malloc(&allocator.previous[OBJECT]);
    set_direct();
    return true;
}

void nvpy_allocator_retire(void)
{
    allocator.serves = false;
    set_direct();
}

bool nvpy_allocator_serves(void)
{
    return allocator.serves;
}
