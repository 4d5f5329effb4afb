/* SPDX-License-Identifier: MIT */
/*
 * CPython's objects as a host of the collector (neve/host.h).
 *
 * Every function runs inside the "stop" phase of one of the interpreter's own
 * collections (takeover.c), when the generation lists are whole again and
 * `collecting` keeps others from starting.
 */
#include "neve_python.h"

static void host_read_counts(void *ctx, void *const *objects, size_t n, uint32_t *counts)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        Py_ssize_t count = Py_REFCNT((PyObject *)objects[i]);
        counts[i] =
            count < 0 || (uint64_t)count >= NEVE_COUNT_HELD / 2 ? NEVE_COUNT_HELD : (uint32_t)count;
    }
}

/* The array that holds all that an object refers to, if there is one. A set's has
 * the hashes in between, and CPython's mark of a deleted entry, which is nobody's
 * candidate. */
static bool array_of(PyObject *object, neve_edges *edges)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyList_Type) {
        *edges = (neve_edges){(void *const *)((PyListObject *)object)->ob_item,
                              (size_t)Py_SIZE(object), 1, NULL, false};
        return true;
    }
    if (type == &PyTuple_Type) {
        *edges = (neve_edges){(void *const *)((PyTupleObject *)object)->ob_item,
                              (size_t)Py_SIZE(object), 1, NULL, false};
        return true;
    }
    if (type == &PyDict_Type) {
        neve_span span;
        if (!nvpy_compat_dict_values(object, &span, &edges->stride))
            return false;
        edges->items = span.items;
        edges->count = span.count;
        edges->also = NULL;
        return true;
    }
    if (type == &PySet_Type || type == &PyFrozenSet_Type) {
        const PySetObject *set = (const PySetObject *)object;
        *edges = (neve_edges){(void *const *)&set->table->key, (size_t)set->mask + 1,
                              sizeof(setentry) / sizeof(void *), NULL, false};
        return true;
    }
    return false;
}

/* Arrays are traversed here, in pieces; they may have shrunk between two of them. Each item may
 * lie in another chunk, whose tables have no memory yet: a page fault, some microseconds. */
#define PIECE 128

/* A dict with keys of other types than str. */
static void traverse_dict(PyObject *dict, neve_visit_fn visit, void *arg, size_t *cursor)
{
    Py_ssize_t at = (Py_ssize_t)*cursor;
    *cursor = 0;
    PyObject *key, *value;
    for (unsigned n = 0; n < PIECE; n++) {
        if (!PyDict_Next(dict, &at, &key, &value))
            return;
        (void)visit(key, arg);
        (void)visit(value, arg);
    }
    *cursor = (size_t)at;
}

static void host_traverse(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)ctx;
    neve_edges edges;
    if (!array_of(object, &edges)) {
        if (Py_TYPE((PyObject *)object) == &PyDict_Type)
            traverse_dict(object, visit, arg, cursor);
        else
            nvpy_compat_traverse(object, visit, arg);
        return;
    }
    size_t at = *cursor < edges.count ? *cursor : edges.count;
    size_t end = edges.count - at > PIECE ? at + PIECE : edges.count;
    if (edges.stride == 1) {
        neve_visit_items(edges.items + at, end - at, visit, arg);
    } else {
        for (size_t i = at; i < end; i++)
            if (edges.items[i * edges.stride] != NULL)
                (void)visit(edges.items[i * edges.stride], arg);
    }
    *cursor = end < edges.count ? end : 0;
}

/* Whether none of a tuple's items can be anybody's candidate. */
static bool holds_leaves_only(const PyTupleObject *tuple)
{
    for (Py_ssize_t i = 0; i < Py_SIZE(tuple); i++)
        if (tuple->ob_item[i] != NULL && PyType_IS_GC(Py_TYPE(tuple->ob_item[i])))
            return false;
    return true;
}

/* What host_traverse would visit, where that is one array and one more at most. Tuples of
 * leaves are many, until they are untracked, and their items' types, which were in use
 * when the tuple was made, take less to read than the items to be looked up. */
