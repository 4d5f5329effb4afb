/* SPDX-License-Identifier: MIT */
/*
 * How CPython's objects lie in their blocks, for those who look at them from outside the
 * process (neve/cow.h): counts, types, heads, and what readers fill in.
 */
#include "compat.h"

#include <stddef.h>

/* Two words in front of the collector's head: up to 3.11 a managed dict and its values,
 * since 3.12 (gh-95245) a managed dict or a list of weak references, or both. */
#if PY_VERSION_HEX >= 0x030c0000
#define HAS_PREHEADER (Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_MANAGED_WEAKREF)
#define IMMORTAL_BIT ((uint64_t)1 << 31) /* of the count; no mortal object has so many references */
#else
#define HAS_PREHEADER Py_TPFLAGS_MANAGED_DICT
#define IMMORTAL_BIT ((uint64_t)0)
#endif

neve_cow_model nvpy_compat_object_model(size_t debug_bytes)
{
    neve_cow_model model = {
        .count_offset = 0,
        .count_bytes = offsetof(PyObject, ob_type),
        .immortal_mask = IMMORTAL_BIT,
        .type_offset = offsetof(PyObject, ob_type),
        .type_name_offset = offsetof(PyTypeObject, tp_name),
        .type_flags_offset = offsetof(PyTypeObject, tp_flags),
        .type_flag = Py_TPFLAGS_TYPE_SUBCLASS,
        .type_of_types = &PyType_Type,
        .head_bytes = (uint32_t)debug_bytes,
        .heads = {{Py_TPFLAGS_HAVE_GC, sizeof(PyGC_Head)}, {HAS_PREHEADER, 2 * sizeof(PyObject *)}},
        .caches =
            {
                {&PyUnicode_Type, offsetof(PyASCIIObject, hash), sizeof(Py_hash_t)},
                /* Right before the bytes; its name is deprecated. */
                {&PyBytes_Type, offsetof(PyBytesObject, ob_sval) - sizeof(Py_hash_t),
                 sizeof(Py_hash_t)},
                {&PyFrozenSet_Type, offsetof(PySetObject, hash), sizeof(Py_hash_t)},
                {&PyCode_Type, offsetof(PyCodeObject, co_code_adaptive), 0},
                {&PyType_Type, offsetof(PyTypeObject, tp_version_tag), sizeof(unsigned)},
#if PY_VERSION_HEX >= 0x030e0000
                {&PyTuple_Type, offsetof(PyTupleObject, ob_hash),
                 sizeof(Py_hash_t)}, /* gh-131525 */
#endif
            },
    };
    return model;
}
