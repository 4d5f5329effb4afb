/* SPDX-License-Identifier: MIT */
/*
 * A program that embeds Python, for test_c_interface.py: its arguments are
 * program texts, each run in turn in one interpreter. Exit status 0: all ran and
 * the interpreter ended in order.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

int main(int argc, char **argv)
{
    Py_Initialize();
    int failed = 0;
    for (int i = 1; i < argc && !failed; i++)
        failed = PyRun_SimpleString(argv[i]) != 0;
    if (Py_FinalizeEx() != 0)
        return 3;
    return failed;
}
