/* SPDX-License-Identifier: MIT */
/*
 * Immortal objects, whose counts are never written (PEP 683, CPython 3.12 and
 * later), and what of an object is filled lazily, by readers.
 *
 * Up to 3.11 nothing is immortal: the functions do nothing there.
 */
#include "compat.h"

#include <internal/pycore_dict.h>
#if PY_VERSION_HEX >= 0x030f0000
#include <internal/pycore_moduleobject.h>
#endif

#if PY_VERSION_HEX >= 0x030c0000

void nvpy_compat_make_immortal(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030e0000
    /* A count of 32 bits, with flags beside it (gh-125174). An object that was allocated
     * statically is immortal already and keeps its own flags. */
    object->ob_flags |= _Py_IMMORTAL_FLAGS;
    object->ob_refcnt = (uint32_t)_Py_IMMORTAL_INITIAL_REFCNT;
#else
    /* The whole count, exactly this: counting skips no other large value. */
    object->ob_refcnt = _Py_IMMORTAL_REFCNT;
#endif
}

bool nvpy_compat_is_immortal(PyObject *object)
{
    return _Py_IsImmortal(object) != 0;
}

/* The value at which counting references to a dict's keys stops. Its representation has
 * changed more than once, but the keys of the empty dict have always had it. */
static Py_ssize_t immortal_keys_count(void)
{
    static Py_ssize_t count;
    if (count == 0) {
        PyObject *empty = PyDict_New();
        if (empty == NULL) {
            PyErr_Clear();
            return 1;
        }
        count = ((PyDictObject *)empty)->ma_keys->dk_refcnt;
        Py_DECREF(empty);
        if (count > 0 && count < UINT32_MAX / 4)
            count = 1; /* they are counted after all */
    }
    return count;
}

bool nvpy_compat_prepare_immortals(void)
{
    return immortal_keys_count() != 0;
}

static void share_keys_for_good(PyDictKeysObject *keys)
{
    Py_ssize_t count = immortal_keys_count();
    if (keys != NULL && count != 1)
        keys->dk_refcnt = count;
}

/* Only what can be hashed without running anybody's code, and what caches it. */
static bool is_plain_leaf(PyObject *object)
{
    return PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) ||
           PyLong_CheckExact(object) || PyFloat_CheckExact(object) || object == Py_None ||
           PyBool_Check(object) || PyComplex_CheckExact(object);
}

static bool caches_hash(PyObject *object)
{
    if (PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) ||
        PyFrozenSet_CheckExact(object))
        return true;
#if PY_VERSION_HEX >= 0x030e0000
    if (PyTuple_CheckExact(object)) { /* gh-131525 */
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
            if (!is_plain_leaf(PyTuple_GET_ITEM(object, i)))
                return false;
        return true;
    }
#else
    (void)is_plain_leaf;
#endif
    return false;
}

void nvpy_compat_fill_caches(PyObject *object)
{
    if (caches_hash(object)) {
        if (PyObject_Hash(object) == -1)
            PyErr_Clear();
    } else if (PyType_Check(object)) {
        (void)PyUnstable_Type_AssignVersionTag((PyTypeObject *)object);
        if (PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE))
            share_keys_for_good(((PyHeapTypeObject *)object)->ht_cached_keys);
    }
}

#else

void nvpy_compat_make_immortal(PyObject *object)
{
    (void)object;
}

bool nvpy_compat_is_immortal(PyObject *object)
{
    (void)object;
    return false;
}

bool nvpy_compat_prepare_immortals(void)
{
    return false;
}

void nvpy_compat_fill_caches(PyObject *object)
{
    (void)object;
}

#endif

/* ---- what traversal does not report ---- */

#define VISIT(object)                                                                              \
    do {                                                                                           \
        if ((object) != NULL)                                                                      \
            visit((object), arg);                                                                  \
    } while (0)

static void visit_keys(PyDictKeysObject *keys, neve_visit_fn visit, void *arg)
{
    if (keys == NULL || !DK_IS_UNICODE(keys))
        return; /* keys of other kinds are reported */
    PyDictUnicodeEntry *entries = DK_UNICODE_ENTRIES(keys);
    for (Py_ssize_t i = 0; i < keys->dk_nentries; i++)
        VISIT(entries[i].me_key);
}

static void visit_code(PyCodeObject *code, neve_visit_fn visit, void *arg)
{
    VISIT(code->co_consts);
    VISIT(code->co_names);
    VISIT(code->co_exceptiontable);
    VISIT(code->co_localsplusnames);
    VISIT(code->co_localspluskinds);
    VISIT(code->co_filename);
    VISIT(code->co_name);
    VISIT(code->co_qualname);
    VISIT(code->co_linetable);
#if PY_VERSION_HEX >= 0x030c0000
    if (code->_co_cached != NULL) { /* what reading co_code and the like has left */
        VISIT(code->_co_cached->_co_code);
        VISIT(code->_co_cached->_co_varnames);
        VISIT(code->_co_cached->_co_cellvars);
        VISIT(code->_co_cached->_co_freevars);
    }
#endif
}

static void visit_heap_type(PyTypeObject *type, neve_visit_fn visit, void *arg)
{
    PyHeapTypeObject *heap_type = (PyHeapTypeObject *)type;
    VISIT(heap_type->ht_name);
    VISIT(heap_type->ht_qualname);
    VISIT(heap_type->ht_slots);
    VISIT((PyObject *)type->tp_subclasses);
    visit_keys(heap_type->ht_cached_keys, visit, arg);
}

static bool is_descriptor(const PyTypeObject *type)
{
    return type == &PyMethodDescr_Type || type == &PyGetSetDescr_Type ||
           type == &PyMemberDescr_Type || type == &PyWrapperDescr_Type ||
           type == &PyClassMethodDescr_Type;
}

void nvpy_compat_visit_hidden(PyObject *object, neve_visit_fn visit, void *arg)
{
    PyTypeObject *type = Py_TYPE(object);
    if (PyDict_Check(object)) {
        visit_keys(((PyDictObject *)object)->ma_keys, visit, arg);
    } else if (type == &PyCode_Type) {
        visit_code((PyCodeObject *)object, visit, arg);
    } else if (PyType_Check(object)) {
        visit_heap_type((PyTypeObject *)object, visit, arg);
    } else if (is_descriptor(type)) {
        VISIT(((PyDescrObject *)object)->d_name);
        VISIT(((PyDescrObject *)object)->d_qualname);
    }
}

bool nvpy_compat_is_running(PyObject *generator)
{
    PyTypeObject *type = Py_TYPE(generator);
    return (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) &&
           ((PyGenObject *)generator)->gi_frame_state == FRAME_EXECUTING;
}
