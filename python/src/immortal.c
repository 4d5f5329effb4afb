/* SPDX-License-Identifier: MIT */
/*
 * Makes the frozen heap immortal: no count in it is written any more, whoever
 * reads it (invariant 7). From CPython 3.12 on; it cannot be undone.
 *
 * What must be able to die stays mortal:
 *   - what has something to do when it dies (object_kinds.h), and whatever
 *     refers to it, directly or not: it dies when they do;
 *   - what only the former refer to: their death gives it back. (What only a holder
 *     refers to is made immortal: some holders lead to everything, and a request
 *     that reads it would dirty its pages.)
 * Types, modules, and the dicts of both end the chain: they live as long as the
 * process, and if they did not, everything would refer to some file.
 *
 * What dies only because the interpreter exits (immortal.c's objects do not) is
 * finalized by nvpy_immortal_finalize(), as the interpreter's last collections
 * would: each once, while everything it can reach is still whole.
 */
#include "object_graph.h"

#include <string.h>

/* What sys keeps of the standard streams: flushed by the interpreter at its end,
 * and never closed by it. */
static const char *const streams[] = {"stdin",     "stdout",     "stderr",
                                      "__stdin__", "__stdout__", "__stderr__"};
enum { STREAMS = sizeof streams / sizeof *streams };

/* Their numbers in a graph, or NVPY_NO_NODE. */
static void find_streams(const nvpy_graph *graph, uint32_t nodes[STREAMS])
{
    for (int i = 0; i < STREAMS; i++) {
        PyObject *stream = PySys_GetObject(streams[i]);
        nodes[i] = stream == NULL ? NVPY_NO_NODE : nvpy_graph_find(graph, stream);
    }
}

static int add_root(void *object, void *graph)
{
    (void)nvpy_graph_add(graph, object);
    return ((nvpy_graph *)graph)->failed;
}

/* ---- deciding ---- */

typedef struct decision {
    nvpy_graph graph;
    nvpy_array kinds;    /* uint8_t for each node: why it stays mortal, or NVPY_PLAIN */
    nvpy_array barriers; /* bool */
    nvpy_array queue;    /* uint32_t: each node at most once at a time */
    size_t made;         /* objects that became immortal */
} decision;

static inline uint8_t *kinds_of(decision *d)
{
    return d->kinds.items;
}

static void decision_destroy(decision *d)
{
    nvpy_graph_destroy(&d->graph);
    nvpy_array_destroy(&d->kinds);
    nvpy_array_destroy(&d->barriers);
    nvpy_array_destroy(&d->queue);
}

static void set_barrier(decision *d, PyObject *object)
{
    uint32_t node = object == NULL ? NVPY_NO_NODE : nvpy_graph_find(&d->graph, object);
    if (node != NVPY_NO_NODE)
        ((bool *)d->barriers.items)[node] = true;
}

static void find_kinds(decision *d)
{
    for (size_t node = 0; node < nvpy_graph_count(&d->graph); node++) {
        PyObject *object = nvpy_graph_object(&d->graph, node);
        nvpy_kind kind = nvpy_kind_of(object);
        if (kind == NVPY_BARRIER) {
            set_barrier(d, object);
            if (PyType_Check(object))
                set_barrier(d, ((PyTypeObject *)object)->tp_dict);
            else
                set_barrier(d, PyModule_GetDict(object));
            kind = NVPY_PLAIN;
        } else if (PyFunction_Check(object)) {
            set_barrier(d, PyFunction_GET_GLOBALS(object));
        }
        kinds_of(d)[node] = (uint8_t)kind;
    }
}

/* Who refers to whom, the other way round: the referrers of a node are
 * by[starts[node]] to by[starts[node + 1] - 1]. */
static bool invert(const nvpy_graph *graph, nvpy_array *starts, nvpy_array *by)
{
    size_t count = nvpy_graph_count(graph);
    const uint32_t *edges = graph->edges.items;
    if (!nvpy_array_create(starts, count + 1, sizeof(uint32_t)))
        return false;
    if (!nvpy_array_create(by, graph->edges.count, sizeof(uint32_t)))
        return false;
    uint32_t *start = starts->items, *referrer = by->items;
    for (size_t edge = 0; edge < graph->edges.count; edge++)
        start[edges[edge]]++;
    uint32_t sum = 0;
    for (size_t node = 0; node <= count; node++) {
        sum += node < count ? start[node] : 0;
        start[node] = sum; /* the end of its part, for now */
    }
    for (size_t node = count; node-- > 0;) {
        size_t n;
        const uint32_t *of_node = nvpy_graph_edges(graph, node, &n);
        for (size_t i = 0; i < n; i++)
            referrer[--start[of_node[i]]] = (uint32_t)node;
    }
    return true;
}

