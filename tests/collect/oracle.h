/* SPDX-License-Identifier: MIT */
/*
 * The oracle: one program of random operations, run on the native object model
 * and on a naive model heap side by side.
 *
 * A program is a string of bytes (random, or a fuzzer's). Every operation of
 * it, and everything that finalizers and callbacks do, goes through act_*
 * functions that change both heaps. The model counts references and computes
 * reachability by brute force; what the collector decides, and when finalizers,
 * callbacks, `clear` and `dealloc` run, is the native heap's doing and is
 * checked against the model as it happens:
 *
 *   - `clear` runs only on what has no references left in the model, or is in
 *     the dead set of the collection under way;
 *   - the dead set is exact: D = the candidates that nothing outside them
 *     reaches when the collection begins (G), less what is reachable from
 *     outside G when the first of them is cleared; at the end all of D is gone
 *     (what finalizers took apart may die by its count before);
 *   - each finalizer runs exactly once, for all of G;
 *   - weak references to G are clear before any finalizer runs, those to D
 *     once more before anything is cleared; callbacks run exactly when they
 *     must; nobody ever gets a cleared object out of a weak reference;
 *   - between operations nothing without references is left alive, and the
 *     heap holds as many blocks as the model has objects.
 *
 * In the incremental mode a pause is a young or middle collection and a slice of
 * a cycle, and slices run between all operations. What is compared then:
 *
 *   - each batch that a cycle verifies: the dead are exactly those of its
 *     candidates that nothing outside them reaches; finalizers, callbacks and
 *     weak references as above;
 *   - the condemned wait to be cleared while the program goes on: nothing hands
 *     one out, neither a weak reference nor a listing of objects;
 *   - when a cycle ends, all that was garbage in the model when it began is gone,
 *     but for what was revived since and what is uncollectable (invariant 3).
 *
 * The oracle sees the batches because it stands between the collector and the
 * native host: it forwards what the collector asks for, and notes the
 * references that the collector itself holds.
 *
 * A difference is printed with the program's name and aborts. To be included
 * by one source of each program that uses it.
 */
#ifndef NEVE_TESTS_ORACLE_H
#define NEVE_TESTS_ORACLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/collect_internal.h"
#include "heap/heap_internal.h"
#include "neve.h"

#define ORACLE_IDS 2048 /* objects that one program can make */
#define ORACLE_SLOTS 70 /* more than fit a small block */
#define ORACLE_HANDLES 24
#define ORACLE_ROOTS 8 /* so many of the handles are registered as roots */
#define ORACLE_NONE (-1)

typedef enum oracle_kind {
    ORACLE_NODE,
    ORACLE_NODE_UNCLEARABLE, /* its type has no clear: uncollectable in a cycle */
    ORACLE_LEAF,
    ORACLE_WEAKREF,
} oracle_kind;

/* What a finalizer does, or a weak reference's callback. */
typedef enum oracle_deed {
    ORACLE_NOTHING, /* has no finalizer at all */
    ORACLE_LOOK,    /* reads all weak references */
    ORACLE_STAY,    /* stores itself in a handle: resurrection */
    ORACLE_STAY_IN, /* stores itself in a slot of a live object */
    ORACLE_SELF_WEAKREF,
    ORACLE_NEW_PARTNER, /* makes a cycle of itself and a new object */
    ORACLE_DROP_HANDLE,
    ORACLE_DROP_SLOTS,
    ORACLE_COLLECT,
    ORACLE_POLL,
    ORACLE_DEEDS,
} oracle_deed;

typedef struct oracle_object {
    neve_object *native;
    oracle_kind kind;
    oracle_deed deed;
    unsigned slots;
    int refs; /* handles, slots, weak references' args, the list of uncollectable */
    int target, arg;
    int finalized, called;
    bool alive, immortal, listed;
    bool has_callback;
    bool is_clear;    /* weak reference: its referent is gone */
    bool owed;        /* ... and its callback must have run when the operation ends */
    bool was_cleared; /* `clear` ran */
    bool pinned;      /* its finalizer is running */
    int held; /* of `refs`, those of the collector */
    /* In the collection under way, or in the batch of a slice: */
    bool candidate, garbage, rescued, must_call;
    bool given_back;  /* found alive by its second verification */
    bool condemned;   /* is going to be cleared, now or in a later slice */
    bool must_go;     /* garbage when the cycle under way began */
    bool touched; /* scratch of the reachability */
    int16_t slot[ORACLE_SLOTS];
} oracle_object;

/* Of the garbage of a collection, or of the batches of a slice. */
typedef struct oracle_tally {
    int revived, died_with_callback, doomed, may_be_counted;
} oracle_tally;

typedef struct oracle {
    const char *name;
    const uint8_t *data;
    size_t size, at, operation;
    neve_runtime *runtime;
    neve_collector *collector;
    neve_eval_breaker breaker;
    oracle_object *objects;
    int count;
    neve_object *handles[ORACLE_HANDLES];
    int handle_ids[ORACLE_HANDLES];
    int depth; /* finalizers and callbacks under way */
    int listed;
    /* The collection under way. */
    bool collecting, strict, decided, failed, hooked;
    bool slicing;       /* in a slice of a cycle */
    bool is_part_over;  /* the collection before the slice */
    bool has_condemned; /* in this collection or batch */
    oracle_tally tally, young;
    size_t young_left;
    int given_back;
    int count_before; /* objects when the pause began */
    int *queue;
    /* The cycle under way. */
    bool in_cycle, cycle_is_exact, cycle_ended;
    uint64_t abandoned, failed_before;
    uint64_t cycles, batches, exact_cycles, cycle_deaths;
    bool is_incremental; /* the program's mode; it may change the collector's */
    unsigned steps;      /* after each operation */
    neve_host host; /* stands before the native one */
    const neve_host *native_host;
    uint64_t collections, exact_collections, deaths, collected, resurrections, failures;
    bool is_armed; /* an allocation is going to fail */
} oracle;

typedef struct oracle_node {
    neve_var_object var;
    size_t id;
    neve_object *slots[];
} oracle_node;

typedef struct oracle_leaf {
    neve_object base;
    size_t id;
} oracle_leaf;

__attribute__((format(printf, 2, 3), noreturn)) static void oracle_fail(const oracle *o,
                                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "oracle: %s, operation %zu (byte %zu): ", o->name, o->operation, o->at);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

#define ORACLE_CHECK(o, x, ...)                                                                    \
    do {                                                                                           \
        if (!(x))                                                                                  \
            oracle_fail(o, __VA_ARGS__);                                                           \
    } while (0)

static oracle *oracle_of(neve_runtime *runtime)
{
    return neve_runtime_data(runtime);
}

static unsigned oracle_byte(oracle *o)
{
    return o->at < o->size ? o->data[o->at++] : 0;
}

static bool is_node(const oracle_object *m)
{
    return m->kind == ORACLE_NODE || m->kind == ORACLE_NODE_UNCLEARABLE;
}

