/* SPDX-License-Identifier: MIT */
/*
 * All that differs between versions of CPython, behind functions that are
 * named for their meaning. The only place that looks at PY_VERSION_HEX and
 * that includes CPython's internal headers.
 *
 *   compat.c             which interpreters are refused; small differences
 *   compat_containers.c  tuples and dicts: untracking, values
 *   compat_instances.c   instances of classes written in Python
 *   compat_frames.c      frames: what they hold, hiding and showing them
 *   compat_immortal.c    counts that are never written, caches, hidden references
 *   compat_memory.c      stacked allocators, and who shares the GIL
 *   compat_objects.c     how objects lie in their blocks, for those who look from outside
 *   compat_roots.c       what is certainly alive
 *   compat_run.c         running what follows the option -c
 *   compat_traverse.c    references that are reported but not counted
 *
 * An extension module that is built for one version is loaded by another only
 * by mistake: nvpy_compat_refusal says so.
 */
#ifndef NVPY_COMPAT_H
#define NVPY_COMPAT_H

/* The internal structures for an extension module. Py_BUILD_CORE alone would
 * refer to symbols that interpreters keep to themselves (from 3.12 on). */
#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <internal/pycore_frame.h>
#include <internal/pycore_gc.h>
#include <internal/pycore_interp.h>
#if PY_VERSION_HEX >= 0x030e0000
#include <internal/pycore_interpframe.h>
#include <internal/pycore_stackref.h>
#endif
#include <internal/pycore_object.h>

#include "neve/collect.h"
#include "neve/cow.h"
#include "neve/host.h"

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x03100000
#error "neve is built for CPython 3.11 to 3.15; give another interpreter with make PYTHON=..."
#endif
/* 3.14.0 to 3.14.4 have an incremental collector with lists of its own. */
#if PY_VERSION_HEX >= 0x030e0000 && PY_VERSION_HEX < 0x030e0500
#error "of CPython 3.14 neve is built for 3.14.5 and later; give another with make PYTHON=..."
#endif
#if defined(Py_GIL_DISABLED)
#error "neve needs the GIL: give an interpreter that is not free-threaded with make PYTHON=..."
#endif
#if defined(Py_DEBUG) || defined(Py_TRACE_REFS)
#error "neve is built for default builds of CPython: give one with make PYTHON=..."
#endif
/* With pointers of 4 bytes the collector's head has 8, and objects would begin between two granules. */
#if SIZEOF_VOID_P != 8
#error "neve is built for 64-bit builds of CPython: give one with make PYTHON=..."
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
 * collector's head, or behind that and two pointers, which up to 3.11 are a
 * managed dict and its values, since 3.12 (gh-95245) a managed dict and weak
 * references. */
#define NVPY_OBJECT_STARTS ((1u << 1) | (1u << 2))

/* The flags of gc.set_debug(), as the gc module documents them. */
#define NVPY_DEBUG_STATS 1
#define NVPY_DEBUG_COLLECTABLE 2
#define NVPY_DEBUG_UNCOLLECTABLE 4
#define NVPY_DEBUG_SAVEALL 32

/* ---- collector state of an interpreter ---- */

static inline struct _gc_runtime_state *nvpy_gc(PyInterpreterState *interp)
{
    return &interp->gc;
}
/* Thresholds, counts and the list of a generation; NUM_GENERATIONS stands for
 * the permanent one. */
static inline struct gc_generation *nvpy_generation(PyInterpreterState *interp, int generation)
{
    return generation < NUM_GENERATIONS ? &interp->gc.generations[generation]
                                        : &interp->gc.permanent_generation;
}
static inline PyGC_Head *nvpy_list(PyInterpreterState *interp, int generation)
{
    return &nvpy_generation(interp, generation)->head;
}

/* What gc.get_stats() says of the collection that just ended, to be added to. */
static inline struct gc_generation_stats *nvpy_statistics(PyInterpreterState *interp,
                                                          int generation)
{
#if PY_VERSION_HEX >= 0x030f0000
    /* Rings of the last collections of each generation, each entry a running
     * sum, for readers in other processes (3.15). */
    struct gc_stats *rings = interp->gc.generation_stats;
    if (generation == 0)
        return &rings->young.items[rings->young.index];
    return &rings->old[generation - 1].items[rings->old[generation - 1].index];
#else
    return &interp->gc.generation_stats[generation];
#endif
}

/* ---- compat.c ---- */

/* Adds a collection of ours to the statistics of the interpreter's, which found
 * next to nothing, and to `info`, which the callbacks get to see, unless that is
 * NULL. False with an exception set. */
