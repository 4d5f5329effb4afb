/* SPDX-License-Identifier: MIT */
/* Stock CPython as a peer, through its C API: a type with two slots, collected by its collector. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../native/bench_common.h"

typedef struct graph_node {
    PyObject_HEAD
    PyObject *slots[2];
    long value;
} graph_node;
typedef graph_node *node;

static Py_ssize_t collected;

static int node_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((node)self)->slots[0]);
    Py_VISIT(((node)self)->slots[1]);
    return 0;
}

static int node_clear(PyObject *self)
{
    Py_CLEAR(((node)self)->slots[0]);
    Py_CLEAR(((node)self)->slots[1]);
    return 0;
}

static void node_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)node_clear(self);
    PyObject_GC_Del(self);
}

static PyTypeObject node_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "node",
    .tp_basicsize = sizeof(graph_node),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = node_traverse,
    .tp_clear = node_clear,
    .tp_dealloc = node_dealloc,
};

static node node_new(void)
{
    node made = PyObject_GC_New(graph_node, &node_type);
    if (made == NULL)
        exit(1);
    made->slots[0] = made->slots[1] = NULL;
    PyObject_GC_Track(made);
    return made;
}

static void node_give(node in, int slot, node held)
{
    in->slots[slot] = (PyObject *)held;
}

static void node_share(node in, int slot, node held)
{
    in->slots[slot] = Py_NewRef((PyObject *)held);
}

static node node_slot(node in, int slot)
{
    return (node)in->slots[slot];
}

static void ring_drop(node head, int length)
{
    (void)length;
    Py_DECREF(head);
}

static void tree_drop(node root)
{
    Py_DECREF(root);
}

static void peer_begin(void)
{
    Py_InitializeEx(0);
    if (PyType_Ready(&node_type) < 0)
        exit(1);
}

static void peer_collector_off(void)
{
    PyGC_Disable();
}

static void peer_safepoint(void) {}

static void peer_collect(void)
{
    int was = PyGC_Enable(); /* PyGC_Collect does nothing while it is off */
    collected += PyGC_Collect();
    if (!was)
        PyGC_Disable();
}

static double peer_collected(void)
{
    return (double)collected;
}

static node *peer_roots(size_t count)
{
    return bench_map(count * sizeof(node));
}

#include "graph_work.h"
