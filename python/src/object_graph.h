/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's objects as a graph: who refers to whom, as far as there is
 * something to be decided about them. Leaves without any say (strings, numbers)
 * are not in it.
 *
 * Built in memory of its own, straight from the system: the heap that is being
 * looked at does not change meanwhile. Under the GIL; nothing here runs Python
 * code or creates an object. Failing for want of memory is remembered in
 * `failed`, and asked for once at the end.
 */
#ifndef NVPY_OBJECT_GRAPH_H
#define NVPY_OBJECT_GRAPH_H

#include "neve_python.h"

#define NVPY_NO_NODE UINT32_MAX

/* An array that grows. */
typedef struct nvpy_array {
    void *items;
    size_t count; /* of items */
    size_t bytes; /* of memory */
} nvpy_array;

typedef struct nvpy_graph {
    nvpy_array objects; /* PyObject *, in the order of discovery, breadth first */
    nvpy_array slots;   /* uint32_t: a hash table of their numbers, plus 1 */
    nvpy_array starts;  /* uint32_t: where a node's edges begin, for those expanded */
    nvpy_array edges;   /* uint32_t: numbers of nodes that are referred to */
    size_t expanded;    /* nodes whose references were followed */
    bool keeps_edges;
    bool failed;
} nvpy_graph;

void nvpy_graph_init(nvpy_graph *graph, bool keeps_edges);
void nvpy_graph_destroy(nvpy_graph *graph);

/* Its number; it becomes a node if it is none yet and is not a leaf. */
uint32_t nvpy_graph_add(nvpy_graph *graph, PyObject *object);
uint32_t nvpy_graph_find(const nvpy_graph *graph, const PyObject *object);
/* The references of the nodes so far are not followed. */
void nvpy_graph_close(nvpy_graph *graph);
/* Adds all that can be reached. */
void nvpy_graph_expand(nvpy_graph *graph);

static inline size_t nvpy_graph_count(const nvpy_graph *graph)
{
    return graph->objects.count;
}
static inline PyObject *nvpy_graph_object(const nvpy_graph *graph, size_t node)
{
    return ((PyObject **)graph->objects.items)[node];
}
static inline const uint32_t *nvpy_graph_edges(const nvpy_graph *graph, size_t node, size_t *count)
{
    const uint32_t *starts = graph->starts.items;
    *count = starts[node + 1] - starts[node];
    return (const uint32_t *)graph->edges.items + starts[node];
}

/* Zeroed memory for `count` items; false: there is none. */
bool nvpy_array_create(nvpy_array *array, size_t count, size_t item_bytes);
void nvpy_array_destroy(nvpy_array *array);

/* Visits all that an object refers to and that is counted, keys and names that
 * traversal leaves out included. */
void nvpy_visit_references(PyObject *object, neve_visit_fn visit, void *arg);

/* ---- object_kinds.c: what speaks against immortality ---- */

typedef enum nvpy_kind {
    NVPY_PLAIN,
    NVPY_BARRIER, /* types and modules: immortal whatever they refer to */
    /* These have something to do when they die, so they must be able to, and with them
     * what refers to them: */
    NVPY_FINALIZER,
    NVPY_FILE,
    NVPY_GENERATOR,
    NVPY_WEAKREF_CALLBACK,
    NVPY_BUFFER,
    NVPY_FRAME,
    NVPY_FOREIGN, /* of a C type that is not known to hold nothing but objects */
    /* These are mortal by themselves: written to whoever uses them. */
    NVPY_THREAD,
    NVPY_TRANSIENT,
    /* What the others make mortal. */
    NVPY_HOLDER, /* reaches one that has something to do */
    NVPY_HELD,   /* only these with something to do refer to it, or what only they hold */
    NVPY_KINDS
} nvpy_kind;
extern const char *const nvpy_kind_names[NVPY_KINDS]; /* NULL for the first two */

static inline bool nvpy_kind_spreads(nvpy_kind kind)
{
    return kind >= NVPY_FINALIZER && kind <= NVPY_FOREIGN;
}

/* A tuple of classes: that their objects have a finalizer does not make them mortal. */
void nvpy_kinds_finalize_at_exit(PyObject *classes);
/* Before the two below; false with an exception set. */
bool nvpy_kinds_begin(void);
/* By the type alone; and by what the object itself is in, too. */
nvpy_kind nvpy_kind_of_type(PyTypeObject *type);
nvpy_kind nvpy_kind_of(PyObject *object);

#endif