static void host_edges(void *ctx, void *const *objects, size_t n, neve_edges *edges)
{
    (void)ctx;
    nvpy_layouts layouts = {.types = {NULL}};
    /* How many values a dict has is told by its keys, which lie elsewhere. */
    for (size_t i = 0; i < n; i++)
        if (Py_TYPE((PyObject *)objects[i]) == &PyDict_Type)
            __builtin_prefetch(((const PyDictObject *)objects[i])->ma_keys);
    for (size_t i = 0; i < n; i++)
        if (!array_of(objects[i], &edges[i]) &&
            !nvpy_compat_instance_edges(objects[i], &layouts, &edges[i]))
            edges[i].stride = 0;
        else if (PyTuple_CheckExact((PyObject *)objects[i]) && holds_leaves_only(objects[i]))
            edges[i].count = 0;
}

static void host_retain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        Py_INCREF((PyObject *)objects[i]);
}

static void host_release(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        Py_DECREF((PyObject *)objects[i]);
}

static void host_clear(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    for (size_t i = 0; i < n; i++) {
        PyObject *object = objects[i];
        if ((gc->debug & NVPY_DEBUG_SAVEALL) != 0) {
            if (PyList_Append(gc->garbage, object) < 0)
                PyErr_WriteUnraisable(NULL);
            continue;
        }
        inquiry clear = Py_TYPE(object)->tp_clear;
        /* What only the collector holds any more goes when it is released. On
         * stock it is gone by now, and its tp_clear is not called either. */
        if (clear == NULL || Py_REFCNT(object) == 1)
            continue;
        (void)clear(object);
        if (PyErr_Occurred())
            nvpy_compat_unraisable_in_clear(object);
    }
}

static const char *host_type_name(void *ctx, void *object)
{
    (void)ctx;
    return Py_TYPE((PyObject *)object)->tp_name;
}

static bool host_is_tracked(void *ctx, void *object)
{
    (void)ctx;
    return nvpy_is_self_linked(nvpy_head(object));
}

static void host_visit_roots(void *ctx, neve_visit_fn visit, void *arg)
{
    (void)ctx;
    nvpy_compat_visit_roots(nvpy.interp, visit, arg);
    if (nvpy.callbacks != NULL)
        visit(nvpy.callbacks, arg);
}

static bool gather_list(PyGC_Head *list, neve_gather *into)
{
    for (PyGC_Head *at = _PyGCHead_NEXT(list); at != list; at = _PyGCHead_NEXT(at))
        if (!neve_gather_add(into, nvpy_object(at)))
            return false;
    return true;
}

static void host_begin(void *ctx, int generation, bool is_slice)
{
    (void)ctx;
    nvpy.generation = generation;
    nvpy.has_spliced = nvpy.is_slice = is_slice;
    nvpy.is_partial = false;
}

/* In the order in which CPython's own collector would look at them. */
static bool gather_lists(int generation, neve_gather *into)
{
    PyInterpreterState *interp = nvpy.interp;
    if (generation == 0)
        return gather_list(nvpy_list(interp, 0), into);
    if (nvpy.generation == 1) {
        if (!gather_list(nvpy_list(interp, 2), into) || !gather_list(nvpy_list(interp, 1), into))
            return false;
        neve_gather_young(into);
        return gather_list(nvpy_list(interp, 0), into);
    }
    return gather_list(nvpy_list(interp, 2), into) && gather_list(nvpy_list(interp, 0), into) &&
           gather_list(nvpy_list(interp, 1), into);
}

/* Where some are left in the lists, the others leave them one by one. */
static void host_gather(void *ctx, int generation, neve_gather *into)
{
    (void)ctx;
    if (!gather_lists(generation, into))
        nvpy.is_partial = nvpy.has_spliced = true;
}

