/* SPDX-License-Identifier: MIT */
/*
 * compat.h for CPython 3.11.
 */
#include "compat.h"

#include <internal/pycore_dict.h>

const char *nvpy_compat_refusal(PyInterpreterState *interp)
{
    if ((Py_Version >> 16) != (PY_VERSION_HEX >> 16))
        return "this extension was built for another version of CPython; build it for this one "
               "with: make PYTHON=/path/to/python";
    /* Structures are compared with what the public functions say of them. */
    struct _gc_runtime_state *gc = nvpy_gc(interp);
    if (gc->enabled != PyGC_IsEnabled() || gc->callbacks == NULL ||
        !PyList_CheckExact(gc->callbacks) || gc->garbage == NULL ||
        !PyList_CheckExact(gc->garbage) || interp->modules != PyImport_GetModuleDict())
        return "this interpreter's structures are not those of the CPython 3.11 that neve was "
               "built for; build neve with this interpreter's own headers";
    for (int i = 0; i <= NUM_GENERATIONS; i++) {
        PyGC_Head *list = nvpy_list(interp, i);
        PyGC_Head *next = _PyGCHead_NEXT(list);
        if (next == NULL || _PyGCHead_PREV(next) != list)
            return "this interpreter's lists of objects are not those of the CPython 3.11 that "
                   "neve was built for; build neve with this interpreter's own headers";
    }
    return NULL;
}

#define VISIT(object)                                                                              \
    do {                                                                                           \
        if ((object) != NULL)                                                                      \
            visit((object), arg);                                                                  \
    } while (0)

static void visit_frame(_PyInterpreterFrame *frame, neve_visit_fn visit, void *arg)
{
    VISIT(frame->frame_obj);
    VISIT(frame->f_func);
    VISIT(frame->f_code);
    VISIT(frame->f_locals);
    VISIT(frame->f_globals);
    VISIT(frame->f_builtins);
    /* The value stack of the frame that is running is in a register: only
     * what was saved at a call is known. The rest costs verification. */
    int top = frame->f_code->co_nlocalsplus;
    if (frame->stacktop > top)
        top = frame->stacktop;
    for (int i = 0; i < top; i++)
        VISIT(frame->localsplus[i]);
}

static void visit_thread(PyThreadState *thread, neve_visit_fn visit, void *arg)
{
    VISIT(thread->dict);
    VISIT(thread->curexc_type);
    VISIT(thread->curexc_value);
    VISIT(thread->curexc_traceback);
    VISIT(thread->c_profileobj);
    VISIT(thread->c_traceobj);
    VISIT(thread->async_exc);
    VISIT(thread->async_gen_firstiter);
    VISIT(thread->async_gen_finalizer);
    VISIT(thread->context);
    for (_PyErr_StackItem *item = thread->exc_info; item != NULL; item = item->previous_item)
        VISIT(item->exc_value);
    for (_PyCFrame *cframe = thread->cframe; cframe != NULL; cframe = cframe->previous)
        for (_PyInterpreterFrame *frame = cframe->current_frame; frame != NULL;
             frame = frame->previous) {
            visit_frame(frame, visit, arg);
            if (frame->is_entry)
                break; /* the frames below belong to the next C frame */
        }
}

/* Static types are not tracked; what hangs on them is. They refer to their
 * subclasses weakly: of these only the static ones are certainly alive. */
static void visit_static_type(PyTypeObject *type, neve_visit_fn visit, void *arg)
{
    if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0)
        return;
    VISIT(type->tp_dict);
    VISIT(type->tp_bases);
    VISIT(type->tp_mro);
    VISIT(type->tp_cache);
    VISIT(type->tp_subclasses);
    if (type->tp_subclasses == NULL || !PyDict_CheckExact(type->tp_subclasses))
        return;
    Py_ssize_t at = 0;
    PyObject *key, *weakref;
    while (PyDict_Next(type->tp_subclasses, &at, &key, &weakref)) {
        PyObject *subclass = PyWeakref_GET_OBJECT(weakref);
        if (PyType_Check(subclass))
            visit_static_type((PyTypeObject *)subclass, visit, arg);
    }
}