/* The latest object at that address: earlier ones are dead. */
static int oracle_find(const oracle *o, const void *native)
{
    for (int id = o->count - 1; id >= 0; id--) {
        if (o->objects[id].native == native)
            return id;
    }
    return ORACLE_NONE;
}

/* ---- references in the model ---- */

static void model_unref(oracle *o, int id);
static void model_revived(oracle *o, int id);

/* The reference to `arg` of a weak reference that died, was called or was cleared. */
static void model_drop_arg(oracle *o, int id)
{
    int arg = o->objects[id].arg;
    o->objects[id].arg = ORACLE_NONE;
    model_unref(o, arg);
}

static void model_ref(oracle *o, int id)
{
    if (id == ORACLE_NONE)
        return;
    ORACLE_CHECK(o, o->objects[id].alive, "the oracle itself uses dead object %d", id);
    ORACLE_CHECK(o, !o->objects[id].condemned, "condemned object %d is handed out", id);
    if (o->objects[id].must_go)
        model_revived(o, id);
    o->objects[id].refs++;
}

static void model_unref(oracle *o, int id)
{
    if (id == ORACLE_NONE)
        return;
    oracle_object *m = &o->objects[id];
    ORACLE_CHECK(o, m->refs > 0, "the oracle itself is wrong: object %d", id);
    /* Weak references have no hook that tells of their death. */
    if (--m->refs == 0 && m->kind == ORACLE_WEAKREF && !m->immortal) {
        m->alive = false;
        model_drop_arg(o, id);
        for (int w = 0; w < o->count; w++) {
            oracle_object *ref = &o->objects[w];
            if (ref->kind != ORACLE_WEAKREF || ref->target != id || ref->is_clear)
                continue;
            ref->is_clear = true;
            ref->owed = ref->alive && ref->has_callback && !(o->collecting && ref->garbage);
        }
    }
    /* Objects without `clear` give their references up by way of `traverse`. */
    if (m->refs == 0 && m->kind == ORACLE_NODE_UNCLEARABLE && !m->immortal) {
        for (unsigned i = 0; i < m->slots; i++) {
            int value = m->slot[i];
            m->slot[i] = ORACLE_NONE;
            model_unref(o, value);
        }
    }
}

/* ---- reachability in the model ---- */

static void model_touch(oracle *o, int id, int *tail)
{
    if (id != ORACLE_NONE && !o->objects[id].touched) {
        o->objects[id].touched = true;
        o->queue[(*tail)++] = id;
    }
}

static void model_touch_all(oracle *o, int head, int *tail)
{
    while (head < *tail) {
        oracle_object *m = &o->objects[o->queue[head++]];
        if (m->kind == ORACLE_WEAKREF)
            model_touch(o, m->arg, tail);
        for (unsigned i = 0; i < m->slots; i++)
            model_touch(o, m->slot[i], tail);
    }
}

/* Sets `touched` on everything that is reachable from outside the flagged
 * candidates: handles, immortal objects, and all that is no candidate. */
static void model_reach(oracle *o, bool among_garbage)
{
    int tail = 0;
    for (int id = 0; id < o->count; id++)
        o->objects[id].touched = false;
    for (int h = 0; h < ORACLE_HANDLES; h++)
        model_touch(o, o->handle_ids[h], &tail);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        bool inside = among_garbage ? m->garbage : m->candidate;
        if (m->alive && (m->immortal || m->pinned || m->listed || !inside))
            model_touch(o, id, &tail);
    }
    model_touch_all(o, 0, &tail);
}

/* The object got a new reference, perhaps from something live: it, and what it
 * reaches, is not owed any more by the cycle under way. */
static void model_revived(oracle *o, int id)
{
    bool touched[ORACLE_IDS];
    int tail = 0;
    for (int i = 0; i < o->count; i++) {
        touched[i] = o->objects[i].touched;
        o->objects[i].touched = false;
    }
    model_touch(o, id, &tail);
    model_touch_all(o, 0, &tail);
    for (int i = 0; i < o->count; i++) {
        if (o->objects[i].touched)
            o->objects[i].must_go = false;
        o->objects[i].touched = touched[i];
    }
}

/* ---- what collections do, as the hooks see it ---- */

/* Of the candidates, garbage is what nothing outside them reaches. */
static void garbage_find(oracle *o)
{
    model_reach(o, false);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->garbage = m->candidate && !m->touched;
    }
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->must_call = m->kind == ORACLE_WEAKREF && m->alive && !m->garbage && !m->condemned &&
                       m->has_callback && !m->is_clear && o->objects[m->target].garbage;
    }
}

static void garbage_forget(oracle *o)
{
    o->decided = o->hooked = false;
    o->given_back = 0;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->candidate = m->garbage = m->rescued = m->must_call = m->given_back = false;
    }
}

static void collection_begin(void *ctx, const neve_collection *collection)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, !o->collecting, "a collection inside a collection");
    o->collecting = true;
    o->slicing = o->is_part_over = o->has_condemned = false;
    o->failed = false;
    o->strict = o->depth == 0;
    /* Has the allocation failed that was to fail? Then all is exact again. */
    if (neve_runtime_heap(o->runtime)->fail_in == 0)
        o->is_armed = false;
    o->tally = o->young = (oracle_tally){0};
    o->young_left = 0;
    o->count_before = o->count;
    o->collections++;
    garbage_forget(o);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        /* Objects without references are in the middle of being disposed of
         * (possible only when finalizers collect). */
        m->candidate =
            m->alive && m->kind != ORACLE_LEAF && m->refs > 0 && !m->condemned &&
            neve_collector_generation_of(o->collector, m->native) <= collection->generation;
    }
    /* A mere slice comes without a collection. */
    o->is_part_over = !collection->is_explicit && collection->generation == 2 &&
                      neve_collector_mode(o->collector) == NEVE_MODE_INCREMENTAL;
    if (o->is_part_over)
        garbage_forget(o);
    else
        garbage_find(o);
}

/* Code of the program runs, or is about to: weak references to the garbage of
 * the collection under way are clear by now. */
static void collection_hooked(oracle *o)
{
    if (!o->collecting || o->hooked)
        return;
    o->hooked = true;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (m->kind == ORACLE_WEAKREF && m->target != ORACLE_NONE && o->objects[m->target].garbage)
            m->is_clear = true;
    }
}

