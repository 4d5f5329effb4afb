/* SPDX-License-Identifier: MIT */
/*
 * The extension module neve._neve: what the Python package builds on. Its
 * functions are documented for users in neve/__init__.py.
 */
#include "neve_python.h"

#include <malloc.h>
#include <string.h>

#include "run.h"

static const char *const mode_names[] = {
    [NEVE_MODE_GENERATIONAL] = "generational",
    [NEVE_MODE_INCREMENTAL] = "incremental",
    [NEVE_MODE_SNAPSHOT] = "snapshot",
};
enum { MODES = sizeof mode_names / sizeof *mode_names };

/* The mode of this name, or -1. */
static int mode_of(const char *name)
{
    for (int i = 0; i < MODES; i++)
        if (strcmp(name, mode_names[i]) == 0)
            return i;
    return -1;
}

static PyObject *install(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    unsigned pause_us, timer_ms;
    int stress;
    if (!PyArg_ParseTuple(args, "sIIp", &name, &pause_us, &timer_ms, &stress))
        return NULL;
    int mode = mode_of(name);
    if (mode < 0)
        return PyErr_Format(PyExc_ValueError, "neve has no mode '%s'", name);
    if (!nvpy_compat_is_main(PyInterpreterState_Get())) {
        PyErr_SetString(PyExc_RuntimeError, "neve serves the main interpreter only; "
                                            "sub-interpreters keep CPython's collector");
        return NULL;
    }
    if (nvpy.interp != NULL)
        Py_RETURN_NONE; /* the package compares the settings */
    if (nvpy.is_leaving) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is exiting");
        return NULL;
    }
    if (!nvpy_allocator_install())
        return NULL;
    if (!nvpy_takeover_install()) {
        nvpy_allocator_retire();
        return NULL;
    }
    nvpy_takeover_set_mode((neve_mode)mode);
    if (!nvpy_gcmodule_install() || !nvpy_sysmodule_install()) {
        nvpy_takeover_leave();
        nvpy_allocator_retire();
        return NULL;
    }
    if (mode == NEVE_MODE_SNAPSHOT)
        nvpy_exec_install();
    nvpy.pause_us = pause_us;
    (void)neve_collector_set_pause_us(nvpy.collector, pause_us); /* the package has checked it */
    if (stress) {
        nvpy.threshold = nvpy_generation(nvpy.interp, 0)->threshold;
        nvpy_generation(nvpy.interp, 0)->threshold = 1;
    }
    /* Without cycles there are no slices that a timer could ask for. */
    nvpy_timer_start(neve_mode_has_cycles((neve_mode)mode) ? timer_ms : 0);
    Py_RETURN_NONE;
}

static PyObject *uninstall(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (nvpy.interp == NULL)
        Py_RETURN_NONE;
    if (PyInterpreterState_Get() != nvpy.interp || nvpy_gc(nvpy.interp)->collecting) {
        PyErr_SetString(PyExc_RuntimeError,
                        "neve cannot be uninstalled from a finalizer, a collector's callback or "
                        "another interpreter");
        return NULL;
    }
    if (nvpy.threshold != 0 && nvpy_generation(nvpy.interp, 0)->threshold == 1)
        nvpy_generation(nvpy.interp, 0)->threshold = nvpy.threshold;
    nvpy.threshold = 0;
    nvpy_timer_stop();
    nvpy_takeover_leave();
    nvpy_allocator_retire();
    Py_RETURN_NONE;
}

static PyObject *is_installed(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    /* A sub-interpreter has a neve module of its own, and Neve is not what collects there. */
    return PyBool_FromLong(nvpy.interp != NULL && PyInterpreterState_Get() == nvpy.interp);
}

static PyObject *step(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned budget_us;
    if (!PyArg_ParseTuple(args, "I", &budget_us))
        return NULL;
    if (!nvpy_is_ours()) {
        PyErr_SetString(PyExc_RuntimeError, "neve is not installed in this interpreter");
        return NULL;
    }
    return PyBool_FromLong(nvpy_takeover_step(budget_us));
}

static PyObject *generation_stats(const neve_generation_stats *g)
{
    return Py_BuildValue("{s:n,s:K,s:K,s:K,s:K,s:K}", "objects", (Py_ssize_t)g->objects,
                         "collections", (unsigned long long)g->collections, "collected",
                         (unsigned long long)g->collected, "uncollectable",
                         (unsigned long long)g->uncollectable, "time_ns",
                         (unsigned long long)g->time_ns, "longest_pause_ns",
                         (unsigned long long)g->longest_pause_ns);
}

static PyObject *cycle_stats(const neve_cycle_stats *c)
{
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:n,s:n,s:n,s:K,s:O}", "cycles",
        (unsigned long long)c->cycles, "abandoned", (unsigned long long)c->abandoned, "slices",
        (unsigned long long)c->slices, "late_slices", (unsigned long long)c->late_slices, "time_ns",
        (unsigned long long)c->time_ns, "longest_slice_ns", (unsigned long long)c->longest_slice_ns,
        "collected", (unsigned long long)c->collected, "suspects", (Py_ssize_t)c->suspects,
        "false_suspects", (Py_ssize_t)c->false_suspects, "largest_group",
        (Py_ssize_t)c->largest_group, "largest_group_ns", (unsigned long long)c->largest_group_ns,
        "is_running", c->is_running ? Py_True : Py_False);
}

