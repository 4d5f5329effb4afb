/* SPDX-License-Identifier: MIT */
/*
 * The module `gc`, named after Python's: an instance whose fields are functions, and the list
 * `callbacks`.
 *
 * A listener of the collector runs in the middle of a collection, where nothing may be
 * allocated and no program code run. So it notes the collection and sets an event of the eval
 * breaker; gc.callbacks are called from the next safe point, and hear of ends only.
 */
#include "vm.h"

#include <inttypes.h>
#include <string.h>

static bool integer_argument(vm *m, const char *name, value v, intptr_t most, intptr_t *is)
{
    if (!is_int(v) || int_of(v) < 0 || int_of(v) > most)
        return vm_throw(m, "gc.%s() wants an integer from 0 to %" PRIdPTR, name, most);
    *is = int_of(v);
    return true;
}

static bool throw_status(vm *m, neve_status status)
{
    return status == NEVE_ENOMEM ? vm_throw_no_memory(m)
                                 : vm_throw(m, "%s", neve_status_message(status));
}

/* Adds an integer under a name. */
static bool note(vm *m, dict *into, const char *name, uint64_t is)
{
    string *key = string_name(m, name, strlen(name));
    bool done = key != NULL && dict_set(m, into, from_object(key), from_int((intptr_t)is));
    release(m, from_object(key));
    return done;
}

static bool integers(vm *m, const uint32_t *of, size_t count, value *result)
{
    list *l = list_new(m, count);
    *result = from_object(l);
    for (size_t i = 0; l != NULL && i < count; i++)
        (void)list_push(m, l, from_int((intptr_t)of[i])); /* there is room */
    return l != NULL;
}

/* ---- collecting ---- */

/* collect() or collect(generation): how many objects were found dead. */
static bool gc_collect(vm *m, int count, value *args, value *result)
{
    intptr_t generation = NEVE_GENERATIONS - 1;
    if (count == 1 && !integer_argument(m, "collect", args[0], generation, &generation))
        return false;
    neve_collection done = {0};
    neve_status status = neve_collect(m->collector, (int)generation, &done);
    *result = from_int((intptr_t)(done.collected + done.uncollectable));
    /* Inside a collection (in a `drop`, say) Python's gc.collect() returns 0 too. */
    return status == NEVE_OK || status == NEVE_EBUSY || throw_status(m, status);
}

/* step(microseconds): in idle time, with --mode incremental. True: there is more to do. */
static bool gc_step(vm *m, int count, value *args, value *result)
{
    intptr_t budget_us = 0;
    (void)count;
    if (!integer_argument(m, "step", args[0], 60000000, &budget_us))
        return false;
    *result = from_bool(neve_step(m->collector, (uint32_t)budget_us, NULL));
    return true;
}

static bool gc_enable(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    neve_collector_enable(m->collector);
    *result = NIL;
    return true;
}

static bool gc_disable(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    neve_collector_disable(m->collector);
    *result = NIL;
    return true;
}

static bool gc_isenabled(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    *result = from_bool(neve_collector_is_enabled(m->collector));
    return true;
}

/* ---- thresholds, counts, statistics ---- */

static bool gc_get_threshold(vm *m, int count, value *args, value *result)
{
    uint32_t thresholds[NEVE_GENERATIONS];
    (void)count;
    (void)args;
    neve_collector_get_thresholds(m->collector, thresholds);
    return integers(m, thresholds, NEVE_GENERATIONS, result);
}

static bool gc_set_threshold(vm *m, int count, value *args, value *result)
{
    uint32_t thresholds[NEVE_GENERATIONS];
    neve_collector_get_thresholds(m->collector, thresholds);
    for (int i = 0; i < count; i++) {
        intptr_t is = 0;
        if (!integer_argument(m, "set_threshold", args[i], INT32_MAX, &is))
            return false;
        thresholds[i] = (uint32_t)is;
    }
    neve_collector_set_thresholds(m->collector, thresholds);
    *result = NIL;
    return true;
}

static bool gc_get_count(vm *m, int count, value *args, value *result)
{
    uint32_t counts[NEVE_GENERATIONS];
    (void)count;
    (void)args;
    neve_collector_get_counts(m->collector, counts);
    return integers(m, counts, NEVE_GENERATIONS, result);
}

/* As Python's, one dict a generation, with times beside the numbers. */
static bool gc_get_stats(vm *m, int count, value *args, value *result)
{
    neve_collector_stats stats;
    (void)count;
    (void)args;
    neve_collector_get_stats(m->collector, &stats);
    list *all = list_new(m, NEVE_GENERATIONS);
    bool done = all != NULL;
    for (int i = 0; done && i < NEVE_GENERATIONS; i++) {
        const neve_generation_stats *of = &stats.generations[i];
        dict *one = dict_new(m);
        done = one != NULL && note(m, one, "collections", of->collections) &&
               note(m, one, "collected", of->collected) &&
               note(m, one, "uncollectable", of->uncollectable) &&
               note(m, one, "time_us", of->time_ns / 1000) &&
               note(m, one, "longest_us", of->longest_pause_ns / 1000) &&
               list_push(m, all, from_object(one));
        release(m, from_object(one));
    }
    if (!done)
        release(m, from_object(all));
    *result = from_object(all);
    return done;
}