/* Tuples first, then dicts: a dict of tuples can go when the tuples have. */
static size_t host_untrack(void *ctx, void **objects, size_t n, bool full)
{
    (void)ctx;
    size_t kept = 0;
    if (!full) { /* each is asked about right after its own turn: nothing else untracks it */
        for (size_t i = 0; i < n; i++) {
            PyObject *object = objects[i];
            if (PyTuple_CheckExact(object)) {
                nvpy_compat_untrack_tuple(object);
                if (!_PyObject_GC_IS_TRACKED(object)) {
                    neve_collector_forget(nvpy.collector, object);
                    continue;
                }
            }
            objects[kept++] = object;
        }
        return kept;
    }
    for (size_t i = 0; i < n; i++)
        if (PyTuple_CheckExact((PyObject *)objects[i]))
            nvpy_compat_untrack_tuple(objects[i]);
    for (size_t i = 0; i < n; i++)
        if (PyDict_CheckExact((PyObject *)objects[i]))
            nvpy_compat_untrack_dict(objects[i]);
    for (size_t i = 0; i < n; i++) {
        if (_PyObject_GC_IS_TRACKED((PyObject *)objects[i]))
            objects[kept++] = objects[i];
        else /* or else it would keep those tracked that refer to it */
            neve_collector_forget(nvpy.collector, objects[i]);
    }
    return kept;
}

/* Whether a tuple or dict refers to an old object, and so must stay tracked. */
static bool refers_to_known(PyObject *object, const neve_marker *marker)
{
    if (PyTuple_CheckExact(object)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
            if (neve_mark_is_known(marker, PyTuple_GET_ITEM(object, i)))
                return true;
        return false;
    }
    Py_ssize_t at = 0;
    PyObject *value;
    while (PyDict_Next(object, &at, NULL, &value))
        if (neve_mark_is_known(marker, value))
            return true;
    return false;
}

/* A dict with only strings as keys: its values, without asking CPython. False:
 * it is of another kind. */
static bool mark_string_dict(PyObject *dict, neve_marker *marker)
{
    neve_span span;
    size_t stride;
    if (!nvpy_compat_dict_values(dict, &span, &stride))
        return false;
    neve_mark_strided(marker, span.items, span.count, stride);
    return true;
}

static void mark_other(PyObject *object, neve_marker *marker)
{
    PyTypeObject *type = Py_TYPE(object);
    size_t fresh = marker->fresh;
    if (type == &PyTuple_Type)
        neve_mark_items(marker, (void *const *)((PyTupleObject *)object)->ob_item,
                        (size_t)Py_SIZE(object));
    else if (type != &PyDict_Type || !mark_string_dict(object, marker))
        (void)type->tp_traverse(object, (visitproc)(void (*)(void))neve_mark_visit, marker);
    if ((type == &PyTuple_Type || type == &PyDict_Type) && marker->fresh == fresh &&
        _PyObject_GC_IS_TRACKED(object) && !refers_to_known(object, marker))
        neve_mark_untrackable(marker, object);
}

/* So many objects in advance: more at once than the processor can wait for would be dropped. */
#define AHEAD 16u

/* In three rounds over the batch: what is found at the end of a list's or
 * dict's pointer costs as many cycles as dozens of objects that are in the
 * cache already, so it is asked for in advance. */
