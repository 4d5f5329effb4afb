/* SPDX-License-Identifier: MIT */
/*
 * CPython's object domain, served by Neve's heap.
 *
 * Blocks that the previous allocator gave out before live on: whatever the
 * heap does not own is handed to that allocator, after the side-table bits of
 * the object in it were cleared (invariant 5). Our functions stay in place for
 * freeing and resizing until the process ends, also after uninstall().
 *
 * The functions run under the GIL, as the object domain demands.
 */
#include "neve_python.h"

#include <pthread.h>

static void *hook_malloc(void *ctx, size_t size)
{
    return neve_heap_alloc(ctx, NEVE_DOMAIN_OBJECT, size);
}

static void *hook_calloc(void *ctx, size_t count, size_t size)
{
    return neve_heap_calloc(ctx, NEVE_DOMAIN_OBJECT, count, size);
}

static void hook_free(void *ctx, void *block)
{
    if (NEVE_UNLIKELY(!neve_heap_try_free(ctx, block)))
        nvpy.previous.free(nvpy.previous.ctx, block);
}

static void *realloc_in(void *ctx, void *block, size_t size, bool is_retired)
{
    if (block == NULL)
        return is_retired ? nvpy.previous.malloc(nvpy.previous.ctx, size) : hook_malloc(ctx, size);
    if (NEVE_LIKELY(neve_heap_owns(ctx, block)))
        return neve_heap_realloc(ctx, NEVE_DOMAIN_OBJECT, block, size);
    void *moved = nvpy.previous.realloc(nvpy.previous.ctx, block, size);
    if (moved != NULL && moved != block)
        neve_heap_try_free(ctx, block); /* not ours: only forgets its bits */
    return moved;
}

static void *hook_realloc(void *ctx, void *block, size_t size)
{
    return realloc_in(ctx, block, size, false);
}

static void *retired_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return nvpy.previous.malloc(nvpy.previous.ctx, size);
}

static void *retired_calloc(void *ctx, size_t count, size_t size)
{
    (void)ctx;
    return nvpy.previous.calloc(nvpy.previous.ctx, count, size);
}

static void *retired_realloc(void *ctx, void *block, size_t size)
{
    return realloc_in(ctx, block, size, true);
}

static void after_fork_child(void)
{
    if (nvpy.heap != NULL)
        neve_heap_after_fork_child(nvpy.heap);
}

/* 1 if tracemalloc has its hooks in place, 0 if not, -1 with an exception. */
static int is_tracing(void)
{
    PyObject *module = PyImport_ImportModule("_tracemalloc");
    if (module == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ImportError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    PyObject *result = PyObject_CallMethod(module, "is_tracing", NULL);
    Py_DECREF(module);
    int tracing = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    return tracing;
}

bool nvpy_allocator_install(void)
{
    int tracing = is_tracing();
    if (tracing < 0)
        return false;
    if (tracing > 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "tracemalloc is tracing: its stop() would take neve's allocator out while "
                        "neve's blocks are in use; call tracemalloc.stop() first, and "
                        "tracemalloc.start() again after neve.install()");
        return false;
    }
    if (nvpy.heap == NULL) {
        neve_heap_options options = {.struct_size = sizeof options,
                                     .object_starts = NVPY_OBJECT_STARTS};
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
    }
    PyMemAllocatorEx current;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &current);
    if (!nvpy.is_hooked)
        nvpy.previous = current;
    else if (current.free != hook_free) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another allocator hook was installed on top of neve's; remove it before "
                        "neve.install()");
        return false;
    }
    PyMemAllocatorEx ours = {nvpy.heap, hook_malloc, hook_calloc, hook_realloc, hook_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &ours);
    nvpy.is_hooked = true;
    return true;
}

void nvpy_allocator_retire(void)
{
    PyMemAllocatorEx current;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &current);
    if (current.free != hook_free)
        return; /* a profiler is on top: it goes on with our heap below it */
    PyMemAllocatorEx retired = {nvpy.heap, retired_malloc, retired_calloc, retired_realloc,
                                hook_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &retired);
}
