/* SPDX-License-Identifier: MIT */
/*
 * All that differs between versions of CPython, behind functions that are
 * named for their meaning. The only place that looks at PY_VERSION_HEX and
 * that includes CPython's internal headers.
 *
 * This build serves CPython 3.11. An extension module that is built for one
 * version is loaded by another only by mistake: nvpy_compat_refusal says so.
 */
#ifndef NVPY_COMPAT_H
#define NVPY_COMPAT_H

#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <internal/pycore_frame.h>
#include <internal/pycore_gc.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_object.h>

#include "neve/host.h"

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x030c0000
#error "neve is built for CPython 3.11; give another interpreter with make PYTHON=..."
#endif

/* An object's collector head, and back. */
static inline PyGC_Head *nvpy_head(void *object)
{
    return _Py_AS_GC((PyObject *)object);
}
static inline PyObject *nvpy_object(PyGC_Head *head)
{
    return (PyObject *)(head + 1);
}

/* Where an object can begin in its block, in granules of 16 bytes: behind the
 * collector's head, or behind that and the two pointers of a managed dict. */
#define NVPY_OBJECT_STARTS ((1u << 1) | (1u << 2))

/* The flags of gc.set_debug(), as the gc module documents them. */
#define NVPY_DEBUG_STATS 1
#define NVPY_DEBUG_COLLECTABLE 2
#define NVPY_DEBUG_UNCOLLECTABLE 4
#define NVPY_DEBUG_SAVEALL 32

/* Collector state of an interpreter. */
static inline struct _gc_runtime_state *nvpy_gc(PyInterpreterState *interp)
{
    return &interp->gc;
}
static inline PyGC_Head *nvpy_list(PyInterpreterState *interp, int generation)
{
    return generation < NUM_GENERATIONS ? &interp->gc.generations[generation].head
                                        : &interp->gc.permanent_generation.head;
}

/* NULL if this interpreter is the one that the extension was built for and its
 * structures are where they were then; otherwise a sentence that says why not. */
const char *nvpy_compat_refusal(PyInterpreterState *interp);

/* Visits objects that are certainly alive: the interpreter's own references,
 * its threads' and their frames', and the contents of static types. */
void nvpy_compat_visit_roots(PyInterpreterState *interp, neve_visit_fn visit, void *arg);

/* Untracks a tuple (a dict) if nothing in it can be part of a cycle. */
void nvpy_compat_untrack_tuple(PyObject *tuple);
void nvpy_compat_untrack_dict(PyObject *dict);

/* The values of a dict all of whose keys are strings, as `count` pointers that
 * lie `stride` pointers apart; some may be NULL. False for other dicts. */
bool nvpy_compat_dict_values(PyObject *dict, neve_span *values, size_t *stride);

/* Detaches a weak reference from its referent without calling its callback. */
void nvpy_compat_weakref_clear(PyWeakReference *weakref);

/* What an allocator found in one of CPython's domains is. */
typedef enum nvpy_layer {
    NVPY_LAYER_BASE,    /* the interpreter's own allocator, or malloc */
    NVPY_LAYER_DEBUG,   /* the debug hooks, on top of *below */
    NVPY_LAYER_TRACER,  /* tracemalloc, on top of *below */
    NVPY_LAYER_UNKNOWN, /* anybody else's */
} nvpy_layer;
nvpy_layer nvpy_compat_allocator_layer(PyMemAllocatorDomain domain,
                                       const PyMemAllocatorEx *functions, PyMemAllocatorEx **below);
/* Whether a base allocator passes everything on to malloc (PYTHONMALLOC=malloc). */
bool nvpy_compat_is_system_malloc(const PyMemAllocatorEx *base);

/* Calls `on_own_gil` before the first interpreter with a GIL of its own is
 * made, or at once if there is one. False, perhaps with an exception, if that
 * cannot be watched. */
bool nvpy_compat_watch_interpreters(void (*on_own_gil)(void));
/* Whether the calling thread holds the GIL of `interp`. */
bool nvpy_compat_shares_gil(PyInterpreterState *interp);

/* The frames of a thread, taken away while a program runs as if at the bottom
 * of the stack. */
typedef struct nvpy_hidden_frames {
    PyThreadState *thread;
    struct _PyInterpreterFrame *frame; /* the innermost of the hidden frames */
    int depth;                         /* what they count towards the recursion limit */
} nvpy_hidden_frames;
nvpy_hidden_frames nvpy_compat_frames_hide(void);
void nvpy_compat_frames_show(const nvpy_hidden_frames *hidden);

/* Flags for compiling source of this interpreter's own version. */
PyCompilerFlags nvpy_compat_compiler_flags(int flags);

/* Whether the interpreter is on its way out. */
bool nvpy_compat_is_finalizing(void);

/* Reports the current exception through sys.unraisablehook, as CPython's
 * collector does when a type's tp_clear fails. */
void nvpy_compat_unraisable_in_clear(PyObject *object);

#endif
