/* SPDX-License-Identifier: MIT */
/*
 * An extension module for test_c_interface.py: types as careless extensions
 * have them, threads of C that hold the GIL, the collector's functions of the C
 * interface. No internal header, so that it is the same for all versions.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stddef.h>
#include <structmember.h>

/* ---- types ---- */

typedef struct holder {
    PyObject_HEAD
    PyObject *shown;  /* visited by tp_traverse */
    PyObject *hidden; /* not visited, as if forgotten */
    PyObject *weakrefs;
} holder;

static int visit_shown(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((holder *)self)->shown);
    return 0;
}

static int visit_nothing(PyObject *self, visitproc visit, void *arg)
{
    (void)self;
    (void)visit;
    (void)arg;
    return 0;
}

static int clear_both(PyObject *self)
{
    Py_CLEAR(((holder *)self)->shown);
    Py_CLEAR(((holder *)self)->hidden);
    return 0;
}

static int clear_and_raise(PyObject *self)
{
    clear_both(self);
    PyErr_SetString(PyExc_ValueError, "from tp_clear");
    return -1;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((holder *)self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    clear_both(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"shown", T_OBJECT, offsetof(holder, shown), 0, NULL},
    {"hidden", T_OBJECT, offsetof(holder, hidden), 0, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(holder, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *make_type(const char *name, traverseproc traverse, inquiry clear)
{
    PyType_Slot slots[] = {
        {Py_tp_members, members},
        {Py_tp_dealloc, (void *)dealloc},
        {Py_tp_traverse, (void *)traverse},
        {Py_tp_clear, (void *)clear},
        {0, NULL},
    };
    if (clear == NULL)
        slots[3] = (PyType_Slot){0, NULL};
    PyType_Spec spec = {name, sizeof(holder), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots};
    return PyType_FromSpec(&spec);
}

/* ---- the collector's interface ---- */

static PyObject *c_collect(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromSsize_t(PyGC_Collect());
}

static PyObject *c_enable(PyObject *self, PyObject *flag)
{
    (void)self;
    return PyLong_FromLong(PyObject_IsTrue(flag) ? PyGC_Enable() : PyGC_Disable());
}

static PyObject *c_is_enabled(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromLong(PyGC_IsEnabled());
}

/* ---- threads that Python does not know ---- */

typedef struct work {
    pthread_t thread;
    long count;
    int failed;
} work;

/* Makes so many cycles of lists, letting the GIL go from time to time. */
static void *make_cycles(void *argument)
{
    work *w = argument;
    for (long done = 0; done < w->count && !w->failed;) {
        PyGILState_STATE state = PyGILState_Ensure();
        for (int i = 0; i < 500 && !w->failed; i++, done++) {
            PyObject *list = PyList_New(0);
            if (list == NULL || PyList_Append(list, list) != 0) {
                PyErr_Clear();
                w->failed = 1;
            }
            Py_XDECREF(list);
        }
        /* Since 3.12 this is where C code lets collections happen. */
        if (PyErr_CheckSignals() != 0)
            w->failed = 1;
        PyGILState_Release(state);
    }
    return NULL;
}

static PyObject *run_threads(PyObject *self, PyObject *args)
{
    work w[8] = {0};
    int n;
    long count;
    (void)self;
    if (!PyArg_ParseTuple(args, "il", &n, &count) || n < 1 || n > 8)
        return NULL;
    int failed = 0, started = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; started < n; started++) {
        w[started].count = count;
        if (pthread_create(&w[started].thread, NULL, make_cycles, &w[started]) != 0) {
            failed = 1;
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        failed |= w[i].failed;
    }
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(!failed);
}

/* An object that is still being filled while others are allocated. */
static PyObject *half_made_tuple(PyObject *self, PyObject *args)
{
    (void)self;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "n", &size))
        return NULL;
    PyObject *tuple = PyTuple_New(size);
    for (Py_ssize_t i = 0; tuple != NULL && i < size; i++) {
        PyObject *item = PyList_New(0);
        if (item == NULL || (i % 1000 == 0 && PyGC_Collect() < 0))
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyMethodDef methods[] = {
    {"collect", c_collect, METH_NOARGS, "PyGC_Collect()"},
    {"enable", c_enable, METH_O, "PyGC_Enable() or PyGC_Disable()"},
    {"is_enabled", c_is_enabled, METH_NOARGS, "PyGC_IsEnabled()"},
    {"run_threads", run_threads, METH_VARARGS, "run_threads(n, cycles) -> bool"},
    {"half_made_tuple", half_made_tuple, METH_VARARGS, "half_made_tuple(size) -> tuple"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_extension(void);
PyMODINIT_FUNC PyInit_extension(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    const struct {
        const char *name;
        traverseproc traverse;
        inquiry clear;
    } types[] = {
        {"Complete", visit_shown, clear_both},
        {"Forgetful", visit_nothing, clear_both},
        {"Uncleared", visit_shown, NULL},
        {"Raising", visit_shown, clear_and_raise},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "extension.%s", types[i].name);
        PyObject *type = make_type(name, types[i].traverse, types[i].clear);
        if (type == NULL || PyModule_AddObject(module, types[i].name, type) != 0) {
            Py_DECREF(module);
            return NULL;
        }
    }
    return module;
}