/* The second verification is over: what is garbage now will be cleared. */
static void collection_decided(oracle *o)
{
    if (!o->collecting || o->decided)
        return;
    collection_hooked(o);
    o->decided = true;
    model_reach(o, true);
    int alive = 0;
    for (int id = 0; id < o->count; id++)
        alive += o->objects[id].garbage && o->objects[id].alive;
    /* Without memory to verify a second time all of it lives on. */
    bool has_given_up = o->is_armed && o->given_back == alive;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (!m->garbage)
            continue;
        ORACLE_CHECK(o, !o->strict || m->finalized == (m->deed != ORACLE_NOTHING),
                     "the finalizer of dead object %d has run %d times", id, m->finalized);
        m->rescued = m->alive && (m->touched || has_given_up);
        ORACLE_CHECK(o, !o->strict || m->rescued == m->given_back,
                     "object %d is taken for %s after the finalizers", id,
                     m->given_back ? "alive" : "dead");
        o->tally.revived += m->rescued;
        m->condemned = m->alive && !m->rescued;
        if (m->rescued)
            m->must_go = false;
        /* What finalizers took apart has died by its count, and is not counted
         * as collected; of the chains among it, some may be left. */
        if (m->alive ? m->refs == m->held : m->kind == ORACLE_WEAKREF)
            o->tally.may_be_counted++;
        else if (m->condemned)
            o->tally.doomed++;
    }
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (m->kind != ORACLE_WEAKREF)
            continue;
        ORACLE_CHECK(o, !o->strict || !m->must_call || m->called == 1,
                     "callback of weak reference %d ran %d times", id, m->called);
        if (m->target != ORACLE_NONE && o->objects[m->target].garbage &&
            !o->objects[m->target].rescued)
            m->is_clear = true;
        if (m->garbage && !m->rescued)
            m->is_clear = true;
    }
}

/* A collection that finishes what it begins is over; a slice may follow. */
static void collection_finish(oracle *o)
{
    bool exact = o->strict && !o->is_armed;
    if (o->is_part_over)
        return;
    o->is_part_over = true;
    if (!o->has_condemned) {
        /* Nothing was dead, or not all were candidates, or there was no memory. */
        for (int id = 0; id < o->count && exact && !o->collector->is_partial; id++)
            ORACLE_CHECK(o, !o->objects[id].garbage, "garbage was not found: object %d", id);
        garbage_forget(o);
        return;
    }
    collection_decided(o);
    o->young_left = 0;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (!m->garbage || m->rescued)
            continue;
        o->young_left += m->alive;
        if (!exact || !m->alive)
            continue;
        /* Alive by the references of an unclearable object only. */
        ORACLE_CHECK(o, m->refs > 0, "dead object %d was not freed", id);
        ORACLE_CHECK(o, !is_node(m) || m->kind == ORACLE_NODE_UNCLEARABLE || m->was_cleared,
                     "dead object %d was not cleared (kind %d)", id, (int)m->kind);
    }
    bool unclearable = false;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        unclearable |= m->garbage && !m->rescued && m->alive && m->kind == ORACLE_NODE_UNCLEARABLE;
    }
    ORACLE_CHECK(o, !exact || o->young_left == 0 || unclearable, "%zu dead objects were not freed",
                 o->young_left);
    o->young = o->tally;
    o->tally = (oracle_tally){0};
}

static void tally_check(oracle *o, const char *what, const oracle_tally *tally, size_t collected,
                        size_t left)
{
    size_t least = (size_t)(tally->doomed + tally->died_with_callback) - left;
    ORACLE_CHECK(o, collected >= least && collected <= least + (size_t)tally->may_be_counted,
                 "%s: collected %zu, must be %zu and up to %d more", what, collected, least,
                 tally->may_be_counted);
    o->collected += collected;
}

/* What a cycle that begins now owes: frozen objects are no candidates of it, nor is
 * what the finalizers of the collection before it have just made, which is young
 * (and can hold what they revived). */
static void cycle_begins(oracle *o)
{
    neve_collector_stats stats;
    neve_collector_get_stats(o->collector, &stats);
    o->in_cycle = true;
    o->cycle_ended = false; /* one that a finalizer ended: too late to look */
    o->cycle_is_exact = o->strict && !o->is_armed;
    o->abandoned = stats.cycle.abandoned;
    o->failed_before = stats.failed;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->candidate = m->alive && m->kind != ORACLE_LEAF && !m->condemned &&
                       id < o->count_before &&
                       neve_collector_generation_of(o->collector, m->native) != 3;
    }
    model_reach(o, false);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->must_go = m->candidate && !m->touched;
    }
}

/* A cycle has ended since the last operation: is all gone that had to? */
static void cycle_check(oracle *o)
{
    neve_collector_stats stats;
    neve_collector_get_stats(o->collector, &stats);
    if (o->in_cycle && stats.cycle.abandoned != o->abandoned)
        o->in_cycle = false;
    if (!o->cycle_ended)
        return;
    o->cycle_ended = false;
    o->cycles++;
    if (!o->cycle_is_exact || o->is_armed || stats.failed != o->failed_before)
        return;
    o->exact_cycles++;
    for (int id = 0; id < o->count; id++)
        o->objects[id].candidate = true;
    model_reach(o, false); /* from what is listed as uncollectable, too */
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        ORACLE_CHECK(o, !m->must_go || !m->alive || m->touched,
                     "object %d was garbage when the cycle began, and is left when it ends", id);
        o->cycle_deaths += m->must_go && !m->alive;
        m->must_go = m->candidate = false;
    }
}

static void pause_ends(oracle *o, const neve_collection *collection)
{
    const nv_cycle *cycle = &o->collector->cycle;
    collection_decided(o);
    garbage_forget(o);
    o->collecting = o->slicing = false;
    o->cycle_ended |= o->in_cycle && collection->ended_cycle;
    if (o->cycle_ended || cycle->phase == NV_CYCLE_IDLE)
        o->in_cycle = false;
    for (int id = 0; id < o->count && o->collector->later.items.count == 0; id++)
        ORACLE_CHECK(o, !o->objects[id].alive || !o->objects[id].condemned,
                     "condemned object %d was not freed", id);
}

static void collection_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, status == NEVE_ENOMEM, "a collection failed with %s", neve_status_name(status));
    ORACLE_CHECK(o, o->slicing || !o->has_condemned, "a collection failed, and had begun to reclaim");
    o->failed = true;
    o->failures++;
    collection_finish(o);
    pause_ends(o, collection);
}

static void collection_end(void *ctx, const neve_collection *collection)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, o->collecting, "an end without a beginning");
    bool exact = o->strict && !o->is_armed;
    collection_finish(o);
    collection_decided(o);
    if (exact) {
        ORACLE_CHECK(o, collection->uncollectable - collection->cycle_uncollectable == o->young_left,
                     "%zu uncollectable, must be %zu", collection->uncollectable, o->young_left);
        tally_check(o, "collection", &o->young,
                    collection->collected - collection->cycle_collected, o->young_left);
        if (collection->cycle_uncollectable == 0)
            tally_check(o, "slice", &o->tally, collection->cycle_collected, 0);
        int revived = o->young.revived + o->tally.revived;
        ORACLE_CHECK(o, collection->resurrected == (size_t)revived, "resurrected %zu, must be %d",
                     collection->resurrected, revived);
        o->exact_collections++;
        o->resurrections += (uint64_t)revived;
    }
    pause_ends(o, collection);
}

/* ---- between the collector and the native host ---- */

