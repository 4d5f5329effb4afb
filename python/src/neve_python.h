/* SPDX-License-Identifier: MIT */
/*
 * The state of Neve in a CPython process, shared by the files of this folder:
 *
 *   module.c     what Python sees: install, uninstall, stats
 *   state.c      the state itself
 *   allocator.c  serves the object and mem domains from Neve's heap
 *   large.c      how much the program holds in large blocks
 *   host.c       CPython's objects as a host of the collector
 *   lists.c      the generation lists, as far as there still are any
 *   takeover.c   the interpreter's own collections become ours
 *   methods.c    replaces functions of built-in modules
 *   gcmodule.c   the functions of the gc module that look at the lists
 *   immortal.c   makes the frozen heap immortal; what that leaves for the exit
 *   object_*.c   the graph that it looks at, and what speaks against it
 *   cow.c        publishes the heap to those who look from outside; reports
 *   prefork.c    forks that no Python code sees; the 25% rule after a freeze
 *   sysmodule.c  those of sys that say how much memory is allocated
 *   exec.c       those of os that run another program in this process
 *   timer.c      asks for slices while nothing is allocated
 *   run.c        runs programs for `python -m neve`
 *   compat/      what differs between versions
 *
 * How objects are kept track of. CPython's lists of generation 0 and 1 stay as
 * they are. An object that gets old (or permanent) is linked to itself, so that
 * untracking it, which CPython does when it is freed, writes to no other
 * object; that it is old is a bit in Neve's side table. An object is old
 * exactly if its bit is set and it is linked to itself: objects that were
 * untracked, and perhaps tracked anew, are not.
 *
 * All state belongs to the interpreter that installed Neve, under its GIL.
 */
#ifndef NVPY_NEVE_PYTHON_H
#define NVPY_NEVE_PYTHON_H

#include "compat/compat.h"
#include "compat/compat_pending.h"
#include "neve/collect.h"
#include "neve/heap.h"
#include "neve/observe.h"

typedef struct nvpy_state {
    neve_heap *heap; /* never destroyed: its blocks live on after uninstall() */
    neve_collector *collector;
    PyInterpreterState *interp; /* NULL: not installed */

    PyObject *callbacks;     /* the list that the program knows as gc.callbacks */
    PyObject *own_callbacks; /* the one that the interpreter walks instead */
    PyGC_Head hidden[NUM_GENERATIONS];
    bool is_hidden;
    int hidden_debug; /* gc flags taken away between start and stop */
    int hidden_counts[NUM_GENERATIONS];
    Py_ssize_t long_lived_total, long_lived_pending;
    int generation;        /* of the collection under way */
    bool has_spliced;      /* see nvpy_host: promote */
    bool is_slice;         /* of a cycle: its objects are old, and in no list */
    bool is_partial;       /* its objects leave their lists one by one */
    bool is_explicit;      /* gc.collect() asked for it */
    uint64_t runs;         /* collections that ran to their end */
    Py_ssize_t last_found; /* collected and uncollectable, of the last */
    bool is_leaving;       /* the interpreter has begun to exit */
    int threshold;         /* what NEVE_GC_STRESS replaced; 0: it did not */
    uint32_t pause_us;     /* what a slice aims at */
    bool thaws_at_exit;    /* neve.freeze() was called */
    size_t immortals;      /* objects made immortal so far */
    uint64_t slices;       /* of the incremental cycle, so far; atomic: the timer reads it */

    neve_histogram pauses;
} nvpy_state;

/* ---- state.c ---- */

/* The one state of the process; its `interp` says whether it is in use. */
extern nvpy_state nvpy;
/* Sets the exception for a status. Returns NULL. */
PyObject *nvpy_raise(neve_status status, const char *what);

/* ---- allocator.c ---- */

/* Puts our functions into the object and mem domains; false with an exception
 * set. */
bool nvpy_allocator_install(void);
/* New blocks come from the previous allocator again; ours can still be freed. */
void nvpy_allocator_retire(void);
/* Whether new small blocks come from the heap: installed, and not
 * PYTHONMALLOC=malloc. */
bool nvpy_allocator_serves(void);

/* ---- large.c ---- */

#define NVPY_LARGE_BYTES ((size_t)16384) /* blocks from this size on are counted */
extern size_t nvpy_large_count;          /* of those that are noted */
void nvpy_large_note(void *block, size_t size);
/* Any block may be given. */
void nvpy_large_forget(const void *block);
size_t nvpy_large_bytes(void);
void nvpy_large_after_fork_child(void);
/* After so many bytes more, net, nvpy_takeover_look is called; SIZE_MAX: never. */
void nvpy_large_set_alarm(size_t left);

/* ---- host.c ---- */
extern const neve_host nvpy_host;

/* ---- lists.c ---- */

