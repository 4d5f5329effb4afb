/* SPDX-License-Identifier: MIT */
/*
 * Neve's layout, on libneve itself: nothing in front of a list, two bits for each 16 bytes of the heap in
 * a table, and during a collection tables of marks and gc_refs that go back to the system.
 */
#include "layouts.h"

#include <neve.h>

#include <stdlib.h>

/* For each NEVE_GRANULE of the heap: of which generation the object is that begins there. */
enum { STATE_BITS = 2 };

typedef struct node {
    neve_object base;
    neve_object *refers_to;
    char rest[LAYOUT_LIST_BYTES - sizeof(neve_object) - sizeof(void *)];
} node;

_Static_assert(sizeof(node) == LAYOUT_LIST_BYTES, "all models have lists of one size");

typedef struct table_world {
    neve_runtime *runtime;
    double list_bytes;
} table_world;

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    if (((node *)object)->refers_to != NULL)
        (void)visit(((node *)object)->refers_to, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    neve_clear_slot(runtime, &((node *)object)->refers_to);
}

static const neve_type node_type = {.name = "node",
                                    .size = sizeof(node),
                                    .flags = NEVE_TYPE_CONTAINER,
                                    .traverse = node_traverse,
                                    .clear = node_clear};
static const neve_type string_type = {.name = "string", .size = LAYOUT_STRING_BYTES};

/* The collections are those that are asked for, as in the other models. */
static void *build(const layout_plan *plan)
{
    table_world *w = calloc(1, sizeof *w);
    neve_object **lists = calloc(plan->lists, sizeof *lists);
    if (w == NULL || lists == NULL || neve_runtime_create(NULL, &w->runtime) != NEVE_OK)
        return NULL;
    neve_collector_disable(neve_runtime_collector(w->runtime));
    uint64_t random = 42;
    size_t strings = 0;
    for (size_t i = 0; i < plan->lists; i++) {
        node *made = (node *)neve_object_new(w->runtime, &node_type);
        if (made == NULL)
            return NULL;
        if (i > 0)
            made->refers_to = neve_retain(lists[layout_random(&random, i)]);
        lists[i] = &made->base;
        for (; strings < layout_strings_before(plan, i + 1); strings++)
            if (neve_object_new(w->runtime, &string_type) == NULL)
                return NULL;
    }
    neve_heap_stats stats;
    neve_heap_get_stats(neve_runtime_heap(w->runtime), &stats);
    w->list_bytes = (double)stats.small_bytes[NEVE_DOMAIN_OBJECT] / (double)plan->lists *
                    (1 + STATE_BITS / (8.0 * NEVE_GRANULE));
    return w;
}

static double list_bytes(const void *world)
{
    return ((const table_world *)world)->list_bytes;
}

static bool collect(void *world)
{
    neve_collection done;
    table_world *w = world;
    return neve_collect(neve_runtime_collector(w->runtime), 2, &done) == NEVE_OK &&
           done.collected == 0;
}

static void before_fork(void *world)
{
    neve_runtime_before_fork(((table_world *)world)->runtime);
}

static void after_fork_in_child(void *world)
{
    neve_runtime_after_fork_child(((table_world *)world)->runtime);
}

const layout layout_side_tables = {
    .name = "side-tables",
    .title = "side tables (libneve)",
    .build = build,
    .list_bytes = list_bytes,
    .work = collect,
    .before_fork = before_fork,
    .after_fork_in_child = after_fork_in_child,
};