static void host_begin(void *ctx, int generation, bool is_slice)
{
    oracle *o = oracle_of(ctx);
    (void)generation;
    if (!is_slice)
        return;
    ORACLE_CHECK(o, o->collecting, "a slice outside a pause");
    collection_finish(o);
    o->slicing = true;
    o->has_condemned = false;
    garbage_forget(o);
    neve_collector_stats stats;
    neve_collector_get_stats(o->collector, &stats);
    if (o->in_cycle && stats.cycle.abandoned != o->abandoned)
        o->in_cycle = false;
    if (!o->in_cycle && o->collector->cycle.phase == NV_CYCLE_WHITEN)
        cycle_begins(o);
}

static void host_retain(void *ctx, void *const *objects, size_t n)
{
    oracle *o = oracle_of(ctx);
    for (size_t i = 0; i < n; i++) {
        oracle_object *m = &o->objects[oracle_find(o, objects[i])];
        m->refs++;
        m->held++;
    }
    o->native_host->retain(ctx, objects, n);
}

static void host_release(void *ctx, void *const *objects, size_t n)
{
    oracle *o = oracle_of(ctx);
    if (o->given_back > 0)
        collection_decided(o);
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].held > 0,
                     "object %d is released without having been retained", id);
        o->objects[id].held--;
        model_unref(o, id);
        o->native_host->release(ctx, &objects[i], 1);
    }
}

static void host_clear(void *ctx, void *const *objects, size_t n)
{
    oracle *o = oracle_of(ctx);
    collection_decided(o);
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].condemned,
                     "object %d is cleared, and is not condemned", id);
        /* Weak references have no hook of their own. */
        if (o->objects[id].kind == ORACLE_WEAKREF)
            model_drop_arg(o, id);
        o->native_host->clear(ctx, &objects[i], 1);
    }
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    oracle *o = oracle_of(ctx);
    neve_collector *c = o->collector;
    ORACLE_CHECK(o, o->collecting, "something is condemned outside a pause");
    if (o->slicing || c->is_partial) {
        /* Which candidates there are is the collector's choice. */
        if (o->has_condemned)
            collection_decided(o); /* the last batch: all of it was revived */
        garbage_forget(o);
        for (size_t i = 0; i < c->candidates.count; i++) {
            int id = oracle_find(o, c->candidates.items[i]);
            ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].alive && !o->objects[id].condemned,
                         "object %d is a candidate", id);
            o->objects[id].candidate = true;
        }
        garbage_find(o);
        o->batches += o->slicing;
    }
    size_t garbage = 0;
    for (int id = 0; id < o->count; id++)
        garbage += o->objects[id].garbage;
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].garbage, "live object %d is condemned",
                     id);
    }
    ORACLE_CHECK(o, n == garbage || !o->strict, "%zu objects are condemned, must be %zu", n,
                 garbage);
    o->has_condemned = true;
    o->native_host->condemn(ctx, objects, n, ran_code);
}

static size_t host_clear_weakrefs(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                                  bool *ran_code)
{
    oracle *o = oracle_of(ctx);
    /* Those that are revived are told of later: see host_promote. */
    if (pass == NEVE_WEAKREFS_AFTER_FINALIZERS) {
        for (size_t i = 0; i < n; i++) {
            int id = oracle_find(o, objects[i]);
            for (int w = 0; w < o->count; w++)
                if (o->objects[w].kind == ORACLE_WEAKREF && o->objects[w].target == id)
                    o->objects[w].is_clear = true;
        }
    }
    return o->native_host->clear_weakrefs(ctx, objects, n, pass, ran_code);
}

static void host_promote(void *ctx, void *const *objects, size_t n, int generation)
{
    oracle *o = oracle_of(ctx);
    for (size_t i = 0; i < n; i++) {
        oracle_object *m = &o->objects[oracle_find(o, objects[i])];
        if (o->collecting && m->garbage && !o->decided && m->held > 0) {
            m->given_back = true;
            o->given_back++;
        }
        m->condemned = false; /* something refers to it still, nothing could clear that */
    }
    o->native_host->promote(ctx, objects, n, generation);
}

static void host_install(oracle *o)
{
    o->native_host = o->collector->host;
    o->host = *o->native_host;
    o->host.begin = host_begin;
    o->host.retain = host_retain;
    o->host.release = host_release;
    o->host.clear = host_clear;
    o->host.condemn = host_condemn;
    o->host.clear_weakrefs = host_clear_weakrefs;
    o->host.promote = host_promote;
    o->collector->host = &o->host;
}

/* ---- weak references ---- */

/* Reads every weak reference that a handle holds. */
static void oracle_look(oracle *o)
{
    for (int h = 0; h < ORACLE_HANDLES; h++) {
        int id = o->handle_ids[h];
        if (id == ORACLE_NONE || o->objects[id].kind != ORACLE_WEAKREF)
            continue;
        oracle_object *m = &o->objects[id];
        neve_object *got = neve_weakref_get(o->runtime, o->handles[h]);
        if (got != NULL) {
            oracle_object *target = &o->objects[m->target];
            /* A weak reference that only awaits its callback is alive still. */
            bool waits = target->kind == ORACLE_WEAKREF && o->depth > 0;
            ORACLE_CHECK(o, got == target->native && (waits || (!m->is_clear && target->alive)),
                         "weak reference %d gives what is dead, object %d", id, m->target);
            ORACLE_CHECK(o, !target->condemned, "weak reference %d gives condemned object %d", id,
                         m->target);
            ORACLE_CHECK(o, !target->was_cleared || target->listed,
                         "weak reference %d gives a cleared object, %d", id, m->target);
            ORACLE_CHECK(o, neve_count(got) > 1, "weak reference %d resurrects", id);
            neve_release(o->runtime, got);
        } else if (o->depth == 0) {
            ORACLE_CHECK(o, m->is_clear, "weak reference %d is dead, object %d is not", id,
                         m->target);
        }
    }
}

/* ---- actions on both heaps ---- */

static void act_handle(oracle *o, int h, int id)
{
    int old_id = o->handle_ids[h];
    neve_object *old = o->handles[h];
    model_ref(o, id);
    o->handle_ids[h] = id;
    o->handles[h] = id == ORACLE_NONE ? NULL : neve_retain(o->objects[id].native);
    model_unref(o, old_id);
    neve_release(o->runtime, old);
}

static void act_slot(oracle *o, int id, unsigned slot, int value)
{
    oracle_object *m = &o->objects[id];
    oracle_node *node = (oracle_node *)m->native;
    int old_id = m->slot[slot];
    neve_object *old = node->slots[slot];
    model_ref(o, value);
    m->slot[slot] = (int16_t)value;
    node->slots[slot] = value == ORACLE_NONE ? NULL : neve_retain(o->objects[value].native);
    model_unref(o, old_id);
    neve_release(o->runtime, old);
}

static int oracle_register(oracle *o, neve_object *native, oracle_kind kind)
{
    for (int id = 0; id < o->count; id++)
        ORACLE_CHECK(o, !o->objects[id].alive || o->objects[id].native != native,
                     "object %d was freed before its time", id);
    int id = o->count++;
    o->objects[id] = (oracle_object){
        .native = native, .kind = kind, .alive = true, .target = ORACLE_NONE, .arg = ORACLE_NONE};
    return id;
}