bool nvpy_compat_add_results(PyInterpreterState *interp, int generation,
                             const neve_collection *collection, PyObject *info);

/* Empties the interpreter's free lists, whose functions are not exported: its own
 * full collection does it before the phase in which we collect. Called in that
 * phase, with the lists of objects hidden; leaves no other trace. */
void nvpy_compat_empty_free_lists(PyInterpreterState *interp);

/* NULL if this interpreter is the one that the extension was built for and its
 * structures are where they were then; otherwise a sentence that says why not. */
const char *nvpy_compat_refusal(PyInterpreterState *interp);

/* Flags for compiling source of this interpreter's own version. */
PyCompilerFlags nvpy_compat_compiler_flags(int flags);

/* Whether the interpreter is on its way out. */
bool nvpy_compat_is_finalizing(void);

/* Report the current exception through sys.unraisablehook, as CPython's collector
 * does when a type's tp_clear, the callback of a weak reference, or one of
 * gc.callbacks fails. */
void nvpy_compat_unraisable_in_clear(PyObject *object);
void nvpy_compat_unraisable_in_weakref(PyObject *callback);
void nvpy_compat_unraisable_in_callback(PyObject *callback);

/* ---- weak references (compat.c) ---- */

/* Where a tracked object keeps its list of weak references; NULL if its type has
 * none. */
PyWeakReference **nvpy_compat_weakrefs(PyObject *object);

/* Detaches a weak reference from its referent without calling its callback. */
void nvpy_compat_weakref_clear(PyWeakReference *weakref);

/* Whether the references that have no callback are to be cleared after the
 * finalizers, which then can still use them, rather than before. */
#if PY_VERSION_HEX >= 0x030f0000
#define NVPY_PLAIN_WEAKREFS_LAST 1 /* gh-135552 */
#else
#define NVPY_PLAIN_WEAKREFS_LAST 0
#endif

/* ---- compat_containers.c ---- */

/* Untracks a tuple (a dict) if nothing in it can be part of a cycle. */
void nvpy_compat_untrack_tuple(PyObject *tuple);
void nvpy_compat_untrack_dict(PyObject *dict);

/* What the traversal of a dict all of whose keys are strings reports, as `count`
 * pointers that lie `stride` pointers apart; some may be NULL. False for other
 * dicts. */
bool nvpy_compat_dict_values(PyObject *dict, neve_span *values, size_t *stride);

/* ---- compat_instances.c ---- */

/* Finds out what the next function has to know; leaves no exception. */
void nvpy_compat_learn_instances(void);
/* What is known of some classes: the instances of a batch have few. All zeros at first;
 * not to be kept while code of the program runs, since classes come and go. */
#define NVPY_LAYOUTS 8u
typedef struct nvpy_layouts {
    PyTypeObject *types[NVPY_LAYOUTS];
    Py_ssize_t slots[NVPY_LAYOUTS];
} nvpy_layouts;
/* What the traversal of an instance of a class that is written in Python reports.
 * False for other objects, and for instances that are not simple enough. */
bool nvpy_compat_instance_edges(PyObject *object, nvpy_layouts *layouts, neve_edges *edges);

/* ---- compat_frames.c ---- */

#if PY_VERSION_HEX >= 0x030e0000
/* Frames hold tagged references since 3.14 (gh-117139): 0 is a counted one, 1 one
 * that is not counted, or NULL; the other tags mark integers and the like. */
static inline PyObject *nvpy_stackref_object(_PyStackRef reference)
{
    uintptr_t tag = reference.bits & 3;
    return tag <= 1 ? (PyObject *)(reference.bits - tag) : NULL;
}
static inline bool nvpy_stackref_is_counted(_PyStackRef reference)
{
    return (reference.bits & 3) == 0;
}
#endif

/* Visits what the frames of a thread refer to. All of it is alive. */
void nvpy_compat_visit_frames(PyThreadState *thread, neve_visit_fn visit, void *arg);

/* The frames of a thread, taken away while a program runs as if at the bottom
 * of the stack. */
typedef struct nvpy_hidden_frames {
    PyThreadState *thread;
    struct _PyInterpreterFrame *frame; /* the innermost of the hidden frames */
    int depth;                         /* what they count towards the recursion limit */
} nvpy_hidden_frames;
nvpy_hidden_frames nvpy_compat_frames_hide(void);
void nvpy_compat_frames_show(const nvpy_hidden_frames *hidden);

/* ---- compat_immortal.c ---- */

