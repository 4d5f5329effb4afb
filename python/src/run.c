/* SPDX-License-Identifier: MIT */
/*
 * Runs a script, a string or a module in sys.modules['__main__'] exactly as
 * the interpreter's main function does: the traceback of an unhandled
 * exception, sys._getframe(), warnings' stack levels, the recursion limit and
 * the exit status are those of `python script.py`.
 *
 * Called by neve/_run.py only, at the bottom of `python -m neve`. What makes the
 * difference to exec() in Python:
 *   - the program is run by PyRun_*, which prints its unhandled exception
 *     itself, ends the process on SystemExit, and notes an unhandled
 *     KeyboardInterrupt, on which the interpreter's Py_RunMain() ends the
 *     process by SIGINT after finalization;
 *   - while the program runs, the frames of runpy and of neve/_run.py are
 *     hidden: the thread state says that no Python code is running.
 *
 * The hidden frames stay alive and are restored before control returns to
 * them. Their values are references that nobody but they report, so a
 * collector sees them as held from outside, as it must.
 */
#include "run.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Opens for reading, not inherited by child programs. */
static FILE *open_script(PyObject *path, PyObject *encoded)
{
    if (PySys_Audit("open", "Osi", path, "rb", 0) < 0)
        return NULL;
    FILE *file;
    int error;
    do {
        Py_BEGIN_ALLOW_THREADS
        errno = 0;
        file = fopen(PyBytes_AS_STRING(encoded), "rbe");
        error = errno;
        Py_END_ALLOW_THREADS
        if (file == NULL && error == EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (file == NULL && error == EINTR);

    struct stat status;
    if (file != NULL && fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode)) {
        fclose(file);
        file = NULL;
        error = EISDIR;
    }
    if (file == NULL) {
        errno = error;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    }
    return file;
}

PyObject *nvpy_run_file(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *path;
    if (!PyArg_ParseTuple(args, "U:run_file", &path))
        return NULL;
    const bool is_stdin = PyUnicode_CompareWithASCIIString(path, "-") == 0;
    PyObject *encoded = is_stdin ? PyBytes_FromString("<stdin>") : PyUnicode_EncodeFSDefault(path);
    if (encoded == NULL)
        return NULL;
    int audited = is_stdin ? PySys_Audit("cpython.run_stdin", NULL)
                           : PySys_Audit("cpython.run_file", "O", path);
    FILE *file = NULL;
    if (audited == 0)
        file = is_stdin ? stdin : open_script(path, encoded);
    if (file == NULL) {
        Py_DECREF(encoded);
        return NULL;
    }

    PyCompilerFlags flags = nvpy_compat_compiler_flags(0);
    nvpy_hidden_frames hidden = nvpy_compat_frames_hide();
    int failed = PyRun_AnyFileExFlags(file, PyBytes_AS_STRING(encoded), !is_stdin, &flags);
    nvpy_compat_frames_show(&hidden);
    Py_DECREF(encoded);
    return PyLong_FromLong(failed != 0 ? 1 : 0);
}

PyObject *nvpy_run_string(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *code;
    if (!PyArg_ParseTuple(args, "U:run_string", &code))
        return NULL;
    if (PySys_Audit("cpython.run_command", "O", code) < 0)
        return NULL;
    PyObject *encoded = PyUnicode_AsUTF8String(code);
    if (encoded == NULL) {
        /* Bytes of the command line that are no text: the interpreter's own words. */
        PySys_WriteStderr("Unable to decode the command from the command line:\n");
        nvpy_hidden_frames hidden = nvpy_compat_frames_hide();
        PyErr_Print();
        nvpy_compat_frames_show(&hidden);
        return PyLong_FromLong(1);
    }
    if (strlen(PyBytes_AS_STRING(encoded)) != (size_t)PyBytes_GET_SIZE(encoded)) {
        Py_DECREF(encoded);
        PyErr_SetString(PyExc_ValueError, "the code contains a null character");
        return NULL;
    }

    /* The string is UTF-8 whatever an encoding comment in it says. */
    PyCompilerFlags flags = nvpy_compat_compiler_flags(PyCF_IGNORE_COOKIE);
    nvpy_hidden_frames hidden = nvpy_compat_frames_hide();
    int failed = nvpy_compat_run_command(PyBytes_AS_STRING(encoded), &flags);
    nvpy_compat_frames_show(&hidden);
    Py_DECREF(encoded);
    return PyLong_FromLong(failed != 0 ? 1 : 0);
}

PyObject *nvpy_run_module(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *name;
    int alter_argv;
    if (!PyArg_ParseTuple(args, "Up:run_module", &name, &alter_argv))
        return NULL;
    if (PySys_Audit("cpython.run_module", "O", name) < 0)
        return NULL;
    PyObject *runpy = PyImport_ImportModule("runpy");
    if (runpy == NULL)
        return NULL;
    PyObject *run = PyObject_GetAttrString(runpy, "_run_module_as_main");
    Py_DECREF(runpy);
    if (run == NULL)
        return NULL;

    nvpy_hidden_frames hidden = nvpy_compat_frames_hide();
    PyObject *result =
        PyObject_CallFunctionObjArgs(run, name, alter_argv ? Py_True : Py_False, NULL);
    /* SystemExit goes on to the interpreter's own runner of `-m neve`, which
     * treats it as it would have for the module itself. */
    const bool exits = result == NULL && PyErr_ExceptionMatches(PyExc_SystemExit);
    if (result == NULL && !exits) {
        if (PyErr_Occurred() == PyExc_KeyboardInterrupt)
            nvpy_compat_note_unhandled_interrupt();
        PyErr_Print();
    }
    nvpy_compat_frames_show(&hidden);
    Py_DECREF(run);
    if (exits)
        return NULL;
    long status = result == NULL ? 1 : 0;
    Py_XDECREF(result);
    return PyLong_FromLong(status);
}