/* Whoever refers to what has something to do has to be able to let go of it. */
static void spread_to_holders(decision *d, const uint32_t *starts, const uint32_t *by)
{
    uint8_t *kinds = kinds_of(d);
    const bool *barriers = d->barriers.items;
    uint32_t *queue = d->queue.items;
    size_t first = 0, last = 0;
    nvpy_array passed; /* nodes that have been in the queue */
    size_t count = nvpy_graph_count(&d->graph);
    if (!nvpy_array_create(&passed, count, 1)) {
        d->graph.failed = true;
        return;
    }
    uint8_t *is_passed = passed.items;
    /* The streams of the process outlive everybody who holds them. */
    uint32_t ends[STREAMS];
    find_streams(&d->graph, ends);
    for (int i = 0; i < STREAMS; i++)
        if (ends[i] != NVPY_NO_NODE)
            is_passed[ends[i]] = 1;
    for (size_t node = 0; node < count; node++)
        if (!is_passed[node] && nvpy_kind_spreads(kinds[node])) {
            is_passed[node] = 1;
            queue[last++] = (uint32_t)node;
        }
    while (first < last) {
        uint32_t node = queue[first++];
        for (uint32_t i = starts[node]; i < starts[node + 1]; i++) {
            uint32_t holder = by[i];
            if (is_passed[holder] || barriers[holder])
                continue;
            is_passed[holder] = 1;
            if (kinds[holder] == NVPY_PLAIN)
                kinds[holder] = NVPY_HOLDER;
            queue[last++] = holder;
        }
    }
    nvpy_array_destroy(&passed);
}

/* What nobody but objects with something to do refers to would be lost when they die. */
static void spread_to_held(decision *d, const uint32_t *starts)
{
    uint8_t *kinds = kinds_of(d);
    const bool *barriers = d->barriers.items;
    uint32_t *queue = d->queue.items;
    size_t last = 0, count = nvpy_graph_count(&d->graph);
    nvpy_array mortal; /* how many of its referrers are */
    if (!nvpy_array_create(&mortal, count, sizeof(uint32_t))) {
        d->graph.failed = true;
        return;
    }
    uint32_t *mortal_referrers = mortal.items;
    for (size_t node = 0; node < count; node++)
        if (kinds[node] != NVPY_PLAIN && kinds[node] != NVPY_HOLDER)
            queue[last++] = (uint32_t)node;
    for (size_t first = 0; first < last; first++) {
        size_t n;
        const uint32_t *edges = nvpy_graph_edges(&d->graph, queue[first], &n);
        for (size_t i = 0; i < n; i++) {
            uint32_t held = edges[i];
            uint32_t referrers = starts[held + 1] - starts[held];
            PyObject *object = nvpy_graph_object(&d->graph, held);
            if (++mortal_referrers[held] == referrers && kinds[held] == NVPY_PLAIN &&
                !barriers[held] && Py_REFCNT(object) <= (Py_ssize_t)referrers) {
                kinds[held] = NVPY_HELD;
                queue[last++] = held;
            }
        }
    }
    nvpy_array_destroy(&mortal);
}

static void decide(decision *d)
{
    size_t count = nvpy_graph_count(&d->graph);
    nvpy_array starts = {0}, by = {0};
    if (nvpy_array_create(&d->kinds, count, 1) &&
        nvpy_array_create(&d->barriers, count, sizeof(bool)) &&
        nvpy_array_create(&d->queue, count, sizeof(uint32_t)) && invert(&d->graph, &starts, &by)) {
        find_kinds(d);
        spread_to_holders(d, starts.items, by.items);
        spread_to_held(d, starts.items);
    } else {
        d->graph.failed = true;
    }
    nvpy_array_destroy(&starts);
    nvpy_array_destroy(&by);
}

/* ---- carrying it out ---- */

static void make_immortal(decision *d, PyObject *object)
{
    nvpy_compat_fill_caches(object);
    if (nvpy_compat_is_immortal(object))
        return;
    nvpy_compat_make_immortal(object);
    d->made++;
}