/* ---- freezing, asking ---- */

/* freeze(), or freeze(true): the frozen objects' counts are never written again either. */
static bool gc_freeze(vm *m, int count, value *args, value *result)
{
    unsigned flags = count == 1 && is_true(args[0]) ? NEVE_FREEZE_IMMORTAL : 0;
    neve_status status = neve_runtime_freeze(m->runtime, flags, NULL);
    *result = NIL;
    return status == NEVE_OK || throw_status(m, status);
}

static bool gc_unfreeze(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    neve_status status = neve_collector_unfreeze(m->collector);
    *result = NIL;
    return status == NEVE_OK || throw_status(m, status);
}

static bool gc_get_freeze_count(vm *m, int count, value *args, value *result)
{
    (void)count;
    (void)args;
    *result = from_int((intptr_t)neve_collector_frozen_count(m->collector));
    return true;
}

static bool gc_is_tracked(vm *m, int count, value *args, value *result)
{
    (void)m;
    (void)count;
    *result = from_bool(is_object(args[0]) &&
                        (neve_type_of(object_of(args[0]))->flags & NEVE_TYPE_CONTAINER) != 0);
    return true;
}

/* ---- callbacks ---- */

static void collection_ended(void *ctx, const neve_collection *collection)
{
    vm *m = ctx;
    if (m->is_calling_back || m->collection_count == COLLECTIONS_KEPT ||
        ((list *)m->gc_callbacks)->count == 0)
        return;
    m->collections[m->collection_count++] = *collection;
    neve_breaker_set(&m->breaker, EVENT_COLLECTED);
}

/* Each callback is called with a dict about each collection. */
static void call_back(vm *m, const neve_collection *collection)
{
    dict *info = dict_new(m);
    if (info == NULL || !note(m, info, "generation", (uint64_t)collection->generation) ||
        !note(m, info, "collected", collection->collected) ||
        !note(m, info, "uncollectable", collection->uncollectable) ||
        !note(m, info, "duration_us", collection->duration_ns / 1000)) {
        vm_report(m, ": ignored in gc.callbacks: ");
    } else {
        /* A callback may change the list. */
        const list *callbacks = (list *)m->gc_callbacks;
        for (size_t i = 0; i < callbacks->count; i++) {
            value callback = retain(callbacks->items[i]);
            vm_call_apart(m, "gc.callbacks", callback, from_object(info));
            release(m, callback);
        }
    }
    release(m, from_object(info));
}

void gc_module_call_back(vm *m)
{
    if (m->is_calling_back)
        return;
    m->is_calling_back = true;
    for (unsigned i = 0; i < m->collection_count; i++)
        call_back(m, &m->collections[i]);
    m->collection_count = 0;
    m->is_calling_back = false;
}

/* ---- the module ---- */

static bool add_field(vm *m, dict *into, const char *name, value item)
{
    string *key = string_name(m, name, strlen(name));
    bool done = key != NULL && dict_set(m, into, from_object(key), item);
    release(m, from_object(key));
    return done;
}

static bool fill(vm *m, dict *fields)
{
    static const struct {
        const char *name;
        native_fn call;
        int least, most;
    } table[] = {
        {"collect", gc_collect, 0, 1},
        {"step", gc_step, 1, 1},
        {"enable", gc_enable, 0, 0},
        {"disable", gc_disable, 0, 0},
        {"isenabled", gc_isenabled, 0, 0},
        {"get_threshold", gc_get_threshold, 0, 0},
        {"set_threshold", gc_set_threshold, 1, NEVE_GENERATIONS},
        {"get_count", gc_get_count, 0, 0},
        {"get_stats", gc_get_stats, 0, 0},
        {"freeze", gc_freeze, 0, 1},
        {"unfreeze", gc_unfreeze, 0, 0},
        {"get_freeze_count", gc_get_freeze_count, 0, 0},
        {"is_tracked", gc_is_tracked, 1, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!define_native(m, fields, table[i].name, table[i].call, table[i].least, table[i].most))
            return false;
    }
    return add_field(m, fields, "callbacks", from_object(m->gc_callbacks));
}

bool gc_module_define(vm *m)
{
    string *name = string_name(m, "module", 6);
    class *module = name == NULL ? NULL : class_new(m, name);
    instance *gc = module == NULL ? NULL : (instance *)instance_new(m, module);
    bool done = gc != NULL && (gc->fields = dict_new(m)) != NULL && fill(m, gc->fields) &&
                add_field(m, (dict *)m->globals, "gc", from_object(gc));
    release(m, from_object(gc));
    release(m, from_object(module));
    release(m, from_object(name));
    if (done)
        neve_collector_set_listener(m->collector,
                                    &(neve_listener){.end = collection_ended, .ctx = m});
    return done;
}
