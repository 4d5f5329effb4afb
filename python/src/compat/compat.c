/* SPDX-License-Identifier: MIT */
/*
 * Which interpreters the extension works in, and small differences.
 */
#include "compat.h"

#if PY_VERSION_HEX >= 0x030d0000
#include <internal/pycore_runtime.h>
#endif

#define STRINGIFIED(text) #text
#define STRING(text) STRINGIFIED(text)
#define BUILT_FOR "CPython " STRING(PY_MAJOR_VERSION) "." STRING(PY_MINOR_VERSION)

static const char other_structures[] =
    "this interpreter's structures are not those of the " BUILT_FOR " that neve was built for; "
    "build neve with this interpreter's own headers";

#if PY_VERSION_HEX >= 0x030d0000
/* The interpreter says where its fields are, for debuggers (since 3.13). They are
 * compared with where this build expects those that it uses. The sizes of the
 * interpreter's and the threads' states say nothing: their ends depend on
 * options, such as the JIT, that extensions do not get to know, and have grown in
 * patch releases. */
static const char *compare_offsets(void)
{
    const _Py_DebugOffsets *offsets = &_PyRuntime.debug_offsets;
    if (memcmp(offsets->cookie, "xdebugpy", sizeof offsets->cookie) != 0)
        return other_structures;
    if (offsets->free_threaded != 0)
        return "this interpreter is free-threaded; neve needs the GIL: use a default build";
    const struct {
        uint64_t theirs, ours;
    } fields[] = {
        {offsets->interpreter_state.threads_head, offsetof(PyInterpreterState, threads.head)},
        {offsets->interpreter_state.gc, offsetof(PyInterpreterState, gc)},
        {offsets->interpreter_state.imports_modules, offsetof(PyInterpreterState, imports.modules)},
        {offsets->interpreter_state.sysdict, offsetof(PyInterpreterState, sysdict)},
        {offsets->interpreter_state.builtins, offsetof(PyInterpreterState, builtins)},
#if PY_VERSION_HEX >= 0x030e0000
        {offsets->interpreter_frame.stackpointer, offsetof(_PyInterpreterFrame, stackpointer)},
        {offsets->gen_object.size, sizeof(PyGenObject)},
        {offsets->gen_object.gi_iframe, offsetof(PyGenObject, gi_iframe)},
        {offsets->gen_object.gi_frame_state, offsetof(PyGenObject, gi_frame_state)},
#endif
#if PY_VERSION_HEX >= 0x030f0000
        {offsets->thread_state.base_frame, offsetof(PyThreadState, base_frame)},
        {offsets->gc.generation_stats, offsetof(struct _gc_runtime_state, generation_stats)},
        {offsets->gc.generation_stats_size, sizeof(struct gc_stats)},
#endif
        {offsets->thread_state.datastack_chunk, offsetof(PyThreadState, datastack_chunk)},
        {offsets->thread_state.current_frame, offsetof(PyThreadState, current_frame)},
        {offsets->interpreter_frame.size, sizeof(_PyInterpreterFrame)},
        {offsets->interpreter_frame.previous, offsetof(_PyInterpreterFrame, previous)},
        {offsets->interpreter_frame.executable, offsetof(_PyInterpreterFrame, f_executable)},
        {offsets->interpreter_frame.localsplus, offsetof(_PyInterpreterFrame, localsplus)},
        {offsets->interpreter_frame.owner, offsetof(_PyInterpreterFrame, owner)},
        {offsets->tuple_object.ob_item, offsetof(PyTupleObject, ob_item)},
        {offsets->list_object.ob_item, offsetof(PyListObject, ob_item)},
        {offsets->dict_object.ma_keys, offsetof(PyDictObject, ma_keys)},
        {offsets->dict_object.ma_values, offsetof(PyDictObject, ma_values)},
        {offsets->gc.size, sizeof(struct _gc_runtime_state)},
        {offsets->gc.collecting, offsetof(struct _gc_runtime_state, collecting)},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].theirs != fields[i].ours)
            return other_structures;
    return NULL;
}
#endif

