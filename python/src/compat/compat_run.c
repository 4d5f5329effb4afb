/* SPDX-License-Identifier: MIT */
/*
 * How the interpreter runs what follows its option -c.
 */
#include "compat.h"

#if PY_VERSION_HEX < 0x030d0000

int nvpy_compat_run_command(const char *source, PyCompilerFlags *flags)
{
    return PyRun_SimpleStringFlags(source, flags);
}

#else

/* Lets tracebacks show lines of the source. Early versions of 3.13 know it by
 * its name, later ones by its code object (gh-122163). */
static bool register_source(PyObject *code, const char *source, PyObject *name)
{
    PyObject *linecache = PyImport_ImportModule("linecache");
    bool is_by_code = linecache != NULL && PyObject_HasAttrString(linecache, "_make_key");
    PyObject *result = linecache == NULL
                           ? NULL
                           : PyObject_CallMethod(linecache, "_register_code", "OsO",
                                                 is_by_code ? code : name, source, name);
    Py_XDECREF(result);
    Py_XDECREF(linecache);
    return result != NULL;
}

/* The interpreter's own function for this is not exported: since 3.13
 * (gh-117174) it registers the source, which PyRun_SimpleStringFlags does not. */
int nvpy_compat_run_command(const char *source, PyCompilerFlags *flags)
{
    PyObject *main = PyImport_ImportModule("__main__");
    PyObject *name = PyUnicode_FromString("<string>");
    PyObject *code = main == NULL || name == NULL
                         ? NULL
                         : Py_CompileStringObject(source, name, Py_file_input, flags, -1);
    PyObject *result = NULL;
    if (code != NULL && register_source(code, source, name)) {
        PyObject *globals = PyModule_GetDict(main);
        result = PyEval_EvalCode(code, globals, globals);
    }
    Py_XDECREF(code);
    Py_XDECREF(name);
    Py_XDECREF(main);
    if (result == NULL) {
        if (PyErr_Occurred() == PyExc_KeyboardInterrupt)
            nvpy_compat_note_unhandled_interrupt();
        PyErr_Print();
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

#endif

/* The flag that says so is private; running a string that raises the exception
 * sets it on every version, and nothing else. */
void nvpy_compat_note_unhandled_interrupt(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *globals = PyDict_New();
    if (globals != NULL) {
        PyObject *result =
            PyRun_StringFlags("raise KeyboardInterrupt", Py_file_input, globals, globals, NULL);
        Py_XDECREF(result);
        Py_DECREF(globals);
    }
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}