/* Whether this version has immortal objects (3.12); to be called before the others. */
bool nvpy_compat_prepare_immortals(void);
/* The count is never written from now on, nor the object ever freed. */
void nvpy_compat_make_immortal(PyObject *object);
bool nvpy_compat_is_immortal(PyObject *object);
/* Fills what readers would fill and so write: hashes, the version of a type. For an
 * object that is to be immortal: the keys that a type's instances share get an immortal
 * count of their own. Runs no Python code. */
void nvpy_compat_fill_caches(PyObject *object);
/* Visits what an object refers to and its traversal leaves out, for it can be in no
 * cycle: keys of dicts, the parts of code objects, names. */
void nvpy_compat_visit_hidden(PyObject *object, neve_visit_fn visit, void *arg);
/* Whether it is a generator or coroutine that is being executed. */
bool nvpy_compat_is_running(PyObject *generator);

/* ---- compat_run.c ---- */

/* Runs the string as the interpreter does after -c: in __main__, printing what it
 * raises. Does not return on SystemExit. */
int nvpy_compat_run_command(const char *source, PyCompilerFlags *flags);

/* Tells Py_RunMain() that the program died of KeyboardInterrupt, as the runner of
 * `-m` does there. */
void nvpy_compat_note_unhandled_interrupt(void);

/* Has the attributes of an instance on their way to the cache, where they lie apart
 * from it. */
static inline void nvpy_compat_prefetch_attributes(PyObject *object)
{
    if (!PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_MANAGED_DICT))
        return;
#if PY_VERSION_HEX < 0x030c0000
    __builtin_prefetch(*_PyObject_ValuesPointer(object));
#elif PY_VERSION_HEX < 0x030d0000
    /* A dict, or values one byte before the pointer (gh-95245). Since 3.13 the values
     * lie in the instance (gh-112075). */
    __builtin_prefetch(_PyObject_DictOrValuesPointer(object)->values);
#endif
}

/* ---- compat_traverse.c ---- */

/* The object's tp_traverse, less the references that it reports though they are
 * not counted. */
#if PY_VERSION_HEX >= 0x030e0000
void nvpy_compat_traverse(PyObject *object, neve_visit_fn visit, void *arg);
#else
static inline void nvpy_compat_traverse(PyObject *object, neve_visit_fn visit, void *arg)
{
    /* neve_visit_fn is visitproc but for the type of the object. */
    (void)Py_TYPE(object)->tp_traverse(object, (visitproc)(void (*)(void))visit, arg);
}
#endif

/* ---- compat_memory.c ---- */

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

/* What the interpreter asks PyMem_RawCalloc for when it makes another one, in
 * bytes and but for some bytes of padding, if that one may get a GIL of its own;
 * 0 if none ever does. */
size_t nvpy_compat_interpreter_bytes(void);
/* Whether it is the main interpreter. Its number is 0; PyInterpreterState_Main() would tell
 * it as well, but lies among what an optimised interpreter never runs, and one call of it
 * brings 64 KiB more of the program's file into memory. */
static inline bool nvpy_compat_is_main(PyInterpreterState *interp)
{
    return PyInterpreterState_GetID(interp) == 0;
}
/* Whether there are interpreters with a GIL of their own now. */
bool nvpy_compat_has_own_gils(void);
/* The thread state that is current, or NULL: up to 3.11 of whoever holds the GIL, from 3.12
 * on of the calling thread only. (PyGILState_Check() says yes to everybody once there are
 * sub-interpreters.) */
PyThreadState *nvpy_compat_thread_with_gil(void);
/* Whether the calling thread holds the GIL of `interp`, the main interpreter. */
bool nvpy_compat_shares_gil(PyInterpreterState *interp);

/* ---- compat_objects.c ---- */

/* `debug_bytes`: what the debug hooks put in front of each block. */
neve_cow_model nvpy_compat_object_model(size_t debug_bytes);

/* ---- compat_roots.c ---- */

#if PY_VERSION_HEX >= 0x030c0000
/* Built-in static types have their dict and their subclasses in the interpreter
 * (gh-94673), in an array. */
#if PY_VERSION_HEX >= 0x030d0000
typedef managed_static_type_state nvpy_static_type;
#else
typedef static_builtin_state nvpy_static_type;
#endif
static inline const nvpy_static_type *nvpy_static_types(const PyInterpreterState *interp)
{
#if PY_VERSION_HEX >= 0x030d0000
    return interp->types.builtins.initialized;
#else
    return interp->types.builtins;
#endif
}
#endif

/* Visits objects that are certainly alive: the interpreter's own references,
 * its threads' and their frames', and the contents of static types. */
void nvpy_compat_visit_roots(PyInterpreterState *interp, neve_visit_fn visit, void *arg);

#endif
