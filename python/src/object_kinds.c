/* SPDX-License-Identifier: MIT */
/*
 * Which objects may be made immortal: those of whose death nobody would notice
 * anything but the memory. The others are named by what they have to do.
 *
 * The rule for types that are written in C: known ones only. An extension's
 * object may own a connection or memory of another library; that it dies with
 * its last reference is then part of what the program does.
 */
#include "object_graph.h"

#include <string.h>

const char *const nvpy_kind_names[NVPY_KINDS] = {
    [NVPY_FINALIZER] = "finalizer", [NVPY_FILE] = "file",
    [NVPY_GENERATOR] = "generator", [NVPY_WEAKREF_CALLBACK] = "weakref_callback",
    [NVPY_BUFFER] = "buffer",       [NVPY_FRAME] = "frame",
    [NVPY_FOREIGN] = "foreign",     [NVPY_THREAD] = "thread",
    [NVPY_TRANSIENT] = "transient", [NVPY_HOLDER] = "holder",
    [NVPY_HELD] = "held",
};

static PyTypeObject *file_type;     /* _io._IOBase */
static PyObject *finalized_at_exit; /* tuple of classes, or NULL */
static destructor python_dealloc;   /* of classes that are written in Python */

/* The answers for types, found by their address: the last one wins a place. */
#define KNOWN_TYPES 1024
static struct {
    PyTypeObject *type;
    nvpy_kind kind;
} known[KNOWN_TYPES];

void nvpy_kinds_finalize_at_exit(PyObject *classes)
{
    Py_XSETREF(finalized_at_exit, Py_NewRef(classes));
}

/* (Not of classes that derive from one of them: these may have finalizers of their own.) */
static bool is_finalized_at_exit(PyTypeObject *type)
{
    PyObject *classes = finalized_at_exit;
    for (Py_ssize_t i = 0; classes != NULL && i < PyTuple_GET_SIZE(classes); i++)
        if (PyTuple_GET_ITEM(classes, i) == (PyObject *)type)
            return true;
    return false;
}

bool nvpy_kinds_begin(void)
{
    memset(known, 0, sizeof known);
    if (file_type == NULL) {
        PyObject *module = PyImport_ImportModule("_io");
        PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "_IOBase");
        Py_XDECREF(module);
        if (type == NULL)
            return false;
        file_type = (PyTypeObject *)type; /* kept for good */
    }
    if (python_dealloc == NULL) {
        PyObject *type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "neve_probe");
        if (type == NULL)
            return false;
        python_dealloc = ((PyTypeObject *)type)->tp_dealloc;
        Py_DECREF(type);
    }
    return true;
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        /* A name that ends with a dot stands for a module. */
        if (names[i][length - 1] == '.' ? strncmp(name, names[i], length) == 0
                                        : strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}
#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof(names)[0])

/* C types whose objects hold objects and values, and nothing else. */
static const char *const plain_types[] = {
    "object",
    "function",
    "builtin_function_or_method",
    "builtin_method",
    "method",
    "instancemethod",
    "cell",
    "property",
    "staticmethod",
    "classmethod",
    "super",
    "mappingproxy",
    "method_descriptor",
    "getset_descriptor",
    "member_descriptor",
    "wrapper_descriptor",
    "classmethod_descriptor",
    "method-wrapper",
    "slice",
    "code",
    "range",
    "ellipsis",
    "NoneType",
    "NotImplementedType",
    "bytearray",
    "frozendict",
    "types.",
    "typing.",
    "weakref.",
    "weakproxy",
    "weakcallableproxy",
    "collections.",
    "_collections._tuplegetter",
    "functools.",
    "operator.",
    "re.",
    "_sre.",
    "datetime.",
    "decimal.",
    "_abc._abc_data",
    "_struct.",
    "Struct",
    "_random.",
    "_contextvars.ContextVar",
    "ContextVar",
    "_contextvars.Token",
    "Token",
    "zoneinfo.",
    "_json.",
    "_csv.Dialect",
    "string.templatelib.",
    "moduledef",
};

