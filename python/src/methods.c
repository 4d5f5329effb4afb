/* SPDX-License-Identifier: MIT */
/*
 * Replacing functions of built-in modules.
 *
 * They are replaced in the module's method definitions, not in its namespace,
 * so that programs that imported them earlier get ours as well. The
 * definitions are shared by all interpreters of the process: ours ask
 * nvpy_is_ours() and call the original for any other.
 */
#include "neve_python.h"

bool nvpy_is_ours(void)
{
    return nvpy.interp != NULL && PyInterpreterState_Get() == nvpy.interp;
}

static bool has_known_flags(const nvpy_method *m)
{
    return m->definition->ml_flags == m->flags ||
           (m->definition->ml_flags == METH_FASTCALL && m->ours_fast != NULL);
}

static PyCFunction ours_for(const nvpy_method *m)
{
    return m->definition->ml_flags == m->flags ? m->ours : m->ours_fast;
}

bool nvpy_methods_replace(const char *module_name, nvpy_method *methods, size_t n)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        nvpy_method *m = &methods[i];
        PyObject *function = PyObject_GetAttrString(module, m->name);
        bool is_function = function != NULL && PyCFunction_CheckExact(function);
        m->definition = is_function ? ((PyCFunctionObject *)function)->m_ml : NULL;
        if (!is_function || !has_known_flags(m)) {
            if (function != NULL)
                PyErr_Format(PyExc_RuntimeError, "%s.%s is not the function that neve knows",
                             module_name, m->name);
            Py_XDECREF(function);
            Py_DECREF(module);
            return false;
        }
        Py_DECREF(function);
    }
    Py_DECREF(module);
    for (size_t i = 0; i < n; i++) {
        nvpy_method *m = &methods[i];
        m->original = m->definition->ml_meth;
        m->definition->ml_meth = ours_for(m);
    }
    return true;
}

void nvpy_methods_restore(nvpy_method *methods, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nvpy_method *m = &methods[i];
        if (m->definition != NULL && m->definition->ml_meth == ours_for(m))
            m->definition->ml_meth = m->original;
    }
}