static PyObject *snapshot_stats(const neve_cycle_stats *c)
{
    const uint64_t *failures = c->snapshot_failures;
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "begun", (unsigned long long)c->snapshots,
        "taken", (unsigned long long)c->snapshots_taken, "refused",
        (unsigned long long)failures[NEVE_SNAPSHOT_REFUSED], "died",
        (unsigned long long)failures[NEVE_SNAPSHOT_DIED], "late",
        (unsigned long long)failures[NEVE_SNAPSHOT_LATE], "forked",
        (unsigned long long)failures[NEVE_SNAPSHOT_FORKED], "abandoned",
        (unsigned long long)failures[NEVE_SNAPSHOT_ABANDONED], "fork_ns",
        (unsigned long long)c->fork_ns, "longest_fork_ns", (unsigned long long)c->longest_fork_ns,
        "child_ns", (unsigned long long)c->child_ns);
}

static PyObject *collector_stats(void)
{
    neve_collector_stats stats = {0};
    if (nvpy.collector != NULL)
        neve_collector_get_stats(nvpy.collector, &stats);
    const neve_histogram *pauses = &nvpy.pauses;
    return Py_BuildValue(
        "{s:[NNN],s:N,s:N,s:N,s:n,s:n,s:n,s:K,s:K,s:K,s:K,s:K}", "generations",
        generation_stats(&stats.generations[0]), generation_stats(&stats.generations[1]),
        generation_stats(&stats.generations[2]), "cycle", cycle_stats(&stats.cycle), "snapshot",
        snapshot_stats(&stats.cycle), "timer", nvpy_timer_stats(), "frozen",
        (Py_ssize_t)stats.frozen, "long_lived_total", (Py_ssize_t)stats.long_lived_total,
        "long_lived_pending", (Py_ssize_t)stats.long_lived_pending, "failed",
        (unsigned long long)stats.failed, "pause_p50_ns",
        (unsigned long long)neve_histogram_quantile(pauses, 0.5), "pause_p99_ns",
        (unsigned long long)neve_histogram_quantile(pauses, 0.99), "pause_max_ns",
        (unsigned long long)pauses->max_ns, "pause_total_ns", (unsigned long long)pauses->sum_ns);
}

static PyObject *heap_stats(void)
{
    neve_heap_stats stats = {0};
    if (nvpy.heap != NULL)
        neve_heap_get_stats(nvpy.heap, &stats);
    size_t blocks = 0, bytes = 0;
    for (int i = 0; i < NEVE_DOMAINS; i++) {
        blocks += stats.small_blocks[i];
        bytes += stats.small_bytes[i];
    }
    size_t malloc_bytes = 0, malloc_cached_bytes = 0;
#ifdef __GLIBC__
    struct mallinfo2 system = mallinfo2();
    malloc_bytes = system.uordblks + system.hblkhd;
    malloc_cached_bytes = system.fordblks;
#endif
    return Py_BuildValue(
        "{s:O,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n}", "serves",
        nvpy_allocator_serves() ? Py_True : Py_False, "small_blocks", (Py_ssize_t)blocks,
        "small_bytes", (Py_ssize_t)bytes, "arenas", (Py_ssize_t)stats.arenas, "arena_bytes",
        (Py_ssize_t)stats.arena_bytes, "pools_used", (Py_ssize_t)stats.pools_used, "pools_cached",
        (Py_ssize_t)stats.pools_cached, "cached_bytes", (Py_ssize_t)stats.cached_bytes,
        "returned_bytes", (Py_ssize_t)stats.returned_bytes, "side_table_bytes",
        (Py_ssize_t)stats.side_table_bytes, "malloc_bytes", (Py_ssize_t)malloc_bytes,
        "malloc_cached_bytes", (Py_ssize_t)malloc_cached_bytes);
}

static PyObject *stats(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (!nvpy_is_ours()) {
        PyErr_SetString(PyExc_RuntimeError, "neve is not installed in this interpreter");
        return NULL;
    }
    return Py_BuildValue("{s:s,s:N,s:N}", "mode", mode_names[neve_collector_mode(nvpy.collector)],
                         "collector", collector_stats(), "heap", heap_stats());
}

static PyMethodDef methods[] = {
    {"install", install, METH_VARARGS, "install(mode, pause_us, timer_ms, stress)"},
    {"uninstall", uninstall, METH_NOARGS, "uninstall()"},
    {"is_installed", is_installed, METH_NOARGS, "is_installed() -> bool"},
    {"step", step, METH_VARARGS, "step(budget_us) -> bool"},
    {"stats", stats, METH_NOARGS, "stats() -> dict"},
    {"make_immortal", nvpy_immortal_make, METH_O, "make_immortal(classes) -> dict"},
    {"note_freeze", nvpy_immortal_note_freeze, METH_NOARGS, "note_freeze()"},
    {"cow_look", nvpy_cow_look, METH_VARARGS, "cow_look(pid, against, has_pages) -> str"},
    {"cow_reference", nvpy_cow_reference, METH_VARARGS, "cow_reference(keeps) -> int"},
    {"prefork_watch", nvpy_prefork_watch, METH_O, "prefork_watch(function)"},
    {"prefork_settle", nvpy_prefork_settle, METH_VARARGS, "prefork_settle(slices, timer_ms)"},
    {"run_file", nvpy_run_file, METH_VARARGS, "run_file(path) -> int"},
    {"run_string", nvpy_run_string, METH_VARARGS, "run_string(code) -> int"},
    {"run_module", nvpy_run_module, METH_VARARGS, "run_module(name, alter_argv) -> int"},
    {NULL, NULL, 0, NULL},
};

static int exec_module(PyObject *module)
{
    const char *refusal = nvpy_compat_refusal(PyInterpreterState_Get());
    if (refusal != NULL) {
        PyErr_SetString(PyExc_ImportError, refusal);
        return -1;
    }
    return PyModule_AddStringConstant(module, "version", neve_version());
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)exec_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_neve",
    "The C part of the package neve.",
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__neve(void);
PyMODINIT_FUNC PyInit__neve(void)
{
    return PyModuleDef_Init(&definition);
}