/* What an immortal object refers to and that is no node: strings, numbers, ... */
static int make_leaf_immortal(void *leaf, void *arg)
{
    decision *d = arg;
    PyObject *object = leaf;
    PyTypeObject *type = Py_TYPE(object);
    bool is_text = type == &PyUnicode_Type || type == &PyBytes_Type;
    if (nvpy_compat_is_immortal(object)) {
        if (is_text)
            nvpy_compat_fill_caches(object);
        return 0;
    }
    if (!is_text && type != &PyLong_Type && type != &PyFloat_Type &&
        (PyObject_IS_GC(object) || nvpy_kind_of(object) != NVPY_PLAIN))
        return 0;
    make_immortal(d, object);
    return 0;
}

static void carry_out(decision *d)
{
    for (size_t node = 0; node < nvpy_graph_count(&d->graph); node++)
        if (kinds_of(d)[node] == NVPY_PLAIN) {
            PyObject *object = nvpy_graph_object(&d->graph, node);
            make_immortal(d, object);
            nvpy_visit_references(object, make_leaf_immortal, d);
        }
}

static PyObject *report(decision *d)
{
    size_t counts[NVPY_KINDS] = {0};
    for (size_t node = 0; node < nvpy_graph_count(&d->graph); node++)
        if (!nvpy_compat_is_immortal(nvpy_graph_object(&d->graph, node)))
            counts[kinds_of(d)[node]]++;
    PyObject *mortal = PyDict_New();
    for (int kind = 0; kind < NVPY_KINDS && mortal != NULL; kind++) {
        if (nvpy_kind_names[kind] == NULL)
            continue;
        PyObject *number = PyLong_FromSize_t(counts[kind]);
        if (number == NULL || PyDict_SetItemString(mortal, nvpy_kind_names[kind], number) < 0)
            Py_CLEAR(mortal);
        Py_XDECREF(number);
    }
    return mortal == NULL ? NULL
                          : Py_BuildValue("{s:n,s:N}", "immortal", (Py_ssize_t)nvpy.immortals,
                                          "mortal", mortal);
}

static void add_all_roots(nvpy_graph *graph)
{
    (void)neve_collector_walk(nvpy.collector, 3, add_root, graph);
    /* Untracked objects, too, such as the dicts of static types. */
    nvpy_compat_visit_roots(nvpy.interp, add_root, graph);
}

PyObject *nvpy_immortal_make(PyObject *self, PyObject *finalized_at_exit)
{
    (void)self;
    if (!nvpy_is_ours() || nvpy_gc(nvpy.interp)->collecting) {
        PyErr_SetString(PyExc_RuntimeError, "objects cannot be made immortal from a finalizer or "
                                            "a collector's callback");
        return NULL;
    }
    nvpy_kinds_finalize_at_exit(finalized_at_exit);
    if (!nvpy_kinds_begin())
        return NULL;
    decision d = {0};
    if (!nvpy_compat_prepare_immortals()) /* CPython 3.11 */
        return report(&d);
    nvpy_graph_init(&d.graph, true);
    if (!d.graph.failed)
        add_all_roots(&d.graph);
    nvpy_graph_expand(&d.graph);
    if (!d.graph.failed)
        decide(&d);
    PyObject *result = NULL;
    if (d.graph.failed) {
        PyErr_NoMemory();
    } else {
        carry_out(&d);
        nvpy.immortals += d.made;
        result = report(&d);
    }
    decision_destroy(&d);
    return result;
}

PyObject *nvpy_immortal_note_freeze(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    nvpy.thaws_at_exit = true;
    Py_RETURN_NONE;
}

/* ---- the end ---- */

static int add_immortal_root(void *object, void *graph)
{
    return nvpy_compat_is_immortal(object) ? add_root(object, graph) : 0;
}

/* A weak reference whose owner ends with its referent calls nobody: so it is when
 * the interpreter's last collections find both. */
static void silence_weakrefs(PyObject *object, const nvpy_graph *graph)
{
    PyWeakReference **list = nvpy_compat_weakrefs(object);
    PyWeakReference *next;
    for (PyWeakReference *at = list == NULL ? NULL : *list; at != NULL; at = next) {
        next = at->wr_next;
        if (at->wr_callback != NULL && nvpy_graph_find(graph, (PyObject *)at) != NVPY_NO_NODE)
            nvpy_compat_weakref_clear(at);
    }
}

static bool is_to_be_finalized(PyObject *object)
{
    return PyObject_IS_GC(object) && Py_TYPE(object)->tp_finalize != NULL &&
           !_PyGC_FINALIZED(object) && !nvpy_compat_is_running(object);
}

static void add_if_any(nvpy_graph *graph, PyObject *object)
{
    if (object != NULL)
        (void)nvpy_graph_add(graph, object);
}

/* What immortal objects with a finalizer have come to refer to since they became that: nothing
 * that they reached then had one, but behind what ends the chain, or a stream. */
