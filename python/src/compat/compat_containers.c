/* SPDX-License-Identifier: MIT */
/*
 * Tuples and dicts as the versions of CPython have them.
 */
#include "compat.h"

#include <internal/pycore_dict.h>

/* The rules of CPython's own function, which 3.13 keeps to itself: an object counts as
 * one that can be in a cycle unless it is a leaf or an untracked tuple, and a tuple that
 * is still being filled (it has NULLs) stays tracked. Programs make tuples of leaves by
 * the million: those cost no calls. */
void nvpy_compat_untrack_tuple(PyObject *tuple)
{
    if (!_PyObject_GC_IS_TRACKED(tuple))
        return;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (item == NULL || (PyType_IS_GC(Py_TYPE(item)) && _PyObject_GC_MAY_BE_TRACKED(item)))
            return;
    }
    PyObject_GC_UnTrack(tuple);
}

#if PY_VERSION_HEX < 0x030d0000

void nvpy_compat_untrack_dict(PyObject *dict)
{
    _PyDict_MaybeUntrack(dict);
}

#else

#if PY_VERSION_HEX >= 0x030e0000

/* Dicts are tracked from the beginning, and for good, since gh-127010. */
void nvpy_compat_untrack_dict(PyObject *dict)
{
    (void)dict;
}

#else

void nvpy_compat_untrack_dict(PyObject *dict)
{
    if (!_PyObject_GC_IS_TRACKED(dict))
        return;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &at, &key, &value))
        if (_PyObject_GC_MAY_BE_TRACKED(key) || _PyObject_GC_MAY_BE_TRACKED(value))
            return;
    PyObject_GC_UnTrack(dict);
}

#endif
#endif

bool nvpy_compat_dict_values(PyObject *object, neve_span *values, size_t *stride)
{
    PyDictObject *dict = (PyDictObject *)object;
    PyDictKeysObject *keys = dict->ma_keys;
    if (!DK_IS_UNICODE(keys))
        return false;
    values->count = (size_t)keys->dk_nentries;
    /* (Values that lie in an instance, since 3.13, are its dict's to report as
     * soon as there is a dict.) */
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