static void host_mark(void *ctx, void *const *objects, size_t n, neve_marker *marker)
{
    (void)ctx;
    const size_t piece = marker->piece;
    neve_span lists[NEVE_MARK_BATCH];
    PyObject *others[NEVE_MARK_BATCH];
    size_t list_count = 0, other_count = 0;
    nvpy_layouts layouts = {.types = {NULL}};
    neve_edges edges;
    for (size_t i = 0; i < n && i < AHEAD; i++)
        __builtin_prefetch(objects[i]);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            __builtin_prefetch(objects[i + AHEAD]);
        PyObject *object = objects[i];
        PyTypeObject *type = Py_TYPE(object);
        if (marker->may_be_stale && !_PyObject_GC_IS_TRACKED(object))
            continue; /* freed since it was reached: it lies on a free list */
        if (type == &PyList_Type && (size_t)Py_SIZE(object) <= piece) {
            const PyListObject *list = (const PyListObject *)object;
            __builtin_prefetch(list->ob_item);
            lists[list_count++] =
                (neve_span){(void *const *)list->ob_item, (size_t)Py_SIZE(object)};
            continue;
        }
        if (((type == &PyList_Type || type == &PyTuple_Type) && (size_t)Py_SIZE(object) > piece) ||
            (type == &PyDict_Type && (size_t)((const PyDictObject *)object)->ma_used > piece) ||
            ((type == &PySet_Type || type == &PyFrozenSet_Type) &&
             (size_t)((const PySetObject *)object)->mask > piece)) {
            neve_mark_defer(marker, object);
            continue;
        }
        if (type == &PyDict_Type) {
            __builtin_prefetch(((const PyDictObject *)object)->ma_keys);
            __builtin_prefetch((char *)((const PyDictObject *)object)->ma_keys + 64);
            __builtin_prefetch(((const PyDictObject *)object)->ma_values);
        } else if (nvpy_compat_instance_edges(object, &layouts, &edges) && edges.stride == 1) {
            __builtin_prefetch(edges.items);
            lists[list_count++] = (neve_span){edges.items, edges.count};
            if (edges.also != NULL)
                neve_mark_visit(edges.also, marker);
            continue;
        }
        others[other_count++] = object;
    }
    neve_mark_spans(marker, lists, list_count);
    for (size_t i = 0; i < other_count; i++)
        mark_other(others[i], marker);
}

static void empty_lists(int last)
{
    for (int i = 0; i <= last; i++)
        nvpy_list_init(nvpy_list(nvpy.interp, i));
}

/* The first call in a collection (or a freeze) moves whole generations: their
 * lists are emptied or spliced, and whoever else was in them is dead and gets
 * condemned, or is moved one by one in a later call. */
static void host_promote(void *ctx, void *const *objects, size_t n, int generation)
{
    (void)ctx;
    bool is_first = !nvpy.has_spliced;
    nvpy.has_spliced = true;
    if (generation >= 2) {
        for (size_t i = 0; i < n; i++) {
            PyGC_Head *head = nvpy_head(objects[i]);
            /* It is in a list that was not taken as a whole, or went to generation 1
             * with the others. */
            if ((nvpy.generation == 0 || nvpy.is_partial) && !is_first &&
                !nvpy_is_self_linked(head))
                nvpy_list_remove(head);
            nvpy_self_link(head);
        }
        /* Those that were gathered: list 2 is with list 1, and not always empty. A
         * collection at the recursion limit, where our callback cannot be called, is
         * CPython's own and moves objects there. */
        if (is_first)
            empty_lists(nvpy.generation > 0 ? 2 : 0);
    } else if (is_first) {
        nvpy_list_merge(nvpy_list(nvpy.interp, 0), nvpy_list(nvpy.interp, 1));
    } else {
        for (size_t i = 0; i < n; i++) {
            PyGC_Head *head = nvpy_head(objects[i]);
            if (nvpy.is_partial && !nvpy_is_self_linked(head))
                nvpy_list_remove(head);
            nvpy_list_append(nvpy_list(nvpy.interp, 1), head);
        }
    }
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    (void)ctx;
    for (size_t i = 0; i < n && !nvpy.is_slice; i++) {
        PyGC_Head *head = nvpy_head(objects[i]);
        if (nvpy.generation == 0 || nvpy.is_partial)
            nvpy_list_remove(head); /* it is in a list still: see host_promote */
        if (!nvpy_is_self_linked(head))
            nvpy_self_link(head);
    }
    if ((nvpy_gc(nvpy.interp)->debug & NVPY_DEBUG_COLLECTABLE) == 0)
        return;
    *ran_code = true; /* sys.stderr may be anything */
    for (size_t i = 0; i < n; i++)
        PySys_FormatStderr("gc: collectable <%s %p>\n", Py_TYPE((PyObject *)objects[i])->tp_name,
                           objects[i]);
}