static void find_later(nvpy_graph *later, const nvpy_graph *graph, size_t first)
{
    nvpy_graph_init(later, false);
    for (size_t i = 0; i < nvpy_graph_count(graph); i++) {
        PyObject *object = nvpy_graph_object(graph, i);
        if (i < first || nvpy_kind_of_type(Py_TYPE(object)) == NVPY_BARRIER)
            add_if_any(later, object);
        if (PyType_Check(object))
            add_if_any(later, ((PyTypeObject *)object)->tp_dict);
        else if (PyModule_Check(object))
            add_if_any(later, PyModule_GetDict(object));
        else if (PyFunction_Check(object))
            add_if_any(later, PyFunction_GET_GLOBALS(object));
    }
    nvpy_graph_close(later);
    for (size_t i = first; i < nvpy_graph_count(graph); i++) {
        PyObject *object = nvpy_graph_object(graph, i);
        if (nvpy_compat_is_immortal(object) && is_to_be_finalized(object))
            add_if_any(later, object);
    }
    nvpy_graph_expand(later);
}

/* In this order: holders before what they hold. */
typedef enum turn { MORTAL_FIRST, IMMORTAL, MORTAL_LATER } turn;

static bool append_unfinished(PyObject *found, turn which, const nvpy_graph *graph, size_t first,
                              const nvpy_graph *later)
{
    for (size_t i = first; i < nvpy_graph_count(graph); i++) {
        PyObject *object = nvpy_graph_object(graph, i);
        if (!is_to_be_finalized(object))
            continue;
        turn its = nvpy_compat_is_immortal(object)                  ? IMMORTAL
                   : nvpy_graph_find(later, object) != NVPY_NO_NODE ? MORTAL_LATER
                                                                    : MORTAL_FIRST;
        if (its == which && PyList_Append(found, object) < 0)
            return false;
    }
    return true;
}

/* All that is immortal or that immortal objects refer to, and that has a finalizer; each retained.
 * Of the mortal, holders come before what they hold. Then come the immortal, in no order, since
 * they are all roots here: mortal ones may have referred to them from the beginning. The last are
 * those that they refer to. */
static PyObject *find_unfinished(void)
{
    PyObject *found = NULL;
    nvpy_graph graph, later;
    nvpy_graph_init(&graph, false);
    for (int i = 0; i < STREAMS; i++) {
        PyObject *stream = PySys_GetObject(streams[i]);
        if (stream != NULL)
            (void)nvpy_graph_add(&graph, stream);
    }
    size_t first = nvpy_graph_count(&graph);
    nvpy_graph_close(&graph);
    (void)neve_collector_walk(nvpy.collector, 3, add_immortal_root, &graph);
    (void)neve_collector_walk(nvpy.collector, 2, add_immortal_root, &graph);
    /* The interpreter's own collector, in a time without Neve, untracks immortal objects. */
    nvpy_compat_visit_roots(nvpy.interp, add_immortal_root, &graph);
    nvpy_graph_expand(&graph);
    find_later(&later, &graph, first);
    if (!graph.failed && !later.failed)
        found = PyList_New(0);
    for (turn which = MORTAL_FIRST; found != NULL && which <= MORTAL_LATER; which++)
        if (!append_unfinished(found, which, &graph, first, &later))
            Py_CLEAR(found);
    for (size_t i = first; found != NULL && i < nvpy_graph_count(&graph); i++) {
        PyObject *object = nvpy_graph_object(&graph, i);
        if (!nvpy_compat_is_immortal(object) && PyObject_IS_GC(object) && !PyType_Check(object))
            silence_weakrefs(object, &graph);
    }
    nvpy_graph_destroy(&graph);
    nvpy_graph_destroy(&later);
    return found;
}

void nvpy_immortal_finalize(void)
{
    if (nvpy.immortals == 0 || nvpy.interp == NULL)
        return;
    nvpy.immortals = 0; /* once in a process */
    PyObject *unfinished = nvpy_kinds_begin() ? find_unfinished() : NULL;
    if (unfinished == NULL) {
        PyErr_Clear(); /* no memory: what is left is finalized as modules go, or not at all */
        return;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(unfinished); i++) {
        PyObject *object = PyList_GET_ITEM(unfinished, i);
        if (_PyGC_FINALIZED(object))
            continue; /* one before it has seen to that */
        _PyGC_SET_FINALIZED(object);
        Py_TYPE(object)->tp_finalize(object);
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(object);
    }
    Py_DECREF(unfinished);
}
