/* SPDX-License-Identifier: MIT */
/*
 * What neve.prefork() needs of the C side: to see forks that C code makes
 * (uWSGI's), and, after a freeze, the pacing of the processes to come and a dense heap. Everything else is
 * in neve/_prefork.py.
 */
#include "neve_python.h"

#include <pthread.h>

/* ---- forks of C code ---- */

static PyObject *watcher; /* to be called before a fork; NULL: nobody */

static void call_watcher(void)
{
    if (!nvpy_is_ours() || nvpy_gc(nvpy.interp)->collecting)
        return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallNoArgs(watcher);
    if (result == NULL)
        PyErr_WriteUnraisable(watcher);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* Whether nobody but the calling thread can hold the GIL, so that waiting for it would
 * end. (Whoever has the GIL may be waiting for this thread.) */
static bool is_only_thread(const PyThreadState *thread)
{
    return thread->interp == nvpy.interp && nvpy.interp->threads.head == thread &&
           thread->next == NULL;
}

/* uWSGI forks with the GIL or, if it has threads, without. Who cannot be helped forks as
 * if nobody watched. */
static void before_fork(void)
{
    PyThreadState *own = PyGILState_GetThisThreadState();
    if (watcher == NULL || nvpy.interp == NULL || own == NULL)
        return;
    PyThreadState *current = nvpy_compat_thread_with_gil();
    if (current == own) {
        call_watcher();
    } else if (current == NULL && is_only_thread(own)) {
        PyGILState_STATE state = PyGILState_Ensure();
        call_watcher();
        PyGILState_Release(state);
    }
}

PyObject *nvpy_prefork_watch(PyObject *self, PyObject *function)
{
    (void)self;
    static bool is_registered = false;
    if (!is_registered && pthread_atfork(before_fork, NULL, NULL) != 0)
        return nvpy_raise(NEVE_ENOMEM, "registering a function for fork()");
    is_registered = true;
    Py_XSETREF(watcher, Py_NewRef(function));
    Py_RETURN_NONE;
}

/* ---- after a freeze ---- */

/* The 25% rule: a full collection is due when the objects that have got old exceed a quarter of those
 * that survived the last one. After a freeze these are no candidates any more; counting all
 * of them would let a worker of a large parent gather as much garbage as a quarter of that,
 * counting none would have it collect for every few objects that it keeps. */
#define LONG_LIVED_MAX 100000

PyObject *nvpy_prefork_settle(PyObject *self, PyObject *args)
{
    (void)self;
    int slices;
    unsigned timer_ms;
    if (!PyArg_ParseTuple(args, "pI", &slices, &timer_ms))
        return NULL;
    if (!nvpy_is_ours()) {
        PyErr_SetString(PyExc_RuntimeError, "neve is not installed in this interpreter");
        return NULL;
    }
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    if (slices && neve_collector_mode(nvpy.collector) == NEVE_MODE_GENERATIONAL) {
        nvpy_takeover_set_mode(NEVE_MODE_INCREMENTAL);
        nvpy_timer_start(timer_ms);
    }
    if (neve_collector_mode(nvpy.collector) == NEVE_MODE_GENERATIONAL) {
        if (gc->long_lived_total > LONG_LIVED_MAX)
            gc->long_lived_total = LONG_LIVED_MAX;
        gc->long_lived_pending = 0;
    }
    neve_collector_before_fork(nvpy.collector);
    neve_heap_before_fork(nvpy.heap);
    Py_RETURN_NONE;
}