/* Moves the reference that creation gave into a handle. What the handle held
 * may die of that, and its finalizer drop the new object: ORACLE_NONE then. */
static int act_adopt(oracle *o, int h, int id)
{
    o->objects[id].refs++; /* the creation's */
    act_handle(o, h, id);
    model_unref(o, id);
    neve_release(o->runtime, o->objects[id].native);
    return o->handle_ids[h] == id ? id : ORACLE_NONE;
}

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    oracle_node *node = (oracle_node *)object;
    /* Large nodes in two pieces. */
    size_t end = node->var.length;
    if (end > 40 && *cursor == 0)
        end = 40;
    for (size_t i = *cursor; i < end; i++) {
        if (node->slots[i] != NULL && visit(node->slots[i], arg) != 0) {
            *cursor = 0;
            return;
        }
    }
    *cursor = end < node->var.length ? end : 0;
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    oracle *o = oracle_of(runtime);
    oracle_node *node = (oracle_node *)object;
    int id = (int)node->id;
    oracle_object *m = &o->objects[id];
    ORACLE_CHECK(o, m->alive, "object %d is cleared after its death", id);
    /* (What has no references dies by its count: finalizers took it apart.) */
    ORACLE_CHECK(o, m->refs == 0 || m->condemned, "live object %d is cleared (%d references)", id,
                 m->refs);
    m->was_cleared = true;
    for (unsigned i = 0; i < m->slots; i++)
        act_slot(o, id, i, ORACLE_NONE);
}

static void hook_dealloc(oracle *o, int id)
{
    oracle_object *m = &o->objects[id];
    ORACLE_CHECK(o, m->alive, "object %d dies twice", id);
    ORACLE_CHECK(o, m->refs == 0 && !m->immortal && !m->pinned, "object %d dies with %d references",
                 id, m->refs);
    ORACLE_CHECK(o, m->finalized == (m->deed != ORACLE_NOTHING),
                 "object %d dies, its finalizer has run %d times", id, m->finalized);
    m->alive = false;
    o->deaths++;
    for (int w = 0; w < o->count; w++) {
        oracle_object *ref = &o->objects[w];
        if (ref->kind != ORACLE_WEAKREF || ref->target != id || ref->is_clear)
            continue;
        ref->is_clear = true;
        if (ref->alive && ref->has_callback && !ref->condemned &&
            !(o->collecting && ref->garbage && !ref->rescued))
            ORACLE_CHECK(o, ref->called == 1, "callback of weak reference %d has run %d times", w,
                         ref->called);
    }
}

static void node_dealloc(neve_runtime *runtime, neve_object *object)
{
    oracle *o = oracle_of(runtime);
    int id = (int)((oracle_node *)object)->id;
    hook_dealloc(o, id);
}

static void leaf_dealloc(neve_runtime *runtime, neve_object *object)
{
    hook_dealloc(oracle_of(runtime), (int)((oracle_leaf *)object)->id);
}

static void node_finalize(neve_runtime *runtime, neve_object *object);

#define NODE_TYPE(type_name, clear_fn, finalize_fn)                                                \
    {                                                                                              \
        .name = type_name, .size = sizeof(oracle_node), .item_size = sizeof(neve_object *),        \
        .flags = NEVE_TYPE_CONTAINER, .traverse = node_traverse, .clear = clear_fn,                \
        .finalize = finalize_fn, .dealloc = node_dealloc,                                          \
    }
static const neve_type oracle_node_type = NODE_TYPE("node", node_clear, NULL);
static const neve_type oracle_finalized_type = NODE_TYPE("node+", node_clear, node_finalize);
static const neve_type oracle_unclearable_type = NODE_TYPE("unclearable", NULL, NULL);
static const neve_type oracle_leaf_type = {
    .name = "leaf", .size = sizeof(oracle_leaf), .dealloc = leaf_dealloc};

/* New objects go into handle `h`; ORACLE_NONE without memory. */
static int act_new_node(oracle *o, int h, unsigned slots, oracle_deed deed, bool unclearable)
{
    if (o->count >= ORACLE_IDS)
        return ORACLE_NONE;
    const neve_type *type = unclearable              ? &oracle_unclearable_type
                            : deed == ORACLE_NOTHING ? &oracle_node_type
                                                     : &oracle_finalized_type;
    neve_object *native = neve_object_new_var(o->runtime, type, slots);
    if (native == NULL)
        return ORACLE_NONE;
    int id = oracle_register(o, native, unclearable ? ORACLE_NODE_UNCLEARABLE : ORACLE_NODE);
    oracle_object *m = &o->objects[id];
    m->deed = unclearable ? ORACLE_NOTHING : deed;
    m->slots = slots;
    for (unsigned i = 0; i < slots; i++) {
        ORACLE_CHECK(o, ((oracle_node *)native)->slots[i] == NULL, "a new object is not zeroed");
        m->slot[i] = ORACLE_NONE;
    }
    ((oracle_node *)native)->id = (size_t)id;
    return act_adopt(o, h, id);
}

static int act_new_leaf(oracle *o, int h)
{
    if (o->count >= ORACLE_IDS)
        return ORACLE_NONE;
    neve_object *native = neve_object_new(o->runtime, &oracle_leaf_type);
    if (native == NULL)
        return ORACLE_NONE;
    int id = oracle_register(o, native, ORACLE_LEAF);
    ((oracle_leaf *)native)->id = (size_t)id;
    return act_adopt(o, h, id);
}

static void weakref_called(neve_runtime *runtime, neve_object *weakref, neve_object *arg);

static int act_new_weakref(oracle *o, int h, int target, int arg, oracle_deed deed)
{
    if (o->count >= ORACLE_IDS)
        return ORACLE_NONE;
    neve_object *native = neve_weakref_new(o->runtime, o->objects[target].native,
                                           deed == ORACLE_NOTHING ? NULL : weakref_called,
                                           arg == ORACLE_NONE ? NULL : o->objects[arg].native);
    if (native == NULL)
        return ORACLE_NONE;
    int id = oracle_register(o, native, ORACLE_WEAKREF);
    oracle_object *m = &o->objects[id];
    m->target = target;
    m->arg = arg;
    m->deed = ORACLE_NOTHING;
    m->has_callback = deed != ORACLE_NOTHING;
    m->slots = 0;
    m->slot[0] = (int16_t)deed;
    model_ref(o, arg);
    return act_adopt(o, h, id);
}

/* ---- what finalizers and callbacks do ---- */

