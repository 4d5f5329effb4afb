/* SPDX-License-Identifier: MIT */
/*
 * Neve as a peer: native objects, the collector on, in the mode that NEVE_MODE names
 * (generational if it is not set; off: counting alone).
 */
#include <neve.h>

#include "../native/bench_common.h"

typedef struct graph_node {
    neve_object base;
    neve_object *slots[2];
    long value;
} graph_node;
typedef graph_node *node;

static neve_runtime *runtime;
static neve_collector *collector;
static size_t collected;

static const neve_type node_type = {
    .name = "node",
    .size = sizeof(graph_node),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS,
    .slot_offset = offsetof(graph_node, slots),
    .slot_count = 2,
};

static void check(neve_status status)
{
    if (status != NEVE_OK) {
        fprintf(stderr, "graph_neve: %s\n", neve_status_message(status));
        exit(1);
    }
}

static node node_new(void)
{
    neve_object *made = neve_object_new(runtime, &node_type);
    if (made == NULL)
        check(NEVE_ENOMEM);
    return (node)made;
}

static void node_give(node in, int slot, node held)
{
    in->slots[slot] = &held->base;
}

static void node_share(node in, int slot, node held)
{
    in->slots[slot] = neve_retain(&held->base);
}

static node node_slot(node in, int slot)
{
    return (node)in->slots[slot];
}

static void ring_drop(node head, int length)
{
    (void)length;
    neve_release_cyclic(runtime, &head->base);
}

static void tree_drop(node root)
{
    neve_release(runtime, &root->base);
}

static void peer_begin(void)
{
    const char *mode = getenv("NEVE_MODE");
    neve_collector_options options = {.struct_size = sizeof options};
    if (mode != NULL && strcmp(mode, "incremental") == 0)
        options.mode = NEVE_MODE_INCREMENTAL;
    neve_runtime_options all = {.struct_size = sizeof all, .collect = &options};
    check(neve_runtime_create(&all, &runtime));
    collector = neve_runtime_collector(runtime);
    if (mode != NULL && strcmp(mode, "off") == 0)
        neve_collector_disable(collector);
}

static void peer_collector_off(void)
{
    neve_collector_disable(collector);
}

static void peer_safepoint(void)
{
    neve_poll(collector, neve_collector_breaker(collector));
}

static void peer_collect(void)
{
    neve_collection done = {0};
    check(neve_collect(collector, 2, &done));
    neve_collector_drain(collector);
    collected += done.collected;
}

static double peer_collected(void)
{
    return (double)collected;
}

static node *peer_roots(size_t count)
{
    neve_object **roots = bench_map(count * sizeof *roots);
    for (size_t i = 0; i < count; i++)
        check(neve_root_add(runtime, &roots[i]));
    return (node *)roots;
}

/* A pair of neve_retain and neve_release on each of some objects in turn, against an increment
 * and a decrement with nothing else. The barriers keep the compiler from merging pairs. */
static void peer_pairs(size_t pairs, double *counted_ns, double *plain_ns)
{
    enum { OBJECTS = 256 };
    static node objects[OBJECTS];
    double best[2] = {INFINITY, INFINITY};
    neve_runtime *at_hand = runtime; /* in a register, as a program has it */
    for (size_t i = 0; i < OBJECTS; i++)
        objects[i] = node_new();
    for (int round = 0; round < 10; round++) {
        double start = bench_cpu_ns();
        for (size_t i = 0; i < pairs; i++) {
            neve_object *o = &objects[i % OBJECTS]->base;
            neve_retain(o);
            __asm__ volatile("" ::: "memory");
            neve_release(at_hand, o);
            __asm__ volatile("" ::: "memory");
        }
        double middle = bench_cpu_ns();
        for (size_t i = 0; i < pairs; i++) {
            neve_object *o = &objects[i % OBJECTS]->base;
            o->count++;
            __asm__ volatile("" ::: "memory");
            if (--o->count == 0)
                neve_object_dispose(at_hand, o);
            __asm__ volatile("" ::: "memory");
        }
        best[0] = fmin(best[0], (middle - start) / (double)pairs);
        best[1] = fmin(best[1], (bench_cpu_ns() - middle) / (double)pairs);
    }
    *counted_ns = best[0];
    *plain_ns = best[1];
}

static const neve_type wide_type = {
    .name = "wide",
    .size = 64,
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS,
    .slot_offset = offsetof(graph_node, slots),
    .slot_count = 2,
};

/* What a first full collection leaves resident beside objects that it has all made old. */
static double peer_metadata(size_t objects)
{
    neve_object **all = bench_map(objects * sizeof *all);
    neve_collector_disable(collector);
    for (size_t i = 0; i < objects; i++) {
        all[i] = neve_object_new(runtime, &wide_type);
        if (all[i] == NULL)
            check(NEVE_ENOMEM);
    }
    size_t before = bench_resident_bytes();
    peer_collect();
    return ((double)bench_resident_bytes() - (double)before) / (double)objects;
}

#define PEER_MEASURES_ITSELF
#include "graph_work.h"
