/* SPDX-License-Identifier: MIT */
/* Boehm, Demers, Weiser: bdwgc as a peer. Its roots are found in the stack, in static data, and in
 * blocks of GC_MALLOC_UNCOLLECTABLE. */
#include <gc.h>

#include "../native/bench_common.h"

typedef struct graph_node {
    struct graph_node *slots[2];
    long value;
} graph_node;
typedef graph_node *node;

static node node_new(void)
{
    node made = GC_MALLOC(sizeof *made);
    if (made == NULL)
        exit(1);
    return made;
}

static void node_give(node in, int slot, node held)
{
    in->slots[slot] = held;
}

static void node_share(node in, int slot, node held)
{
    in->slots[slot] = held;
}

static node node_slot(node in, int slot)
{
    return in->slots[slot];
}

static void ring_drop(node head, int length)
{
    (void)head;
    (void)length;
}

static void tree_drop(node root)
{
    (void)root;
}

static void peer_begin(void)
{
    GC_INIT();
}

static void peer_collector_off(void)
{
    GC_disable();
}

static void peer_safepoint(void) {}

static void peer_collect(void)
{
    /* GC_disable counts; an explicit collection runs only when it is undone. */
    if (GC_is_disabled())
        GC_enable();
    GC_gcollect();
}

static double peer_collected(void)
{
    return -1;
}

static node *peer_roots(size_t count)
{
    node *roots = GC_MALLOC_UNCOLLECTABLE(count * sizeof *roots);
    if (roots == NULL)
        exit(1);
    return roots;
}

/* The heads of `rings` must be roots, and are not looked for in the benchmark's mappings. */
#define bench_map(bytes) GC_MALLOC_UNCOLLECTABLE(bytes)
#include "graph_work.h"
