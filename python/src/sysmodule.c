/* SPDX-License-Identifier: MIT */
/*
 * The functions of the sys module that say how much memory is allocated: they
 * know CPython's allocator only, and are told of ours. (See methods.c.)
 */
#include "neve_python.h"

static PyObject *sys_getallocatedblocks(PyObject *self, PyObject *unused);
static PyObject *sys_debugmallocstats(PyObject *self, PyObject *unused);

enum { GETALLOCATEDBLOCKS, DEBUGMALLOCSTATS, REPLACEMENTS };
static nvpy_method replacements[REPLACEMENTS] = {
    [GETALLOCATEDBLOCKS] = {"getallocatedblocks", METH_NOARGS, .ours = sys_getallocatedblocks},
    [DEBUGMALLOCSTATS] = {"_debugmallocstats", METH_NOARGS, .ours = sys_debugmallocstats},
};

static PyObject *sys_getallocatedblocks(PyObject *self, PyObject *unused)
{
    PyObject *theirs = replacements[GETALLOCATEDBLOCKS].original(self, unused);
    if (theirs == NULL || !nvpy_is_ours())
        return theirs;
    neve_heap_stats stats;
    neve_heap_get_stats(nvpy.heap, &stats);
    Py_ssize_t blocks = PyLong_AsSsize_t(theirs);
    Py_DECREF(theirs);
    if (blocks < 0 && PyErr_Occurred())
        return NULL;
    for (int i = 0; i < NEVE_DOMAINS; i++)
        blocks += (Py_ssize_t)stats.small_blocks[i];
    return PyLong_FromSsize_t(blocks);
}

static PyObject *sys_debugmallocstats(PyObject *self, PyObject *unused)
{
    PyObject *result = replacements[DEBUGMALLOCSTATS].original(self, unused);
    if (result == NULL || !nvpy_is_ours())
        return result;
    neve_heap_stats stats;
    neve_heap_get_stats(nvpy.heap, &stats);
    /* To where the original prints. */
    fprintf(stderr,
            "\nNeve's heap (blocks up to %u bytes; the above is what it does not serve)\n\n"
            "objects: %zu blocks, %zu bytes\nbuffers: %zu blocks, %zu bytes\n"
            "arenas: %zu, %zu bytes\npools in use: %zu; empty, with memory: %zu\n"
            "cached: %zu bytes\ngiven back so far: %zu bytes\nside tables: %zu bytes\n",
            NEVE_SMALL_MAX, stats.small_blocks[NEVE_DOMAIN_OBJECT],
            stats.small_bytes[NEVE_DOMAIN_OBJECT], stats.small_blocks[NEVE_DOMAIN_RAW],
            stats.small_bytes[NEVE_DOMAIN_RAW], stats.arenas, stats.arena_bytes, stats.pools_used,
            stats.pools_cached, stats.cached_bytes, stats.returned_bytes, stats.side_table_bytes);
    return result;
}

bool nvpy_sysmodule_install(void)
{
    return nvpy_methods_replace("sys", replacements, REPLACEMENTS);
}

void nvpy_sysmodule_leave(void)
{
    nvpy_methods_restore(replacements, REPLACEMENTS);
}