static inline bool nvpy_is_self_linked(const PyGC_Head *head)
{
    return head->_gc_next == (uintptr_t)head;
}
static inline void nvpy_self_link(PyGC_Head *head)
{
    head->_gc_next = (uintptr_t)head;
    head->_gc_prev = (uintptr_t)head | (head->_gc_prev & _PyGC_PREV_MASK_FINALIZED);
}
static inline bool nvpy_list_is_empty(const PyGC_Head *list)
{
    return list->_gc_next == (uintptr_t)list;
}
void nvpy_list_init(PyGC_Head *list);
void nvpy_list_append(PyGC_Head *list, PyGC_Head *head);
void nvpy_list_prepend(PyGC_Head *list, PyGC_Head *head);
void nvpy_list_remove(PyGC_Head *head);
/* Moves all of `from` to the end (the front) of `to`. */
void nvpy_list_merge(PyGC_Head *from, PyGC_Head *to);
void nvpy_list_merge_front(PyGC_Head *from, PyGC_Head *to);
/* Old and permanent objects out of the interpreter's lists into the tables,
 * and back: afterwards CPython's own collector can work again. */
void nvpy_lists_adopt(void);
void nvpy_lists_give_back(void);
/* The same when the interpreter exits: what neve.freeze() froze is old again, so that
 * the interpreter's last collections find it. (What gc.freeze() froze they do not find, as
 * on stock.) */
void nvpy_lists_give_back_at_exit(void);

/* ---- holders.c ---- */

/* Of the list's objects those with finalizers go to its end, holders before what they hold. */
void nvpy_list_put_holders_first(PyGC_Head *list);

/* ---- takeover.c ---- */

bool nvpy_takeover_install(void); /* false with an exception set */
void nvpy_takeover_leave(void);
void nvpy_takeover_set_mode(neve_mode mode);
/* Called inside an allocation: if so much memory has come that a collection is due, has the
 * interpreter begin one soon. Returns how many bytes are left until then. */
size_t nvpy_takeover_look(void);
/* Goes on with the incremental cycle for about `budget_us`, in whatever thread
 * holds the GIL; Neve must be installed. Whether there is more to do: always
 * false in the other modes, and while a collection is under way. */
bool nvpy_takeover_step(unsigned budget_us);

/* ---- timer.c; all under the GIL ---- */

/* Has a slice asked for whenever none ran for so long; 0: never. If there can be
 * no timer, one line on standard error says so. */
void nvpy_timer_start(uint32_t interval_ms);
/* The thread has ended when this returns. */
void nvpy_timer_stop(void);
/* To be called after each slice, also of a young collection: counts it. */
void nvpy_timer_note_slice(void);
/* A new dictionary, or NULL with an exception set. */
PyObject *nvpy_timer_stats(void);

/* ---- immortal.c ---- */

/* Method: makes what hangs on the permanent generation immortal, objects of these classes
 * (a tuple) although they have a finalizer. Returns a dictionary {"immortal": how many there
 * are by now, "mortal": {reason: count}}. */
PyObject *nvpy_immortal_make(PyObject *self, PyObject *finalized_at_exit);
/* Method: the permanent generation is not lost to the interpreter's exit. */
PyObject *nvpy_immortal_note_freeze(PyObject *self, PyObject *unused);
/* Runs the finalizers of what only immortal objects keep alive; when the interpreter
 * exits, before it takes its modules apart. */
void nvpy_immortal_finalize(void);

/* ---- prefork.c; methods ---- */

PyObject *nvpy_prefork_watch(PyObject *self, PyObject *function);
/* (slices: whether the old generation is to be collected in slices from now on; timer_ms) */
PyObject *nvpy_prefork_settle(PyObject *self, PyObject *args);

/* ---- cow.c ---- */

void nvpy_cow_publish(bool has_debug_hooks);
/* Method (pid, pid to compare with or 0, has_pages): a report as JSON. */
PyObject *nvpy_cow_look(PyObject *self, PyObject *args);
/* Method (keeps): makes or ends the process that keeps a copy; its number, or 0. */
PyObject *nvpy_cow_reference(PyObject *self, PyObject *args);

/* ---- methods.c ---- */

#define NVPY_FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

typedef struct nvpy_method {
    const char *name;
    int flags; /* as the original must have them */
    PyCFunction ours;
    PyCFunction ours_fast; /* for an original with METH_FASTCALL alone; or NULL */
    PyCFunction original;  /* NULL: not replaced */
    PyMethodDef *definition;
} nvpy_method;

/* Whether the calling thread belongs to the interpreter that is ours. */
bool nvpy_is_ours(void);
/* All or none; false with an exception set. */
bool nvpy_methods_replace(const char *module_name, nvpy_method *methods, size_t n);
void nvpy_methods_restore(nvpy_method *methods, size_t n);

/* ---- gcmodule.c, sysmodule.c, exec.c ---- */
bool nvpy_gcmodule_install(void); /* false with an exception set */
void nvpy_gcmodule_leave(void);
bool nvpy_sysmodule_install(void); /* false with an exception set */
void nvpy_sysmodule_leave(void);
void nvpy_exec_install(void);
void nvpy_exec_leave(void);

#endif
