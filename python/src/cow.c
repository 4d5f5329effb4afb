/* SPDX-License-Identifier: MIT */
/*
 * What neve.cow_report() and neve.cow_reference() need of the C side: the heap is
 * published with the layout of CPython's objects, and a report is handed over as JSON.
 */
#include "neve_python.h"

#include <stdlib.h>
#include <string.h>

void nvpy_cow_publish(bool has_debug_hooks)
{
    /* The debug hooks put 16 bytes of their own in front of each block. Without room for one
     * more heap, reports lack the types of objects. */
    neve_cow_model model = nvpy_compat_object_model(has_debug_hooks ? NEVE_GRANULE : 0);
    (void)neve_cow_publish(nvpy.heap, &model);
}

/* Text that grows. */
typedef struct text {
    char *bytes;
    size_t length, capacity;
    bool has_failed;
} text;

static void append(void *ctx, const char *piece, size_t length)
{
    text *t = ctx;
    if (t->has_failed)
        return;
    if (t->length + length > t->capacity) {
        size_t capacity = 2 * (t->length + length);
        char *bytes = realloc(t->bytes, capacity);
        if (bytes == NULL) {
            t->has_failed = true;
            return;
        }
        t->bytes = bytes;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->length, piece, length);
    t->length += length;
}

static PyObject *exception_for(neve_status status)
{
    switch (status) {
    case NEVE_EINVAL:
        return PyExc_ProcessLookupError;
    case NEVE_EBUSY:
        return PyExc_PermissionError;
    case NEVE_ENOMEM:
        return PyExc_MemoryError;
    default:
        return PyExc_RuntimeError;
    }
}

PyObject *nvpy_cow_look(PyObject *self, PyObject *args)
{
    (void)self;
    int pid, against, has_pages;
    if (!PyArg_ParseTuple(args, "iip", &pid, &against, &has_pages))
        return NULL;
    neve_cow_report *report;
    char problem[256];
    neve_status status = neve_cow_look(pid, against, &report, problem);
    if (status != NEVE_OK) {
        PyErr_SetString(exception_for(status), problem);
        return NULL;
    }
    text json = {0};
    neve_cow_write_json(report, has_pages != 0, append, &json);
    neve_cow_report_free(report);
    PyObject *result = json.has_failed
                           ? PyErr_NoMemory()
                           : PyUnicode_FromStringAndSize(json.bytes, (Py_ssize_t)json.length);
    free(json.bytes);
    return result;
}

PyObject *nvpy_cow_reference(PyObject *self, PyObject *args)
{
    (void)self;
    int keeps;
    if (!PyArg_ParseTuple(args, "p", &keeps))
        return NULL;
    if (!keeps) {
        neve_cow_drop_reference();
    } else if (neve_cow_keep_reference() != NEVE_OK) {
        PyErr_SetString(PyExc_OSError,
                        "the system refuses a process that keeps a copy of the memory");
        return NULL;
    }
    return PyLong_FromLong(neve_cow_reference());
}
