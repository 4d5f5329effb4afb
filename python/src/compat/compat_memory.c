/* SPDX-License-Identifier: MIT */
/*
 * compat.h: allocators, and who uses them at the same time.
 */
#include "compat.h"

#include <dlfcn.h>

/* Whether a function belongs to the interpreter itself (its program, or its
 * shared library) and not to an extension. */
static bool is_cpythons(const void *function)
{
    Dl_info mine, theirs;
    return dladdr((const void *)(uintptr_t)PyMem_GetAllocator, &mine) != 0 &&
           dladdr(function, &theirs) != 0 && mine.dli_fbase == theirs.dli_fbase;
}

/* The debug hooks' record of a domain, which is their context: a letter for the
 * domain, then the allocator below. (The same in 3.11 to 3.15.) */
typedef struct debug_record {
    char letter;
    PyMemAllocatorEx below;
} debug_record;

static char domain_letter(PyMemAllocatorDomain domain)
{
    return domain == PYMEM_DOMAIN_OBJ ? 'o' : domain == PYMEM_DOMAIN_MEM ? 'm' : 'r';
}

nvpy_layer nvpy_compat_allocator_layer(PyMemAllocatorDomain domain,
                                       const PyMemAllocatorEx *functions, PyMemAllocatorEx **below)
{
    if (!is_cpythons((const void *)(uintptr_t)functions->malloc))
        return NVPY_LAYER_UNKNOWN;
    /* CPython's own allocators have no context, what it stacks on them has. */
    if (functions->ctx == NULL)
        return NVPY_LAYER_BASE;
    debug_record *record = functions->ctx;
    if (record->letter == domain_letter(domain) && record->below.malloc != NULL) {
        *below = &record->below;
        return NVPY_LAYER_DEBUG;
    }
    /* tracemalloc's context is the allocator that it found, which begins with a
     * pointer: no pointer to a record ends in one of the letters. */
    PyMemAllocatorEx *found = functions->ctx;
    if ((uintptr_t)found->ctx % sizeof(void *) != 0 || found->malloc == NULL)
        return NVPY_LAYER_UNKNOWN;
    *below = found;
    return NVPY_LAYER_TRACER;
}

bool nvpy_compat_is_system_malloc(const PyMemAllocatorEx *base)
{
    PyMemAllocatorEx raw, *below;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw);
    for (;;) {
        nvpy_layer layer = nvpy_compat_allocator_layer(PYMEM_DOMAIN_RAW, &raw, &below);
        if (layer == NVPY_LAYER_BASE)
            return raw.malloc == base->malloc;
        if (layer == NVPY_LAYER_UNKNOWN)
            return false;
        raw = *below;
    }
}

#if PY_VERSION_HEX < 0x030d0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet /* its name up to 3.12 */
#endif

PyThreadState *nvpy_compat_thread_with_gil(void)
{
    return PyThreadState_GetUnchecked();
}

/* PEP 684 (3.12): an interpreter may have a GIL of its own. Before that, all
 * interpreters of a process share one. */
#if PY_VERSION_HEX < 0x030c0000

size_t nvpy_compat_interpreter_bytes(void)
{
    return 0;
}

bool nvpy_compat_has_own_gils(void)
{
    return false;
}

bool nvpy_compat_shares_gil(PyInterpreterState *interp)
{
    (void)interp;
    return true;
}

#else

/* (3.13 announces new interpreters to audit hooks no longer.) */
size_t nvpy_compat_interpreter_bytes(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    return (size_t)_PyRuntime.debug_offsets.interpreter_state.size;
#else
    return sizeof(PyInterpreterState);
#endif
}

/* Whether an interpreter that is not the main one shares its GIL. */
static bool shares_gil(const PyInterpreterState *of)
{
    /* An interpreter that shares the main one's allocator has said so before it
     * gets a GIL; what it allocates until then is not ours to serve. */
    return (of->feature_flags & Py_RTFLAGS_USE_MAIN_OBMALLOC) != 0 && of->ceval.own_gil == 0;
}

bool nvpy_compat_has_own_gils(void)
{
    PyInterpreterState *at = PyInterpreterState_Head();
    for (; at != NULL; at = PyInterpreterState_Next(at))
        if (!nvpy_compat_is_main(at) && !shares_gil(at))
            return true;
    return false;
}

bool nvpy_compat_shares_gil(PyInterpreterState *interp)
{
    PyThreadState *thread = PyThreadState_GetUnchecked();
    return thread != NULL && (thread->interp == interp || shares_gil(thread->interp));
}

#endif