static const char *const thread_types[] = {
    "_thread.",         "_contextvars.Context", "Context", "hamt", "hamt_array_node",
    "hamt_bitmap_node", "hamt_collision_node",  "_queue.",
};

/* The C type that the objects of a Python class are laid out and freed by. */
static PyTypeObject *solid_base(PyTypeObject *type)
{
    while (type->tp_dealloc == python_dealloc && type->tp_base != NULL)
        type = type->tp_base;
    return type;
}

static bool is_value_type(PyTypeObject *type)
{
    PyTypeObject *const families[] = {
        &PyTuple_Type,
        &PyList_Type,
        &PyDict_Type,
        &PySet_Type,
        &PyFrozenSet_Type,
        &PyUnicode_Type,
        &PyBytes_Type,
        &PyLong_Type,
        &PyFloat_Type,
        &PyComplex_Type,
        (PyTypeObject *)PyExc_BaseException,
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (PyType_IsSubtype(type, families[i]))
            return true;
    return false;
}

static nvpy_kind classify(PyTypeObject *type)
{
    if (PyType_IsSubtype(type, &PyType_Type) || PyType_IsSubtype(type, &PyModule_Type))
        return NVPY_BARRIER;
    PyTypeObject *base = solid_base(type);
    if (PyType_IsSubtype(type, file_type) || strcmp(base->tp_name, "_socket.socket") == 0)
        return NVPY_FILE;
    if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type)
        return NVPY_GENERATOR;
    if (type == &PyFrame_Type || type == &PyTraceBack_Type)
        return NVPY_FRAME;
    if ((type->tp_finalize != NULL && !is_finalized_at_exit(type)) || type->tp_del != NULL)
        return NVPY_FINALIZER;
    /* (The second stands between the first and its exporter.) */
    if (type == &PyMemoryView_Type || strcmp(type->tp_name, "managedbuffer") == 0)
        return NVPY_BUFFER;
    if (is_value_type(base))
        return NVPY_PLAIN;
    if (IS_ONE_OF(base->tp_name, thread_types))
        return NVPY_THREAD;
    if (base->tp_iternext != NULL)
        return NVPY_TRANSIENT;
    return IS_ONE_OF(base->tp_name, plain_types) ? NVPY_PLAIN : NVPY_FOREIGN;
}

nvpy_kind nvpy_kind_of_type(PyTypeObject *type)
{
    size_t at = ((uintptr_t)type >> 5) % KNOWN_TYPES;
    if (known[at].type != type) {
        known[at].kind = classify(type);
        known[at].type = type;
    }
    return known[at].kind;
}

static bool has_weakref_callback(PyObject *object)
{
    PyWeakReference **list = nvpy_compat_weakrefs(object);
    for (PyWeakReference *at = list == NULL ? NULL : *list; at != NULL; at = at->wr_next)
        if (at->wr_callback != NULL)
            return true;
    return false;
}

/* A tuple that is still being filled may be resized by its maker, who relies on
 * being the only one to know it. */
static bool is_under_construction(PyObject *object)
{
    if (!PyTuple_CheckExact(object))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
        if (PyTuple_GET_ITEM(object, i) == NULL)
            return true;
    return false;
}

nvpy_kind nvpy_kind_of(PyObject *object)
{
    nvpy_kind kind = nvpy_kind_of_type(Py_TYPE(object));
    if (kind != NVPY_PLAIN)
        return kind;
    if (has_weakref_callback(object))
        return NVPY_WEAKREF_CALLBACK;
    if (is_under_construction(object))
        return NVPY_TRANSIENT;
    if (PyByteArray_Check(object) && ((PyByteArrayObject *)object)->ob_exports > 0)
        return NVPY_BUFFER;
    return NVPY_PLAIN;
}