static void oracle_do(oracle *o, int self, oracle_deed deed, bool is_finalizer)
{
    oracle_object *m = &o->objects[self];
    int h = self * 7 % ORACLE_HANDLES;
    switch (deed) {
    case ORACLE_STAY:
        if (is_finalizer)
            act_handle(o, h, self);
        for (int i = 0; !is_finalizer && i < ORACLE_HANDLES; i++) {
            if (o->handle_ids[i] == self)
                act_handle(o, i, ORACLE_NONE);
        }
        break;
    case ORACLE_STAY_IN:
        for (int i = 0; is_finalizer && i < ORACLE_HANDLES; i++) {
            int id = o->handle_ids[(h + i) % ORACLE_HANDLES];
            if (id != ORACLE_NONE && is_node(&o->objects[id]) && o->objects[id].slots > 0) {
                act_slot(o, id, (unsigned)self % o->objects[id].slots, self);
                break;
            }
        }
        break;
    case ORACLE_SELF_WEAKREF:
        if (is_finalizer)
            act_new_weakref(o, h, self, ORACLE_NONE, self % 2 == 0 ? ORACLE_LOOK : ORACLE_NOTHING);
        break;
    case ORACLE_NEW_PARTNER:
        if (is_finalizer && m->slots > 0) {
            int partner = act_new_node(o, h, 2, ORACLE_LOOK, false);
            if (partner != ORACLE_NONE) {
                act_slot(o, partner, 0, self);
                if (o->handle_ids[h] == partner)
                    act_slot(o, self, 0, partner);
                if (self % 3 != 0)
                    act_handle(o, h, ORACLE_NONE);
            }
        }
        break;
    case ORACLE_DROP_HANDLE:
        act_handle(o, h, ORACLE_NONE);
        break;
    case ORACLE_DROP_SLOTS:
        for (unsigned i = 0; is_finalizer && i < m->slots; i++)
            act_slot(o, self, i, ORACLE_NONE);
        break;
    case ORACLE_COLLECT: {
        bool nested = neve_collector_is_collecting(o->collector);
        if (neve_collector_mode(o->collector) == NEVE_MODE_INCREMENTAL && self % 2 == 0) {
            bool has_more = neve_step(o->collector, 0, NULL);
            ORACLE_CHECK(o, !nested || !has_more, "a step inside a collection");
            break;
        }
        neve_status status = neve_collect(o->collector, self % NEVE_GENERATIONS, NULL);
        ORACLE_CHECK(o, (status == NEVE_EBUSY) == nested, "a nested collection gives %s",
                     neve_status_name(status));
        break;
    }
    case ORACLE_POLL:
        neve_poll(o->collector, &o->breaker);
        break;
    default:
        break;
    }
    oracle_look(o);
}

static void node_finalize(neve_runtime *runtime, neve_object *object)
{
    oracle *o = oracle_of(runtime);
    int id = (int)((oracle_node *)object)->id;
    oracle_object *m = &o->objects[id];
    collection_hooked(o);
    ORACLE_CHECK(o, m->alive && !m->was_cleared, "the finalizer of object %d runs too late", id);
    ORACLE_CHECK(o, ++m->finalized == 1, "the finalizer of object %d runs again", id);
    ORACLE_CHECK(o, m->refs == 0 || (o->collecting && m->garbage && !o->decided),
                 "the finalizer of live object %d runs", id);
    m->pinned = m->refs == 0;
    o->depth++;
    oracle_do(o, id, m->deed, true);
    o->depth--;
    m->pinned = false;
}

static void weakref_called(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    oracle *o = oracle_of(runtime);
    int id = oracle_find(o, weakref);
    oracle_object *m = &o->objects[id];
    collection_hooked(o);
    ORACLE_CHECK(o, m->kind == ORACLE_WEAKREF && m->has_callback, "a callback of object %d", id);
    ORACLE_CHECK(o, ++m->called == 1, "the callback of weak reference %d runs again", id);
    ORACLE_CHECK(o, neve_weakref_get(runtime, weakref) == NULL,
                 "weak reference %d is not dead in its callback", id);
    ORACLE_CHECK(o, arg == NULL || !m->alive || arg == o->objects[m->arg].native,
                 "the callback of weak reference %d gets a wrong argument", id);
    bool by_collection = o->collecting && m->must_call;
    ORACLE_CHECK(o, by_collection || o->objects[m->target].refs == 0,
                 "the callback of weak reference %d runs, object %d lives", id, m->target);
    ORACLE_CHECK(o, !m->condemned && !(o->collecting && m->garbage && !m->rescued),
                 "the callback of dead weak reference %d runs", id);
    m->is_clear = true;
    bool was_alive = m->alive;
    o->depth++;
    m->refs++; /* the caller's */
    m->alive = true;
    oracle_do(o, id, (oracle_deed)m->slot[0], false);
    o->depth--;
    /* The argument, let go of right after this, can be what holds it. */
    bool may_die = m->arg != ORACLE_NONE;
    if (was_alive)
        model_drop_arg(o, id);
    model_unref(o, id);
    if (by_collection && m->refs == 0 && !m->immortal)
        o->tally.died_with_callback++;
    else if (by_collection && may_die)
        o->tally.may_be_counted++;
}

/* ---- between operations ---- */

typedef struct oracle_walk {
    oracle *o;
    int found;
} oracle_walk;

static int visit_walked(void *object, void *arg)
{
    oracle_walk *walk = arg;
    int id = oracle_find(walk->o, object);
    ORACLE_CHECK(walk->o, id != ORACLE_NONE && walk->o->objects[id].alive,
                 "a listing of objects shows what is dead");
    ORACLE_CHECK(walk->o, !walk->o->objects[id].condemned,
                 "a listing of objects shows condemned object %d", id);
    walk->found++;
    return 0;
}

static void oracle_check(oracle *o, bool thorough)
{
    size_t containers = 0, large = 0;
    /* What was listed as uncollectable since. */
    for (; (size_t)o->listed < neve_uncollectable_count(o->runtime); o->listed++) {
        int id = oracle_find(o, neve_uncollectable_get(o->runtime, (size_t)o->listed));
        ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].alive && !o->objects[id].listed,
                     "object %d is listed as uncollectable", id);
        o->objects[id].listed = true;
        model_ref(o, id);
    }
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (!m->alive)
            continue;
        ORACLE_CHECK(o, m->refs > 0 || m->immortal, "object %d has no references and lives", id);
        ORACLE_CHECK(o, m->immortal || neve_count(m->native) == (uint32_t)m->refs,
                     "object %d has count %u, must be %d", id, neve_count(m->native), m->refs);
        ORACLE_CHECK(o, !m->owed || m->called == 1, "callback of weak reference %d did not run",
                     id);
        size_t bytes = sizeof(oracle_node) + m->slots * sizeof(neve_object *);
        if (m->kind == ORACLE_LEAF)
            continue;
        if (m->kind != ORACLE_WEAKREF && bytes > NEVE_SMALL_MAX)
            large++;
        else
            containers++;
    }
    oracle_look(o);
    cycle_check(o);
    if (!thorough)
        return;
    neve_heap_stats stats;
    neve_heap_get_stats(neve_runtime_heap(o->runtime), &stats);
    ORACLE_CHECK(o, stats.small_blocks[NEVE_DOMAIN_OBJECT] == containers,
                 "%zu containers in the heap, must be %zu", stats.small_blocks[NEVE_DOMAIN_OBJECT],
                 containers);
    ORACLE_CHECK(o, stats.large_blocks >= large, "%zu large blocks, at least %zu expected",
                 stats.large_blocks, large);
    char message[256];
    ORACLE_CHECK(o,
                 neve_heap_check(neve_runtime_heap(o->runtime), message, sizeof message) == NEVE_OK,
                 "heap: %s", message);
    neve_status status = neve_collector_check(o->collector, message, sizeof message);
    ORACLE_CHECK(o, status == NEVE_OK || status == NEVE_ENOMEM, "collector: %s", message);
    size_t frozen = 0;
    oracle_walk walk = {o, 0};
    (void)neve_collector_walk(o->collector, 2, visit_walked, &walk);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        walk.found -= m->alive && m->kind != ORACLE_LEAF && !m->condemned &&
                      neve_collector_generation_of(o->collector, m->native) == 2;
        frozen += m->alive && m->kind != ORACLE_LEAF &&
                  neve_collector_generation_of(o->collector, m->native) == 3;
    }
    ORACLE_CHECK(o, walk.found == 0, "a listing shows %d old objects too few", -walk.found);
    ORACLE_CHECK(o, neve_collector_frozen_count(o->collector) == frozen, "%zu frozen, must be %zu",
                 neve_collector_frozen_count(o->collector), frozen);
}

