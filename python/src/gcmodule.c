/* SPDX-License-Identifier: MIT */
/*
 * The functions of the gc module that look at the lists of objects, or at what
 * CPython's collector found in them.
 *
 * Each passes calls from other interpreters on to the original (methods.c).
 */
#include "neve_python.h"

static PyObject *gc_collect(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);
static PyObject *gc_get_objects(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names);
static PyObject *gc_get_referrers(PyObject *self, PyObject *args);
static PyObject *gc_get_referrers_fast(PyObject *self, PyObject *const *args, Py_ssize_t n);
static PyObject *gc_freeze(PyObject *self, PyObject *unused);
static PyObject *gc_unfreeze(PyObject *self, PyObject *unused);
static PyObject *gc_get_freeze_count(PyObject *self, PyObject *unused);

enum { COLLECT, GET_OBJECTS, GET_REFERRERS, FREEZE, UNFREEZE, GET_FREEZE_COUNT, REPLACEMENTS };
static nvpy_method replacements[REPLACEMENTS] = {
    [COLLECT] = {"collect", METH_FASTCALL | METH_KEYWORDS, .ours = NVPY_FUNCTION(gc_collect)},
    [GET_OBJECTS] = {"get_objects", METH_FASTCALL | METH_KEYWORDS,
                     .ours = NVPY_FUNCTION(gc_get_objects)},
    [GET_REFERRERS] = {"get_referrers", METH_VARARGS, gc_get_referrers,
                       NVPY_FUNCTION(gc_get_referrers_fast)},
    [FREEZE] = {"freeze", METH_NOARGS, .ours = gc_freeze},
    [UNFREEZE] = {"unfreeze", METH_NOARGS, .ours = gc_unfreeze},
    [GET_FREEZE_COUNT] = {"get_freeze_count", METH_NOARGS, .ours = gc_get_freeze_count},
};

static PyObject *call_fast(int which, PyObject *self, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    _PyCFunctionFastWithKeywords original =
        (_PyCFunctionFastWithKeywords)(void (*)(void))replacements[which].original;
    return original(self, args, n, names);
}

static PyObject *gc_collect(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (!nvpy_is_ours())
        return call_fast(COLLECT, self, args, n, names);
    uint64_t runs = nvpy.runs;
    nvpy.is_explicit = true;
    PyObject *result = call_fast(COLLECT, self, args, n, names);
    nvpy.is_explicit = false;
    if (result == NULL || !PyLong_CheckExact(result) || nvpy.runs == runs)
        return result;
    /* What CPython's collector found is what was made between start and stop. */
    Py_ssize_t found = PyLong_AsSsize_t(result) + nvpy.last_found;
    Py_DECREF(result);
    return PyLong_FromSsize_t(found);
}

/* ---- listing objects ---- */

/* A growing array of objects, retained, outside Python's memory. */
typedef struct collected {
    PyObject **items;
    size_t count, capacity;
    PyObject *wanted; /* get_referrers: the tuple of objects that are looked for */
    bool failed;
} collected;

static int add(void *object, void *arg)
{
    collected *c = arg;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity == 0 ? 1024 : c->capacity * 2;
        PyObject **grown = PyMem_RawRealloc(c->items, capacity * sizeof *grown);
        if (grown == NULL) {
            c->failed = true;
            return 1;
        }
        c->items = grown;
        c->capacity = capacity;
    }
    c->items[c->count++] = Py_NewRef((PyObject *)object);
    return 0;
}

static int is_wanted(PyObject *object, void *arg)
{
    PyObject *wanted = arg;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(wanted); i++)
        if (PyTuple_GET_ITEM(wanted, i) == object)
            return 1;
    return 0;
}

static int add_if_referrer(void *object, void *arg)
{
    collected *c = arg;
    if (object == c->wanted)
        return 0;
    traverseproc traverse = Py_TYPE((PyObject *)object)->tp_traverse;
    return traverse(object, is_wanted, c->wanted) != 0 ? add(object, arg) : 0;
}

static void visit_list(int generation, neve_visit_fn visit, collected *c)
{
    PyGC_Head *list = nvpy_list(nvpy.interp, generation);
    for (PyGC_Head *at = _PyGCHead_NEXT(list); at != list && !c->failed; at = _PyGCHead_NEXT(at))
        visit(nvpy_object(at), c);
}

