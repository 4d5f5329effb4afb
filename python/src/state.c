/* SPDX-License-Identifier: MIT */
/*
 * The one state of Neve in the process, and the one place where statuses
 * become exceptions.
 */
#include "neve_python.h"

nvpy_state nvpy;

PyObject *nvpy_raise(neve_status status, const char *what)
{
    if (status == NEVE_ENOMEM)
        return PyErr_NoMemory();
    PyErr_Format(PyExc_RuntimeError, "neve: %s: %s", what, neve_status_message(status));
    return NULL;
}
