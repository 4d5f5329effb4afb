/* SPDX-License-Identifier: MIT */
/*
 * Objects that are certainly alive. What is left out here merely costs
 * verification; a pointer that is not a live object would be fatal. So nothing
 * is here of which that is in doubt, such as caches of borrowed references.
 */
#include "compat.h"

#define VISIT(object)                                                                              \
    do {                                                                                           \
        if ((object) != NULL)                                                                      \
            visit((object), arg);                                                                  \
    } while (0)

static void visit_thread(PyThreadState *thread, neve_visit_fn visit, void *arg)
{
    VISIT(thread->dict);
#if PY_VERSION_HEX >= 0x030c0000
    VISIT(thread->current_exception); /* one object since gh-101578 */
#else
    VISIT(thread->curexc_type);
    VISIT(thread->curexc_value);
    VISIT(thread->curexc_traceback);
#endif
    VISIT(thread->c_profileobj);
    VISIT(thread->c_traceobj);
    VISIT(thread->async_exc);
    VISIT(thread->async_gen_firstiter);
    VISIT(thread->async_gen_finalizer);
    VISIT(thread->context);
    for (_PyErr_StackItem *item = thread->exc_info; item != NULL; item = item->previous_item)
        VISIT(item->exc_value);
    nvpy_compat_visit_frames(thread, visit, arg);
}

/* ---- static types ---- */

static void visit_static_type(PyTypeObject *type, neve_visit_fn visit, void *arg);

/* Static types are not tracked; what hangs on them is. They refer to their
 * subclasses weakly: of these only the static ones are certainly alive. */
static void visit_static_subclasses(PyObject *subclasses, neve_visit_fn visit, void *arg)
{
    if (subclasses == NULL || !PyDict_CheckExact(subclasses))
        return;
    Py_ssize_t at = 0;
    PyObject *key, *weakref;
    while (PyDict_Next(subclasses, &at, &key, &weakref)) {
        PyObject *subclass = ((PyWeakReference *)weakref)->wr_object;
        if (PyType_Check(subclass) &&
            (((PyTypeObject *)subclass)->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0)
            visit_static_type((PyTypeObject *)subclass, visit, arg);
    }
}

static void visit_type(PyTypeObject *type, PyObject *dict, PyObject *subclasses,
                       neve_visit_fn visit, void *arg)
{
    VISIT(dict);
    VISIT(type->tp_bases);
    VISIT(type->tp_mro);
    VISIT(subclasses);
    visit_static_subclasses(subclasses, visit, arg);
}

static void visit_static_type(PyTypeObject *type, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030c0000
    if ((type->tp_flags & _Py_TPFLAGS_STATIC_BUILTIN) != 0)
        return; /* see visit_static_types */
#endif
    visit_type(type, type->tp_dict, type->tp_subclasses, visit, arg);
}

#if PY_VERSION_HEX >= 0x030c0000

/* Extensions' static types have everything in the type, as before. */
static void visit_static_types(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030d0000
    size_t count = interp->types.builtins.num_initialized;
#else
    size_t count = interp->types.num_builtins_initialized;
#endif
    const nvpy_static_type *states = nvpy_static_types(interp);
    for (size_t i = 0; i < count; i++)
        if (states[i].type != NULL)
            visit_type(states[i].type, states[i].tp_dict, states[i].tp_subclasses, visit, arg);
}

#else

static void visit_static_types(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
    (void)interp;
    visit_static_type(&PyBaseObject_Type, visit, arg);
}

#endif

/* ---- the interpreter ---- */

static void visit_imports(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030c0000
    VISIT(interp->imports.modules); /* moved by gh-101758 */
    VISIT(interp->imports.modules_by_index);
    VISIT(interp->imports.importlib);
    VISIT(interp->imports.import_func);
#else
    VISIT(interp->modules);
    VISIT(interp->modules_by_index);
    VISIT(interp->importlib);
    VISIT(interp->import_func);
#endif
}

static void visit_codecs(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030d0000
    VISIT(interp->codecs.search_path); /* a structure of their own since 3.13 */
    VISIT(interp->codecs.search_cache);
    VISIT(interp->codecs.error_registry);
#else
    VISIT(interp->codec_search_path);
    VISIT(interp->codec_search_cache);
    VISIT(interp->codec_error_registry);
#endif
}

static void visit_atexit(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030e0000
    VISIT(interp->atexit.callbacks); /* a list since gh-127791 */
#else
    for (int i = 0; i < interp->atexit.ncallbacks; i++) {
        if (interp->atexit.callbacks[i] == NULL)
            continue;
        VISIT(interp->atexit.callbacks[i]->func);
        VISIT(interp->atexit.callbacks[i]->args);
        VISIT(interp->atexit.callbacks[i]->kwargs);
    }
#endif
}

void nvpy_compat_visit_roots(PyInterpreterState *interp, neve_visit_fn visit, void *arg)
{
    visit_imports(interp, visit, arg);
    VISIT(interp->sysdict);
    VISIT(interp->builtins);
    visit_codecs(interp, visit, arg);
    VISIT(interp->dict);
    VISIT(interp->builtins_copy);
    VISIT(interp->before_forkers);
    VISIT(interp->after_forkers_parent);
    VISIT(interp->after_forkers_child);
    VISIT(interp->warnings.filters);
    VISIT(interp->warnings.once_registry);
    VISIT(interp->audit_hooks);
    VISIT(interp->gc.garbage);
    VISIT(interp->gc.callbacks);
    visit_atexit(interp, visit, arg);
    for (PyThreadState *thread = interp->threads.head; thread != NULL; thread = thread->next)
        visit_thread(thread, visit, arg);
    visit_static_types(interp, visit, arg);
}
