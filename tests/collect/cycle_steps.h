/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the incremental mode share: a container that is traversed in pieces,
 * and steps of a cycle. A step with a budget of 0 is one quantum.
 */
#ifndef TESTS_COLLECT_CYCLE_STEPS_H
#define TESTS_COLLECT_CYCLE_STEPS_H

#include "collect/collect_internal.h"
#include "object/support.h"

/* ---- a container of any length, which is traversed in pieces ---- */

#define PIECE 256u

typedef struct bag {
    neve_var_object var;
    size_t count; /* of the items that are in use */
    neve_object *items[];
} bag;

static void bag_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    bag *b = (bag *)object;
    size_t at = *cursor < b->count ? *cursor : b->count;
    size_t end = b->count - at > PIECE ? at + PIECE : b->count;
    *cursor = end < b->count ? end : 0;
    for (size_t i = at; i < end; i++) {
        if (b->items[i] != NULL && visit(b->items[i], arg) != 0) {
            *cursor = 0;
            return;
        }
    }
}

static inline void bag_shrink(neve_runtime *runtime, bag *b, size_t count)
{
    while (b->count > count)
        neve_clear_slot(runtime, &b->items[--b->count]);
}

static void bag_clear(neve_runtime *runtime, neve_object *object)
{
    bag_shrink(runtime, (bag *)object, 0);
}

static const neve_type bag_type = {
    .name = "bag",
    .size = sizeof(bag),
    .item_size = sizeof(neve_object *),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = bag_traverse,
    .clear = bag_clear,
};

static inline bag *new_bag(neve_runtime *runtime, size_t length)
{
    bag *b = (bag *)neve_object_new_var(runtime, &bag_type, length);
    assert_non_null(b);
    return b;
}

/* Takes the reference over. */
static inline void bag_put(bag *b, neve_object *item)
{
    assert_true(b->count < b->var.length);
    b->items[b->count++] = item;
}

/* ---- steps ---- */

static inline neve_runtime *new_incremental(journal *j)
{
    neve_collector_options collect = {.struct_size = sizeof collect, .mode = NEVE_MODE_INCREMENTAL};
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect};
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    if (j != NULL)
        journal_reset(j);
    neve_runtime_set_data(runtime, j);
    return runtime;
}

static inline neve_cycle_stats cycle_stats(neve_runtime *runtime)
{
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    return stats.cycle;
}

static inline nv_phase phase_of(neve_runtime *runtime)
{
    return neve_runtime_collector(runtime)->cycle.phase;
}

/* Begins a cycle and does its first quantum: as where every safe point collects. */
static inline void begin_cycle(neve_runtime *runtime)
{
    neve_collector *c = neve_runtime_collector(runtime);
    c->cycle.changes = 1; /* even if nothing was promoted since the last */
    c->is_stressed = true;
    assert_true(neve_step(c, 0, NULL));
    c->is_stressed = false;
    neve_breaker_clear(neve_collector_breaker(c), NEVE_EVENT_COLLECT);
    assert_int_equal(c->cycle.phase, NV_CYCLE_WHITEN);
}

static inline bool quantum(neve_runtime *runtime)
{
    return neve_step(neve_runtime_collector(runtime), 0, NULL);
}

/* A stop of a cycle: before the first quantum of that phase, or where something
 * waits to be cleared. */
#define CLEARING ((int)NV_CYCLE_END_MARKS + 1)
#define STOPS (CLEARING + 1)

static inline bool is_at(neve_runtime *runtime, int stop)
{
    const neve_collector *c = neve_runtime_collector(runtime);
    return stop == CLEARING ? c->later.items.count > 0 : (int)c->cycle.phase == stop;
}

static inline void go_to(neve_runtime *runtime, int stop)
{
    begin_cycle(runtime);
    while (!is_at(runtime, stop))
        assert_true(quantum(runtime));
}

static inline void end_cycle(neve_runtime *runtime)
{
    uint64_t before = cycle_stats(runtime).cycles;
    while (quantum(runtime))
        continue;
    assert_false(cycle_stats(runtime).is_running);
    assert_int_equal(cycle_stats(runtime).cycles, before + 1);
}

static inline neve_collection due(neve_runtime *runtime, int generation)
{
    neve_collection result;
    assert_int_equal(neve_collect_due(neve_runtime_collector(runtime), generation, &result),
                     NEVE_OK);
    return result;
}

/* Makes everything old, without a cycle. */
static inline void make_old(neve_runtime *runtime)
{
    (void)collect(runtime, 1);
    (void)collect(runtime, 1);
}

#endif
