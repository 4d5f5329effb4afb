/* SPDX-License-Identifier: MIT */
/*
 * The functions of the os module that run another program in this process. The child
 * of a snapshot would be inherited by that program, with the files that are to be
 * closed: it is ended before. (See methods.c. Of the kind of os.execlp, all end up in
 * these two. C code that calls exec() calls neve_collector_end_snapshot().)
 *
 * If the functions are not as they are known, they stay as they are: then a child may
 * be inherited, which ends itself before long.
 */
#include "neve_python.h"

static PyObject *os_execv(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
static PyObject *os_execve(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names);

enum { EXECV, EXECVE, REPLACEMENTS };
static nvpy_method replacements[REPLACEMENTS] = {
    [EXECV] = {"execv", METH_FASTCALL, .ours = NVPY_FUNCTION(os_execv)},
    [EXECVE] = {"execve", METH_FASTCALL | METH_KEYWORDS, .ours = NVPY_FUNCTION(os_execve)},
};
static bool is_installed;

static void end_child(void)
{
    if (nvpy_is_ours())
        neve_collector_end_snapshot(nvpy.collector);
}

static PyObject *os_execv(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    typedef PyObject *(*function)(PyObject *, PyObject *const *, Py_ssize_t);
    end_child();
    return ((function)(void (*)(void))replacements[EXECV].original)(self, arguments, count);
}

static PyObject *os_execve(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names)
{
    typedef PyObject *(*function)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
    end_child();
    return ((function)(void (*)(void))replacements[EXECVE].original)(self, arguments, count, names);
}

void nvpy_exec_install(void)
{
    is_installed = nvpy_methods_replace("posix", replacements, REPLACEMENTS);
    if (!is_installed)
        PyErr_Clear();
}

void nvpy_exec_leave(void)
{
    if (is_installed)
        nvpy_methods_restore(replacements, REPLACEMENTS);
    is_installed = false;
}