/* What the flags in sys tell of the build, should it have come to the extension
 * of another one. */
static const char *compare_build(void)
{
    if (PySys_GetObject("gettotalrefcount") != NULL || PySys_GetObject("getobjects") != NULL)
        return "this interpreter is a debug build (Py_DEBUG or Py_TRACE_REFS); neve was built for "
               "default builds: use one of those";
    PyObject *abiflags = PySys_GetObject("abiflags");
    if (abiflags != NULL && PyUnicode_Check(abiflags) &&
        PyUnicode_FindChar(abiflags, 't', 0, PyUnicode_GET_LENGTH(abiflags), 1) >= 0)
        return "this interpreter is free-threaded; neve needs the GIL: use a default build";
    return NULL;
}

static bool is_list(PyObject *object)
{
    return object != NULL && PyList_CheckExact(object);
}

/* Compares structures with what public functions say of them, from the first
 * field to the last that is used. */
static bool has_known_fields(PyInterpreterState *interp)
{
    const struct _gc_runtime_state *gc = nvpy_gc(interp);
    PyObject *own_dict = PyInterpreterState_GetDict(interp); /* makes it, if need be */
    if (gc->enabled != PyGC_IsEnabled() || !is_list(gc->callbacks) || !is_list(gc->garbage) ||
        own_dict == NULL || interp->dict != own_dict)
        return false;
#if PY_VERSION_HEX >= 0x030c0000
    /* The first static type is known: nothing is read through a pointer that may be
     * none. */
    const nvpy_static_type *first = nvpy_static_types(interp);
    if (interp->imports.modules != PyImport_GetModuleDict() || first->type != &PyBaseObject_Type)
        return false;
    PyObject *dict = PyType_GetDict(&PyBaseObject_Type);
    Py_XDECREF(dict);
    return dict == first->tp_dict;
#else
    return interp->modules == PyImport_GetModuleDict();
#endif
}

const char *nvpy_compat_refusal(PyInterpreterState *interp)
{
    if ((Py_Version >> 16) != (PY_VERSION_HEX >> 16))
        return "this extension was built for another version of CPython; build it for this one "
               "with: make PYTHON=/path/to/python";
#if PY_VERSION_HEX >= 0x030e0000
    if (Py_Version < 0x030e05f0 && PY_VERSION_HEX < 0x030f0000)
        return "this is CPython 3.14.0 to 3.14.4, which has another collector; of 3.14 neve serves "
               "3.14.5 and later: update the interpreter";
#endif
    const char *refusal = compare_build();
#if PY_VERSION_HEX >= 0x030d0000
    if (refusal == NULL)
        refusal = compare_offsets();
#endif
    if (refusal != NULL)
        return refusal;
    /* First, since it follows no pointer: within 3.13 the lists have moved by four
     * bytes, when their heads got an alignment of their own. */
    if (nvpy_gc(interp)->generation0 != nvpy_list(interp, 0) || !has_known_fields(interp))
        return other_structures;
    for (int i = 0; i <= NUM_GENERATIONS; i++) {
        PyGC_Head *list = nvpy_list(interp, i);
        PyGC_Head *next = _PyGCHead_NEXT(list);
        if (next == NULL || _PyGCHead_PREV(next) != list)
            return other_structures;
    }
    return NULL;
}

static bool add_to_info(PyObject *info, const char *key, PyObject *found)
{
    PyObject *before = found == NULL ? NULL : PyDict_GetItemString(info, key);
    PyObject *after = before == NULL ? Py_XNewRef(found) : PyNumber_Add(before, found);
    int status = after == NULL ? -1 : PyDict_SetItemString(info, key, after);
    Py_XDECREF(after);
    Py_XDECREF(found);
    return status == 0;
}