void nvpy_compat_visit_roots(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
    VISIT(interp->modules);
    VISIT(interp->modules_by_index);
    VISIT(interp->sysdict);
    VISIT(interp->builtins);
    VISIT(interp->importlib);
    VISIT(interp->codec_search_path);
    VISIT(interp->codec_search_cache);
    VISIT(interp->codec_error_registry);
    VISIT(interp->dict);
    VISIT(interp->builtins_copy);
    VISIT(interp->import_func);
    VISIT(interp->before_forkers);
    VISIT(interp->after_forkers_parent);
    VISIT(interp->after_forkers_child);
    VISIT(interp->warnings.filters);
    VISIT(interp->warnings.once_registry);
    VISIT(interp->audit_hooks);
    VISIT(interp->gc.garbage);
    VISIT(interp->gc.callbacks);
    for (int i = 0; i < interp->atexit.ncallbacks; i++) {
        const atexit_callback *callback = interp->atexit.callbacks[i];
        if (callback == NULL)
            continue;
        VISIT(callback->func);
        VISIT(callback->args);
        VISIT(callback->kwargs);
    }
    for (PyThreadState *thread = interp->threads.head; thread != NULL; thread = thread->next)
        visit_thread(thread, visit, arg);
    visit_static_type(&PyBaseObject_Type, visit, arg);
}

void nvpy_compat_untrack_tuple(PyObject *tuple)
{
    _PyTuple_MaybeUntrack(tuple);
}

void nvpy_compat_untrack_dict(PyObject *dict)
{
    _PyDict_MaybeUntrack(dict);
}

bool nvpy_compat_dict_values(PyObject *object, neve_span *values, size_t *stride)
{
    PyDictObject *dict = (PyDictObject *)object;
    PyDictKeysObject *keys = dict->ma_keys;
    if (!DK_IS_UNICODE(keys))
        return false;
    values->count = (size_t)keys->dk_nentries;
    if (dict->ma_values != NULL) {
        values->items = (void *const *)dict->ma_values->values;
        *stride = 1;
    } else {
        PyDictUnicodeEntry *entries = DK_UNICODE_ENTRIES(keys);
        values->items = (void *const *)&entries[0].me_value;
        *stride = sizeof *entries / sizeof(void *);
    }
    return true;
}

void nvpy_compat_weakref_clear(PyWeakReference *weakref)
{
    _PyWeakref_ClearRef(weakref);
}

/* The evaluation loop takes cframe->current_frame as the caller of the next
 * frame, and NULL is what it finds in a fresh thread. (3.12 renames the counter,
 * 3.13 moves the frame.) */
nvpy_hidden_frames nvpy_compat_frames_hide(void)
{
    PyThreadState *thread = PyThreadState_Get();
    nvpy_hidden_frames hidden = {
        .thread = thread,
        .frame = thread->cframe->current_frame,
        .depth = thread->recursion_limit - thread->recursion_remaining,
    };
    thread->cframe->current_frame = NULL;
    thread->recursion_remaining = thread->recursion_limit;
    return hidden;
}

void nvpy_compat_frames_show(const nvpy_hidden_frames *hidden)
{
    /* sys.setrecursionlimit() has moved limit and remainder together. */
    hidden->thread->recursion_remaining -= hidden->depth;
    hidden->thread->cframe->current_frame = hidden->frame;
}

PyCompilerFlags nvpy_compat_compiler_flags(int flags)
{
    return (PyCompilerFlags){.cf_flags = flags, .cf_feature_version = PY_MINOR_VERSION};
}

bool nvpy_compat_is_finalizing(void)
{
    return _Py_IsFinalizing() != 0;
}

void nvpy_compat_unraisable_in_clear(PyObject *object)
{
    _PyErr_WriteUnraisableMsg("in tp_clear of", (PyObject *)Py_TYPE(object));
}