static PyObject *to_list(collected *c)
{
    PyObject *list = c->failed ? NULL : PyList_New((Py_ssize_t)c->count);
    for (size_t i = 0; i < c->count; i++) {
        if (list != NULL)
            PyList_SET_ITEM(list, (Py_ssize_t)i, c->items[i]);
        else
            Py_DECREF(c->items[i]);
    }
    if (c->failed)
        PyErr_NoMemory();
    PyMem_RawFree(c->items);
    return list;
}

static PyObject *gc_get_objects(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    PyObject *argument = Py_None;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    bool is_understood = nvpy_is_ours() && n + named <= 1;
    if (is_understood && named == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "generation") != 0)
        is_understood = false;
    if (is_understood && n + named == 1)
        argument = args[0];
    /* Generations 0 and 1 are real lists; and errors are the original's. */
    bool is_old = PyLong_CheckExact(argument) && PyLong_AsLong(argument) == 2;
    if (!is_understood || (argument != Py_None && !is_old)) {
        PyErr_Clear();
        return call_fast(GET_OBJECTS, self, args, n, names);
    }
    if (PySys_Audit("gc.get_objects", "n", (Py_ssize_t)(is_old ? 2 : -1)) < 0)
        return NULL;
    collected c = {0};
    for (int i = is_old ? 2 : 0; i < NUM_GENERATIONS; i++)
        visit_list(i, add, &c);
    if (!c.failed)
        neve_collector_walk(nvpy.collector, 2, add, &c);
    return to_list(&c);
}

static PyObject *referrers_of(PyObject *args)
{
    if (PySys_Audit("gc.get_referrers", "(O)", args) < 0)
        return NULL;
    collected c = {.wanted = args};
    for (int i = 0; i < NUM_GENERATIONS; i++)
        visit_list(i, add_if_referrer, &c);
    if (!c.failed)
        neve_collector_walk(nvpy.collector, 2, add_if_referrer, &c);
    return to_list(&c);
}

static PyObject *gc_get_referrers(PyObject *self, PyObject *args)
{
    return nvpy_is_ours() ? referrers_of(args) : replacements[GET_REFERRERS].original(self, args);
}

static PyObject *gc_get_referrers_fast(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (!nvpy_is_ours()) {
        _PyCFunctionFast original =
            (_PyCFunctionFast)(void (*)(void))replacements[GET_REFERRERS].original;
        return original(self, args, n);
    }
    PyObject *tuple = PyTuple_New(n);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    PyObject *result = referrers_of(tuple);
    Py_DECREF(tuple);
    return result;
}

/* ---- the permanent generation ---- */

static PyObject *gc_freeze(PyObject *self, PyObject *unused)
{
    if (!nvpy_is_ours())
        return replacements[FREEZE].original(self, unused);
    neve_status status = neve_collector_freeze(nvpy.collector);
    if (status != NEVE_OK)
        return nvpy_raise(status, "gc.freeze()");
    for (int i = 0; i < NUM_GENERATIONS; i++)
        nvpy_generation(nvpy.interp, i)->count = 0;
    Py_RETURN_NONE;
}

static PyObject *gc_unfreeze(PyObject *self, PyObject *unused)
{
    if (!nvpy_is_ours())
        return replacements[UNFREEZE].original(self, unused);
    neve_status status = neve_collector_unfreeze(nvpy.collector);
    if (status != NEVE_OK)
        return nvpy_raise(status, "gc.unfreeze()");
    Py_RETURN_NONE;
}

static int count_one(void *object, void *count)
{
    (void)object;
    ++*(size_t *)count;
    return 0;
}

static PyObject *gc_get_freeze_count(PyObject *self, PyObject *unused)
{
    if (!nvpy_is_ours())
        return replacements[GET_FREEZE_COUNT].original(self, unused);
    size_t count = 0; /* of those that are still tracked, as on stock */
    neve_collector_walk(nvpy.collector, 3, count_one, &count);
    return PyLong_FromSize_t(count);
}

/* ---- replacing ---- */

bool nvpy_gcmodule_install(void)
{
    return nvpy_methods_replace("gc", replacements, REPLACEMENTS);
}

void nvpy_gcmodule_leave(void)
{
    nvpy_methods_restore(replacements, REPLACEMENTS);
}
