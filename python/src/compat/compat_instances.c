/* SPDX-License-Identifier: MIT */
/*
 * Where instances of classes that are written in Python have their references, so
 * that a verification needs neither a call for the instance nor one for each
 * reference.
 *
 * What is told is what CPython's own traversal of such instances would report: the
 * class, the slots, the attributes or their dict. Of any instance that is not as
 * simple as that nothing is told, and the traversal is called: its class derives
 * from one that is written in C, or has members that are no slots, or has both slots
 * and attributes.
 */
#include "compat.h"

#include <internal/pycore_dict.h>

/* The traversal that classes written in Python have; NULL: not known. */
static traverseproc traverse_instance;

void nvpy_compat_learn_instances(void)
{
    /* Some class that each interpreter has made before it runs any program. */
    PyObject *module = PyImport_ImportModule("_frozen_importlib");
    PyObject *class = module == NULL ? NULL : PyObject_GetAttrString(module, "ModuleSpec");
    if (class != NULL && PyType_Check(class) &&
        ((PyTypeObject *)class)->tp_base == &PyBaseObject_Type)
        traverse_instance = ((PyTypeObject *)class)->tp_traverse;
    Py_XDECREF(class);
    Py_XDECREF(module);
    PyErr_Clear();
}

/* How many slots instances of the class have, one behind the other; negative: they
 * are not as simple as that. */
static Py_ssize_t count_slots(PyTypeObject *type)
{
    Py_ssize_t slots = 0;
    for (; type != &PyBaseObject_Type; type = type->tp_base) {
        if (type->tp_traverse != traverse_instance || !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
            return -1;
        /* Members that were not made by __slots__ can be of any kind. */
        if (Py_SIZE(type) != 0 && ((PyHeapTypeObject *)type)->ht_slots == NULL)
            return -1;
        slots += Py_SIZE(type);
    }
    return slots;
}

/* The same, from what is known already if it is: a class has several bases, mostly. */
static Py_ssize_t slots_of(PyTypeObject *type, nvpy_layouts *layouts)
{
    /* Classes are some hundred bytes long each. */
    uintptr_t at = ((uintptr_t)type >> 6 ^ (uintptr_t)type >> 9) % NVPY_LAYOUTS;
    if (layouts->types[at] != type) {
        layouts->types[at] = type;
        layouts->slots[at] = count_slots(type);
    }
    return layouts->slots[at];
}

#if PY_VERSION_HEX < 0x030c0000

/* Attributes lie in an array that the instance points to, by the order of the keys
 * that its class keeps, until somebody asks for their dict. */
static bool attributes_of(PyObject *object, neve_edges *edges)
{
    const PyDictValues *values = *_PyObject_ValuesPointer(object);
    if (values == NULL) {
        edges->items = (void *const *)_PyObject_ManagedDictPointer(object);
        edges->count = 1;
    } else {
        const PyHeapTypeObject *class = (const PyHeapTypeObject *)Py_TYPE(object);
        edges->items = (void *const *)values->values;
        edges->count = (size_t) class->ht_cached_keys->dk_nentries;
    }
    edges->stride = 1;
    edges->also = Py_TYPE(object);
    return true;
}

#else

/* 3.12 tags the pointer (gh-95245), 3.13 has the values in the instance (gh-115776). */
static bool attributes_of(PyObject *object, neve_edges *edges)
{
    (void)object;
    (void)edges;
    return false;
}

#endif

bool nvpy_compat_instance_edges(PyObject *object, nvpy_layouts *layouts, neve_edges *edges)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type->tp_traverse != traverse_instance || traverse_instance == NULL)
        return false;
    Py_ssize_t slots = slots_of(type, layouts);
    if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT))
        return slots == 0 && attributes_of(object, edges);
    /* The slots lie behind the pointer to the class; weak references, which are not
     * counted, may be the last. */
    Py_ssize_t end = (Py_ssize_t)sizeof(PyObject) + slots * (Py_ssize_t)sizeof(PyObject *);
    bool has_weakrefs = type->tp_weaklistoffset != 0;
    if (slots < 0 || type->tp_dictoffset != 0 || type->tp_itemsize != 0 ||
        (has_weakrefs && type->tp_weaklistoffset != end) ||
        type->tp_basicsize != end + (has_weakrefs ? (Py_ssize_t)sizeof(PyObject *) : 0))
        return false;
    *edges = (neve_edges){(void *const *)&object->ob_type, (size_t)slots + 1, 1, NULL, false};
    return true;
}