/* What host_clear_weakrefs, host_finalize and host_is_uncollectable look for. The
 * objects are traversed next: what they keep elsewhere is asked for here. */
static size_t host_find_special(void *ctx, void *const *objects, size_t n, void **special,
                                bool *has_finalizers)
{
    (void)ctx;
    size_t found = 0;
    PyTypeObject *last = NULL; /* neighbours are often of one type */
    bool is_weakref = false;
    for (size_t i = 0; i < n; i++) {
        PyObject *object = objects[i];
        PyTypeObject *type = Py_TYPE(object);
        if (type == &PyList_Type) {
            __builtin_prefetch(((const PyListObject *)object)->ob_item);
            continue;
        }
        if (type == &PyDict_Type) {
            __builtin_prefetch(((const PyDictObject *)object)->ma_keys);
            __builtin_prefetch(((const PyDictObject *)object)->ma_values);
            continue;
        }
        if (type == &PyTuple_Type)
            continue;
        nvpy_compat_prefetch_attributes(object);
        if (type != last) {
            is_weakref = PyWeakref_Check(object);
            last = type;
        }
        bool is_final = type->tp_finalize != NULL && !_PyGC_FINALIZED(object);
        *has_finalizers |= is_final;
        PyWeakReference **list = nvpy_compat_weakrefs(object);
        if (is_final || (list != NULL && *list != NULL) || is_weakref || type->tp_del != NULL)
            special[found++] = object;
    }
    return found;
}

/* Detaches the weak references to `object`, in the first pass only those whose
 * turn it is; those whose callbacks are to be called are appended to *calls
 * unless that is NULL. False: no memory for that; some are left. */
static bool clear_weakrefs_of(PyObject *object, bool keeps_plain, PyObject **calls)
{
    PyWeakReference **list = nvpy_compat_weakrefs(object);
    PyWeakReference *next;
    for (PyWeakReference *weakref = list == NULL ? NULL : *list; weakref != NULL; weakref = next) {
        next = weakref->wr_next;
        bool has_callback = weakref->wr_callback != NULL;
        if (keeps_plain && !has_callback)
            continue;
        Py_INCREF(weakref);
        nvpy_compat_weakref_clear(weakref);
        /* A callback whose weak reference is garbage itself must not run: it
         * could reach objects that are about to be cleared. */
        bool is_called =
            calls != NULL && has_callback && !neve_collector_is_condemned(nvpy.collector, weakref);
        /* `collecting` is set: making the list starts no collection. */
        bool is_added = !is_called || ((*calls != NULL || (*calls = PyList_New(0)) != NULL) &&
                                       PyList_Append(*calls, (PyObject *)weakref) == 0);
        Py_DECREF(weakref);
        if (!is_added)
            return false;
    }
    return true;
}

static void host_visit_weakrefs(void *ctx, void *object, neve_visit_fn visit, void *arg)
{
    (void)ctx;
    PyWeakReference **list = nvpy_compat_weakrefs(object);
    for (PyWeakReference *at = list == NULL ? NULL : *list; at != NULL; at = at->wr_next)
        if (at->wr_callback != NULL)
            (void)visit(at, arg);
}

static size_t call_callbacks(PyObject *calls, bool *ran_code)
{
    size_t died = 0;
    *ran_code |= PyList_GET_SIZE(calls) > 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(calls); i++) {
        PyWeakReference *weakref = (PyWeakReference *)PyList_GET_ITEM(calls, i);
        PyObject *callback = Py_NewRef(weakref->wr_callback);
        PyObject *result = PyObject_CallOneArg(callback, (PyObject *)weakref);
        if (result == NULL)
            nvpy_compat_unraisable_in_weakref(callback);
        else
            Py_DECREF(result);
        Py_DECREF(callback);
        died += Py_REFCNT(weakref) == 1;
        PyList_SET_ITEM(calls, i, Py_NewRef(Py_None));
        Py_DECREF(weakref);
    }
    return died;
}