static int pick(oracle *o)
{
    return o->handle_ids[oracle_byte(o) % ORACLE_HANDLES];
}

static void oracle_collect(oracle *o, int generation)
{
    neve_collection result;
    o->failed = false;
    neve_status status = neve_collect(o->collector, generation, &result);
    ORACLE_CHECK(o, status == NEVE_OK || (status == NEVE_ENOMEM && o->failed), "collection: %s",
                 neve_status_name(status));
}

/* In the incremental mode most of the collections of a program are automatic ones
 * or slices: the others abandon the cycle. */
static void oracle_collect_or_step(oracle *o, unsigned what)
{
    int generation = (int)(what % NEVE_GENERATIONS);
    unsigned how = what / NEVE_GENERATIONS % 16;
    bool is_incremental = neve_collector_mode(o->collector) == NEVE_MODE_INCREMENTAL;
    if (!is_incremental || how == 0 || (how < 4 && generation < 2)) {
        oracle_collect(o, generation);
    } else if (how < 8) {
        o->failed = false;
        neve_status status = neve_collect_due(o->collector, generation, NULL);
        ORACLE_CHECK(o, status == NEVE_OK || (status == NEVE_ENOMEM && o->failed),
                     "collection: %s", neve_status_name(status));
    } else {
        for (unsigned i = 0; i < how; i++) {
            (void)neve_step(o->collector, how == 15 ? 200 : 0, NULL);
            oracle_check(o, false);
        }
    }
}

/* What programs for the other mode do not know; all of it may be done in any. */
static void oracle_set(oracle *o, unsigned what)
{
    switch (what % 16) {
    case 10:
        o->steps = what / 16 % 4;
        break;
    case 11: {
        neve_mode mode = what / 16 % 4 == 0 ? NEVE_MODE_GENERATIONAL : NEVE_MODE_INCREMENTAL;
        neve_status status = neve_collector_set_mode(o->collector, mode);
        ORACLE_CHECK(o, status == NEVE_OK, "set_mode: %s", neve_status_name(status));
        break;
    }
    case 12:
        neve_collector_drain(o->collector);
        break;
    case 13:
        neve_collector_set_pause_us(o->collector, 1 + what / 16 * 20);
        break;
    case 14:
        neve_heap_trim(neve_runtime_heap(o->runtime));
        break;
    default:
        break;
    }
}

static void oracle_step(oracle *o)
{
    unsigned op = oracle_byte(o) % 64;
    int h = (int)(oracle_byte(o) % ORACLE_HANDLES);
    int id = o->handle_ids[h];
    oracle_object *m = id == ORACLE_NONE ? NULL : &o->objects[id];
    bool is_immortal = m != NULL && m->immortal;
    if (op < 10) {
        unsigned shape = oracle_byte(o);
        unsigned slots = shape % 32 == 0 ? ORACLE_SLOTS : shape % 5;
        act_new_node(o, h, slots, ORACLE_NOTHING, shape % 61 == 3);
    } else if (op < 16) {
        unsigned shape = oracle_byte(o);
        act_new_node(o, h, 1 + shape / 16 % 4, (oracle_deed)(1 + shape % (ORACLE_DEEDS - 1)),
                     false);
    } else if (op < 30) {
        unsigned slot = oracle_byte(o);
        int value = pick(o);
        if (m != NULL && is_node(m) && m->slots > 0)
            act_slot(o, id, slot % m->slots, value);
    } else if (op < 34) {
        unsigned slot = oracle_byte(o);
        int from = pick(o);
        if (from != ORACLE_NONE && is_node(&o->objects[from]) && o->objects[from].slots > 0)
            act_handle(o, h, o->objects[from].slot[slot % o->objects[from].slots]);
    } else if (op < 41) {
        act_handle(o, h, ORACLE_NONE);
    } else if (op < 43) {
        /* A chain, at times longer than disposals may nest, or a ring. */
        unsigned length = oracle_byte(o), shape = oracle_byte(o);
        length = length % 8 == 0 ? length % 120 : length % 12;
        int first = ORACLE_NONE;
        for (unsigned i = 0; i < length; i++) {
            oracle_deed deed = i % 8 == shape % 16
                                   ? (oracle_deed)(1 + (i + shape / 16) % (ORACLE_DEEDS - 1))
                                   : ORACLE_NOTHING;
            int other = (h + 1) % ORACLE_HANDLES;
            int made = act_new_node(o, other, 1 + i % 2, deed, false);
            if (made == ORACLE_NONE)
                break;
            if (first == ORACLE_NONE)
                first = made;
            act_slot(o, made, 0, o->handle_ids[h]);
            if (o->handle_ids[other] != made)
                break; /* a finalizer that this set off */
            if (i % 2 == 1)
                act_slot(o, made, 1, o->handle_ids[(shape + i) % ORACLE_HANDLES]);
            if (o->handle_ids[other] != made)
                break;
            act_handle(o, h, made);
            act_handle(o, other, ORACLE_NONE);
        }
        if (first != ORACLE_NONE && shape % 4 != 0 && o->objects[first].alive)
            act_slot(o, first, 0, o->handle_ids[h]);
    } else if (op < 45) {
        act_new_leaf(o, h);
    } else if (op < 51) {
        int target = pick(o);
        int arg = pick(o);
        unsigned shape = oracle_byte(o);
        oracle_deed deed = shape % 2 == 0    ? ORACLE_NOTHING
                           : shape % 3 == 0  ? ORACLE_DROP_HANDLE
                           : shape % 5 == 0  ? ORACLE_STAY /* lets go of itself */
                           : shape % 7 == 0  ? ORACLE_COLLECT
                           : shape % 11 == 0 ? ORACLE_POLL
                                             : ORACLE_LOOK;
        if (shape % 5 != 0 || (arg != ORACLE_NONE && o->objects[arg].kind == ORACLE_WEAKREF))
            arg = ORACLE_NONE;
        if (target != ORACLE_NONE)
            act_new_weakref(o, h, target, arg, deed);
    } else if (op < 53) {
        int ref = pick(o);
        if (ref != ORACLE_NONE && o->objects[ref].kind == ORACLE_WEAKREF) {
            bool alive = !o->objects[ref].is_clear;
            act_handle(o, h, alive ? o->objects[ref].target : ORACLE_NONE);
        }
    } else if (op < 56) {
        oracle_collect_or_step(o, oracle_byte(o));
    } else if (op < 59) {
        neve_poll(o->collector, &o->breaker);
    } else if (op == 59) {
        unsigned what = oracle_byte(o);
        neve_status status = what % 3 == 0 ? neve_collector_freeze(o->collector)
                                           : neve_collector_unfreeze(o->collector);
        ORACLE_CHECK(o, status == NEVE_OK || status == NEVE_ENOMEM, "freeze: %s",
                     neve_status_name(status));
    } else if (op == 60) {
        act_handle(o, h, pick(o));
    } else if (op == 61) {
        unsigned what = oracle_byte(o);
        if (what % 16 == 0 && m != NULL && !is_immortal) {
            neve_make_immortal(m->native);
            m->immortal = true;
        } else if (what % 16 == 1) {
            neve_collector_disable(o->collector);
        } else if (what % 16 == 2) {
            neve_collector_enable(o->collector);
        } else if (what % 16 < 6) {
            uint32_t thresholds[NEVE_GENERATIONS] = {what % 16 == 3 ? 2000 : 8 + what / 16, 3, 3};
            neve_collector_set_thresholds(o->collector, thresholds);
        } else if (what % 16 < 10) {
            size_t listed = neve_uncollectable_count(o->runtime);
            for (size_t i = 0; i < listed; i++) {
                int l = oracle_find(o, neve_uncollectable_get(o->runtime, i));
                o->objects[l].listed = false;
                model_unref(o, l);
            }
            o->listed = 0;
            neve_uncollectable_clear(o->runtime);
        } else if (o->is_incremental) {
            oracle_set(o, what);
        }
    } else if (op == 62) {
        unsigned n = oracle_byte(o) % 64;
        o->is_armed = neve_heap_fail_alloc_at(neve_runtime_heap(o->runtime), n) == NEVE_OK && n > 0;
    } else {
        o->is_armed = false;
        (void)neve_heap_fail_alloc_at(neve_runtime_heap(o->runtime), 0);
        oracle_check(o, true);
    }
}