bool nvpy_compat_add_results(PyInterpreterState *interp, int generation,
                             const neve_collection *collection, PyObject *info)
{
    struct gc_generation_stats *statistics = nvpy_statistics(interp, generation);
    statistics->collected += (Py_ssize_t)collection->collected;
    statistics->uncollectable += (Py_ssize_t)collection->uncollectable;
#if PY_VERSION_HEX >= 0x030f0000
    size_t objects = collection->marked + collection->candidates;
    double seconds = (double)collection->duration_ns / 1e9;
    statistics->candidates += (Py_ssize_t)objects;
    statistics->duration += seconds;
#endif
    if (info == NULL)
        return true;
    bool is_added =
        add_to_info(info, "collected", PyLong_FromSize_t(collection->collected)) &&
        add_to_info(info, "uncollectable", PyLong_FromSize_t(collection->uncollectable));
#if PY_VERSION_HEX >= 0x030f0000
    is_added = is_added && add_to_info(info, "candidates", PyLong_FromSize_t(objects)) &&
               add_to_info(info, "duration", PyFloat_FromDouble(seconds));
#endif
    return is_added;
}

void nvpy_compat_empty_free_lists(PyInterpreterState *interp)
{
    struct _gc_runtime_state *gc = nvpy_gc(interp);
#if PY_VERSION_HEX >= 0x030f0000
    struct gc_stats statistics = *gc->generation_stats;
#else
    struct gc_generation_stats statistics = gc->generation_stats[NUM_GENERATIONS - 1];
#endif
    int counts[NUM_GENERATIONS];
    for (int i = 0; i < NUM_GENERATIONS; i++)
        counts[i] = nvpy_generation(interp, i)->count;
    int enabled = gc->enabled;
    PyObject *callbacks = gc->callbacks;

    gc->callbacks = NULL;
    gc->enabled = 1;
    gc->collecting = 0;
    PyGC_Collect();
    gc->collecting = 1;
    gc->enabled = enabled;
    gc->callbacks = callbacks;

    for (int i = 0; i < NUM_GENERATIONS; i++)
        nvpy_generation(interp, i)->count = counts[i];
#if PY_VERSION_HEX >= 0x030f0000
    *gc->generation_stats = statistics;
#else
    gc->generation_stats[NUM_GENERATIONS - 1] = statistics;
#endif
}

PyCompilerFlags nvpy_compat_compiler_flags(int flags)
{
    return (PyCompilerFlags){.cf_flags = flags, .cf_feature_version = PY_MINOR_VERSION};
}

bool nvpy_compat_is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing() != 0; /* public since gh-108014 */
#else
    return _Py_IsFinalizing() != 0;
#endif
}

void nvpy_compat_unraisable_in_clear(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyErr_FormatUnraisable("Exception ignored in tp_clear of %s", Py_TYPE(object)->tp_name);
#else
    _PyErr_WriteUnraisableMsg("in tp_clear of", (PyObject *)Py_TYPE(object));
#endif
}

/* 3.14 says what it was doing rather than only what it called (gh-130163). */
#if PY_VERSION_HEX >= 0x030e0000
void nvpy_compat_unraisable_in_weakref(PyObject *callback)
{
    PyErr_FormatUnraisable("Exception ignored on calling weakref callback %R", callback);
}

void nvpy_compat_unraisable_in_callback(PyObject *callback)
{
    PyErr_FormatUnraisable("Exception ignored while calling GC callback %R", callback);
}
#else
void nvpy_compat_unraisable_in_weakref(PyObject *callback)
{
    PyErr_WriteUnraisable(callback);
}

void nvpy_compat_unraisable_in_callback(PyObject *callback)
{
    PyErr_WriteUnraisable(callback);
}
#endif

/* Managed weak references lie before the object, at a negative offset, since
 * 3.12 (gh-95245). What is tracked is no static type, whose list is elsewhere. */
PyWeakReference **nvpy_compat_weakrefs(PyObject *object)
{
    Py_ssize_t offset = Py_TYPE(object)->tp_weaklistoffset;
#if PY_VERSION_HEX >= 0x030c0000
    bool has_list = offset != 0;
#else
    bool has_list = offset > 0;
#endif
    return has_list ? (PyWeakReference **)((char *)object + offset) : NULL;
}

void nvpy_compat_weakref_clear(PyWeakReference *weakref)
{
    _PyWeakref_ClearRef(weakref);
}
