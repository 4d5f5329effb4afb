/* SPDX-License-Identifier: MIT */
/*
 * Functions of the module _neve that run a program as the interpreter's own
 * main function would. See run.c. All are METH_VARARGS and need the GIL.
 */
#ifndef NVPY_RUN_H
#define NVPY_RUN_H

#include "compat/compat.h"

/* run_file(path) -> exit status. `path` must be absolute, or "-" for standard
 * input. OSError if it cannot be opened; nothing has run then. */
PyObject *nvpy_run_file(PyObject *module, PyObject *args);

/* run_string(code) -> exit status. What follows the option -c. */
PyObject *nvpy_run_string(PyObject *module, PyObject *args);

/* run_module(name, alter_argv) -> exit status. What follows the option -m, or
 * ("__main__", False) for the directory or archive at sys.path[0].
 * SystemExit is the only exception that leaves it. */
PyObject *nvpy_run_module(PyObject *module, PyObject *args);

#endif