static size_t host_clear_weakrefs(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                                  bool *ran_code)
{
    (void)ctx;
    bool is_first = pass == NEVE_WEAKREFS_BEFORE_FINALIZERS;
    bool keeps_plain = is_first && nvpy_host.keeps_weakrefs;
    PyObject *calls = NULL;
    PyObject **calls_at = is_first ? &calls : NULL;
    bool has_failed = false;
    for (size_t i = 0; i < n; i++) {
        PyObject *object = objects[i];
        PyTypeObject *type = Py_TYPE(object);
        if (type == &PyList_Type || type == &PyDict_Type || type == &PyTuple_Type)
            continue; /* no weak reference leads to these, and they are none */
        /* A condemned weak reference must not be of use to those who could
         * reach what is cleared. */
        if (is_first != nvpy_host.keeps_weakrefs && PyWeakref_Check(object))
            nvpy_compat_weakref_clear((PyWeakReference *)object);
        while (!clear_weakrefs_of(object, keeps_plain, calls_at)) {
            PyErr_Clear();
            has_failed = true;
            calls_at = NULL;
        }
    }
    size_t died = 0;
    if (has_failed) {     /* some callbacks are not called */
        *ran_code = true; /* sys.unraisablehook */
        PyErr_NoMemory();
        PyErr_WriteUnraisable(NULL);
    }
    if (calls != NULL) {
        died = call_callbacks(calls, ran_code);
        Py_DECREF(calls);
    }
    return died;
}

static void host_finalize(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        PyObject *object = objects[i];
        destructor finalize = Py_TYPE(object)->tp_finalize;
        if (finalize == NULL || _PyGC_FINALIZED(object))
            continue;
        *ran_code = true;
        _PyGC_SET_FINALIZED(object);
        finalize(object);
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(object);
    }
}

static bool host_is_uncollectable(void *ctx, void *object)
{
    (void)ctx;
    return Py_TYPE((PyObject *)object)->tp_del != NULL;
}

static size_t host_report_uncollectable(void *ctx, void *const *objects, size_t n,
                                        neve_uncollectable why)
{
    if (why == NEVE_UNCOLLECTABLE_UNCLEARED)
        return 0; /* CPython keeps them among the old, in silence */
    struct _gc_runtime_state *gc = nvpy_gc(nvpy.interp);
    for (size_t i = 0; i < n; i++) {
        PyObject *object = objects[i];
        if ((gc->debug & NVPY_DEBUG_UNCOLLECTABLE) != 0)
            PySys_FormatStderr("gc: uncollectable <%s %p>\n", Py_TYPE(object)->tp_name, object);
        if ((gc->debug & NVPY_DEBUG_SAVEALL) == 0 && !host_is_uncollectable(ctx, object))
            continue;
        if (PyList_Append(gc->garbage, object) < 0)
            PyErr_WriteUnraisable(NULL);
    }
    return n;
}

static size_t host_held_bytes(void *ctx)
{
    (void)ctx;
    return nvpy_large_bytes();
}

const neve_host nvpy_host = {
    .struct_size = sizeof(neve_host),
    .name = "CPython",
    .read_counts = host_read_counts,
    .traverse = host_traverse,
    .retain = host_retain,
    .release = host_release,
    .clear = host_clear,
    .type_name = host_type_name,
    .is_tracked = host_is_tracked,
    .visit_roots = host_visit_roots,
    .begin = host_begin,
    .gather = host_gather,
    .untrack = host_untrack,
    .edges = host_edges,
    .mark = host_mark,
    .promote = host_promote,
    .condemn = host_condemn,
    .condemns_late = true,
    .find_special = host_find_special,
    .clear_weakrefs = host_clear_weakrefs,
    .visit_weakrefs = host_visit_weakrefs,
    .keeps_weakrefs = NVPY_PLAIN_WEAKREFS_LAST,
    .finalize = host_finalize,
    .is_uncollectable = host_is_uncollectable,
    .report_uncollectable = host_report_uncollectable,
    .held_bytes = host_held_bytes,
};
