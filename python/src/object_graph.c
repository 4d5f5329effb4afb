/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's objects as a graph (object_graph.h).
 */
#define _GNU_SOURCE 1 /* mremap */

#include "object_graph.h"

#include <string.h>
#include <sys/mman.h>

#define FIRST_BYTES ((size_t)64 * 1024)

/* ---- arrays ---- */

static bool array_reserve(nvpy_array *array, size_t bytes)
{
    size_t grown = array->bytes == 0 ? FIRST_BYTES : array->bytes;
    while (grown < bytes)
        grown *= 2;
    if (grown == array->bytes)
        return true;
    void *items = array->bytes == 0 ? mmap(NULL, grown, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                    : mremap(array->items, array->bytes, grown, MREMAP_MAYMOVE);
    if (items == MAP_FAILED)
        return false;
    array->items = items;
    array->bytes = grown;
    return true;
}

bool nvpy_array_create(nvpy_array *array, size_t count, size_t item_bytes)
{
    *array = (nvpy_array){0};
    if (!array_reserve(array, count * item_bytes))
        return false;
    array->count = count;
    return true;
}

void nvpy_array_destroy(nvpy_array *array)
{
    if (array->bytes > 0)
        (void)munmap(array->items, array->bytes);
    *array = (nvpy_array){0};
}

static bool array_push_number(nvpy_array *array, uint32_t number)
{
    if ((array->count + 1) * sizeof number > array->bytes &&
        !array_reserve(array, (array->count + 1) * sizeof number))
        return false;
    ((uint32_t *)array->items)[array->count++] = number;
    return true;
}

/* ---- nodes ---- */

static size_t slot_of(const nvpy_graph *graph, const PyObject *object)
{
    /* Objects lie 16 bytes apart; the product's upper half is the well-mixed one. */
    uint64_t hash = ((uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15);
    size_t mask = graph->slots.count - 1;
    size_t at = (size_t)(hash >> 32) & mask;
    const uint32_t *slots = graph->slots.items;
    while (slots[at] != 0 && nvpy_graph_object(graph, slots[at] - 1) != object)
        at = (at + 1) & mask;
    return at;
}

static bool slots_grow(nvpy_graph *graph)
{
    nvpy_array before = graph->slots;
    size_t count = before.count == 0 ? FIRST_BYTES / sizeof(uint32_t) : before.count * 2;
    if (!nvpy_array_create(&graph->slots, count, sizeof(uint32_t))) {
        graph->slots = before;
        return false;
    }
    for (size_t node = 0; node < nvpy_graph_count(graph); node++) {
        size_t slot = slot_of(graph, nvpy_graph_object(graph, node));
        ((uint32_t *)graph->slots.items)[slot] = (uint32_t)node + 1;
    }
    nvpy_array_destroy(&before);
    return true;
}

void nvpy_graph_init(nvpy_graph *graph, bool keeps_edges)
{
    memset(graph, 0, sizeof *graph);
    graph->keeps_edges = keeps_edges;
    graph->failed = !slots_grow(graph);
}

void nvpy_graph_destroy(nvpy_graph *graph)
{
    nvpy_array_destroy(&graph->objects);
    nvpy_array_destroy(&graph->slots);
    nvpy_array_destroy(&graph->starts);
    nvpy_array_destroy(&graph->edges);
}

/* Whether there is nothing to decide about an object: nothing depends on when it
 * dies, and it refers to nothing of which that cannot be said. */
static bool is_leaf(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type ||
        type == &PyFloat_Type)
        return true;
    if (type == &PyCode_Type || PyObject_IS_GC(object))
        return false;
    nvpy_kind kind = nvpy_kind_of_type(type);
    /* (Types that are not the collector's business are static ones.) */
    return kind == NVPY_PLAIN || kind == NVPY_BARRIER;
}

uint32_t nvpy_graph_find(const nvpy_graph *graph, const PyObject *object)
{
    uint32_t found = ((const uint32_t *)graph->slots.items)[slot_of(graph, object)];
    return found == 0 ? NVPY_NO_NODE : found - 1;
}

uint32_t nvpy_graph_add(nvpy_graph *graph, PyObject *object)
{
    if (graph->failed || is_leaf(object))
        return NVPY_NO_NODE;
    size_t slot = slot_of(graph, object);
    uint32_t *slots = graph->slots.items;
    if (slots[slot] != 0)
        return slots[slot] - 1;
    nvpy_array *objects = &graph->objects;
    if (objects->count == NVPY_NO_NODE - 1 ||
        !array_reserve(objects, (objects->count + 1) * sizeof object)) {
        graph->failed = true;
        return NVPY_NO_NODE;
    }
    ((PyObject **)objects->items)[objects->count++] = object;
    slots[slot] = (uint32_t)objects->count;
    if (objects->count > graph->slots.count / 2 && !slots_grow(graph))
        graph->failed = true;
    return (uint32_t)objects->count - 1;
}

void nvpy_graph_close(nvpy_graph *graph)
{
    while (graph->expanded < nvpy_graph_count(graph) && !graph->failed) {
        graph->failed |= !array_push_number(&graph->starts, (uint32_t)graph->edges.count);
        graph->expanded++;
    }
}

/* ---- edges ---- */

void nvpy_visit_references(PyObject *object, neve_visit_fn visit, void *arg)
{
    if (PyObject_IS_GC(object) && Py_TYPE(object)->tp_traverse != NULL)
        nvpy_compat_traverse(object, visit, arg);
    nvpy_compat_visit_hidden(object, visit, arg);
}

static int add_edge(void *object, void *arg)
{
    nvpy_graph *graph = arg;
    uint32_t node = nvpy_graph_add(graph, object);
    if (node != NVPY_NO_NODE && graph->keeps_edges &&
        (graph->edges.count == UINT32_MAX || !array_push_number(&graph->edges, node)))
        graph->failed = true;
    return 0;
}

void nvpy_graph_expand(nvpy_graph *graph)
{
    while (graph->expanded < nvpy_graph_count(graph) && !graph->failed) {
        graph->failed |= !array_push_number(&graph->starts, (uint32_t)graph->edges.count);
        nvpy_visit_references(nvpy_graph_object(graph, graph->expanded++), add_edge, graph);
    }
    graph->failed |= !array_push_number(&graph->starts, (uint32_t)graph->edges.count);
}