static void oracle_corrupt(void *ctx, const char *message)
{
    oracle_fail(ctx, "corruption: %s", message);
}

/* Makes cycles as long as they find anything. */
static void oracle_run_cycle(oracle *o)
{
    o->collector->cycle.changes = 1; /* dropping references is no change of its own */
    for (unsigned i = 0; neve_step(o->collector, i % 2 == 0 ? 0 : 20, NULL); i++)
        oracle_check(o, false);
}

/* Runs one program, the same in each mode, but for what only the incremental one
 * knows. Returns normally if the two heaps agree. */
static oracle oracle_run(const char *name, neve_mode mode, const uint8_t *data, size_t size)
{
    oracle state = {.name = name, .data = data, .size = size};
    oracle *o = &state;
    o->objects = malloc(ORACLE_IDS * sizeof *o->objects);
    o->queue = malloc(ORACLE_IDS * sizeof *o->queue);
    neve_collector_options collect = {
        .struct_size = sizeof collect, .mode = mode, .breaker = &o->breaker};
    o->is_incremental = mode == NEVE_MODE_INCREMENTAL;
    o->steps = o->is_incremental && size > 0 ? data[0] / 64 : 0;
    neve_heap_options heap_options = {.struct_size = sizeof heap_options,
                                      .on_corruption = oracle_corrupt,
                                      .on_corruption_ctx = o};
    neve_runtime_options options = {
        .struct_size = sizeof options, .heap = &heap_options, .collect = &collect};
    if (o->objects == NULL || o->queue == NULL ||
        neve_runtime_create(&options, &o->runtime) != NEVE_OK)
        oracle_fail(o, "no memory");
    neve_runtime_set_data(o->runtime, o);
    o->collector = neve_runtime_collector(o->runtime);
    host_install(o);
    neve_listener listener = {
        .begin = collection_begin, .end = collection_end, .failed = collection_failed, .ctx = o};
    neve_collector_set_listener(o->collector, &listener);
    for (int h = 0; h < ORACLE_HANDLES; h++) {
        o->handle_ids[h] = ORACLE_NONE;
        if (h < ORACLE_ROOTS && neve_root_add(o->runtime, &o->handles[h]) != NEVE_OK)
            oracle_fail(o, "no memory");
    }

    bool is_thorough = getenv("NEVE_ORACLE_THOROUGH") != NULL;
    while (o->at < o->size && o->count < ORACLE_IDS) {
        o->operation++;
        oracle_step(o);
        oracle_check(o, false);
        for (unsigned i = 0; i < o->steps; i++) {
            (void)neve_step(o->collector, 0, NULL);
            oracle_check(o, false);
        }
        if (is_thorough) { /* what needs no memory: allocations may be about to fail */
            char message[256];
            neve_status status =
                neve_heap_check(neve_runtime_heap(o->runtime), message, sizeof message);
            ORACLE_CHECK(o, status == NEVE_OK, "heap: %s", message);
        }
    }

    /* Whatever the program left: what no immortal object holds must go. */
    neve_heap *heap = neve_runtime_heap(o->runtime);
    (void)neve_heap_fail_alloc_at(heap, 0);
    o->is_armed = false;
    o->operation++;
    if (neve_collector_unfreeze(o->collector) != NEVE_OK)
        oracle_fail(o, "unfreeze failed");
    /* A round in which nothing dies may have revived what the next one reclaims. */
    uint64_t events = UINT64_MAX;
    for (int round = 0; round < 64 && events != o->deaths + o->resurrections; round++) {
        events = o->deaths + o->resurrections;
        for (int h = 0; h < ORACLE_HANDLES; h++)
            act_handle(o, h, ORACLE_NONE);
        oracle_check(o, true);
        if (neve_collector_mode(o->collector) == NEVE_MODE_INCREMENTAL)
            oracle_run_cycle(o);
        else
            oracle_collect(o, NEVE_GENERATIONS - 1);
        oracle_check(o, true);
    }
    for (int id = 0; id < o->count; id++)
        o->objects[id].candidate = true;
    model_reach(o, false);
    for (int id = 0; id < o->count; id++)
        ORACLE_CHECK(o, !o->objects[id].alive || o->objects[id].touched, "object %d is left", id);
    neve_collector_set_listener(o->collector, NULL);
    for (int h = ORACLE_ROOTS - 1; h >= 0; h--)
        neve_root_remove(o->runtime, &o->handles[h]);
    neve_runtime_destroy(o->runtime);
    free(o->objects);
    free(o->queue);
    return state;
}

#endif
