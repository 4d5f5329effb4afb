/* SPDX-License-Identifier: MIT */
/*
 * The oracle's model heap, and what it knows of a collection or a slice that is
 * under way: see oracle.h, which alone includes this.
 */
#ifndef NEVE_TESTS_ORACLE_MODEL_H
#define NEVE_TESTS_ORACLE_MODEL_H

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

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
    ORACLE_NODE_SLOTS,       /* its type says where its references lie, and has no functions */
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
    int held;         /* of `refs`, those of the collector */
    int noted;        /* likewise, as of a possible root: to it these are from outside */
    /* In the collection under way, or in the batch of a slice: */
    bool candidate, garbage, rescued, must_call;
    bool given_back; /* found alive by its second verification */
    bool condemned;  /* is going to be cleared, now or in a later slice */
    bool must_go;    /* garbage when the cycle under way began */
    bool touched;    /* scratch of the reachability */
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
    bool is_possible;   /* the candidates are what possible roots refer to */
    bool is_part_over;  /* the collection before the slice */
    bool has_condemned; /* in this collection or batch */
    oracle_tally tally, young;
    size_t young_left;
    size_t early; /* found uncollectable since the last pause, maybe for this one */
    int given_back;
    int count_before; /* objects when the pause began */
    int *queue;
    /* The cycle under way. */
    bool in_cycle, cycle_is_exact, cycle_ended;
    uint64_t abandoned, failed_before;
    uint64_t cycles, batches, exact_cycles, cycle_deaths;
    neve_mode mode;  /* the program's mode; it may change the collector's */
    bool has_cycles; /* that mode */
    unsigned steps;  /* after each operation */
    neve_host host;  /* stands before the native one */
    const neve_host *native_host;
    size_t discarded;           /* objects that were freed as a whole */
    size_t closed;              /* ... and referred to one another alone */
    uint64_t looks, looks_dead; /* at possible roots; objects found dead there */
    uint64_t collections, exact_collections, deaths, collected, resurrections, failures;
    uint64_t snapshots, killed;
    neve_cycle_stats last; /* of this program's cycles */
    bool is_armed;         /* an allocation is going to fail */
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
    return m->kind == ORACLE_NODE || m->kind == ORACLE_NODE_SLOTS ||
           m->kind == ORACLE_NODE_UNCLEARABLE;
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

/* What the library releases by itself. */
static void model_drop_slots(oracle *o, int id)
{
    oracle_object *m = &o->objects[id];
    for (unsigned i = 0; i < m->slots; i++) {
        int value = m->slot[i];
        m->slot[i] = ORACLE_NONE;
        model_unref(o, value);
    }
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
    bool is_silent = m->kind == ORACLE_NODE_UNCLEARABLE || m->kind == ORACLE_NODE_SLOTS;
    if (m->refs == 0 && is_silent && !m->immortal)
        model_drop_slots(o, id);
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
        if (m->alive && (m->immortal || m->pinned || m->listed || m->noted > 0 || !inside))
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
                      neve_mode_has_cycles(neve_collector_mode(o->collector));
    /* These are given back before any other collection begins, but for slices alone. */
    o->is_possible = o->collector->possible.count > 0 && !collection->is_slice;
    o->is_part_over &= !o->is_possible;
    o->looks += o->is_possible;
    if (o->is_part_over || o->is_possible)
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

/* Snapshot mode: one that has just begun is given a number of looks that find it at
 * work, or dies. Every other look finds its report: what a program does depends on
 * nothing but the program. */
static void snapshot_settle(oracle *o)
{
    nv_snapshot *s = &o->collector->snapshot;
    uint64_t begun = o->collector->cycle.stats.snapshots;
    if (o->collector->cycle.phase != NV_CYCLE_SNAPSHOT || s->child == 0 || begun == o->snapshots)
        return;
    o->snapshots = begun;
    uint32_t *is_ready = (uint32_t *)(void *)s->report;
    siginfo_t info;
    if (begun % 5 == 4) {
        (void)kill(s->child, SIGKILL);
        ORACLE_CHECK(o, waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOWAIT | __WALL) == 0,
                     "the child of a snapshot is not to be waited for");
        __atomic_store_n(is_ready, 0, __ATOMIC_RELEASE); /* if it was too fast */
        o->killed++;
        return;
    }
    while (__atomic_load_n(is_ready, __ATOMIC_ACQUIRE) == 0) {
        info.si_pid = 0;
        ORACLE_CHECK(
            o, waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0,
            "the child of a snapshot is gone");
        ORACLE_CHECK(o, info.si_pid == 0 || __atomic_load_n(is_ready, __ATOMIC_ACQUIRE) != 0,
                     "the child of a snapshot has died");
        sched_yield();
    }
    s->held_back = (unsigned)(o->operation % 7);
}

static void pause_ends(oracle *o, const neve_collection *collection)
{
    const nv_cycle *cycle = &o->collector->cycle;
    collection_decided(o);
    garbage_forget(o);
    o->collecting = o->slicing = false;
    o->early = 0;
    snapshot_settle(o);
    o->cycle_ended |= o->in_cycle && collection->ended_cycle;
    if (o->cycle_ended || cycle->phase == NV_CYCLE_IDLE)
        o->in_cycle = false;
    /* (Some of it may wait in a disposal by count, if a finalizer collects.) */
    bool is_over = o->strict && o->collector->later.items.count == 0;
    for (int id = 0; id < o->count && is_over; id++)
        ORACLE_CHECK(o, !o->objects[id].alive || !o->objects[id].condemned,
                     "condemned object %d was not freed", id);
}

static void collection_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, status == NEVE_ENOMEM, "a collection failed with %s", neve_status_name(status));
    ORACLE_CHECK(o, o->slicing || !o->has_condemned,
                 "a collection failed, and had begun to reclaim");
    o->failed = true;
    o->failures++;
    collection_finish(o);
    pause_ends(o, collection);
}

static void collection_end(void *ctx, const neve_collection *collection)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, o->collecting, "an end without a beginning");
    o->looks_dead += o->is_possible ? collection->collected : 0;
    bool exact = o->strict && !o->is_armed;
    collection_finish(o);
    collection_decided(o);
    if (exact) {
        size_t own = collection->uncollectable - collection->cycle_uncollectable;
        ORACLE_CHECK(o, own == o->young_left || own == o->young_left + o->early,
                     "%zu uncollectable, must be %zu", collection->uncollectable, o->young_left);
        tally_check(o, "collection", &o->young, collection->collected - collection->cycle_collected,
                    o->young_left);
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
    o->slicing = true;
    if (o->is_possible)
        return;
    collection_finish(o);
    o->has_condemned = false;
    garbage_forget(o);
    neve_collector_stats stats;
    neve_collector_get_stats(o->collector, &stats);
    if (o->in_cycle && stats.cycle.abandoned != o->abandoned)
        o->in_cycle = false;
    nv_phase phase = o->collector->cycle.phase;
    if (!o->in_cycle && (phase == NV_CYCLE_WHITEN || phase == NV_CYCLE_SNAPSHOT))
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
        ORACLE_CHECK(o, id != ORACLE_NONE && o->objects[id].held + o->objects[id].noted > 0,
                     "object %d is released without having been retained", id);
        if (o->objects[id].noted > 0)
            o->objects[id].noted--;
        else
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
        if (o->objects[id].kind == ORACLE_NODE_SLOTS) {
            o->objects[id].was_cleared = true;
            model_drop_slots(o, id);
        }
        o->native_host->clear(ctx, &objects[i], 1);
    }
}

static void model_condemn(oracle *o, void *const *objects, size_t n)
{
    neve_collector *c = o->collector;
    ORACLE_CHECK(o, o->collecting, "something is condemned outside a pause");
    if (o->slicing || c->is_partial) {
        /* Which candidates there are is the collector's choice. */
        if (o->has_condemned)
            collection_decided(o); /* the last batch: all of it was revived */
        garbage_forget(o);
        for (size_t i = 0; i < c->candidates.count; i++) {
            int id = oracle_find(o, c->candidates.items[i]);
            /* In a disposal that a finalizer interrupts: what has no hook of its own is
             * dead here as soon as those that hold it are. */
            if (!o->strict && id != ORACLE_NONE && o->objects[id].kind == ORACLE_WEAKREF &&
                !o->objects[id].alive)
                continue;
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
    /* What is being disposed of while a finalizer collects is not told apart here. */
    if (!o->strict) {
        for (int id = 0; id < o->count; id++)
            o->objects[id].garbage &= o->objects[id].held > 0;
    }
    ORACLE_CHECK(o, n == garbage || !o->strict, "%zu objects are condemned, must be %zu", n,
                 garbage);
    o->has_condemned = true;
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    oracle *o = oracle_of(ctx);
    model_condemn(o, objects, n);
    o->native_host->condemn(ctx, objects, n, ran_code);
}

static size_t host_clear_weakrefs(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                                  bool *ran_code)
{
    oracle *o = oracle_of(ctx);
    /* Those that are revived are told of later: see host_revive. */
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

/* To the model it is as if the collector held those that go as a whole. */
static void model_condemn_plain(oracle *o, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        oracle_object *m = &o->objects[oracle_find(o, objects[i])];
        ORACLE_CHECK(o, m->kind == ORACLE_NODE_SLOTS, "object %d is discarded (kind %d)",
                     oracle_find(o, objects[i]), (int)m->kind);
        m->refs++;
        m->held++;
    }
    model_condemn(o, objects, n);
}

static bool host_condemn_plain(void *ctx, void *const *objects, size_t n)
{
    oracle *o = oracle_of(ctx);
    if (!o->native_host->condemn_plain(ctx, objects, n))
        return false;
    model_condemn_plain(o, objects, n);
    return true;
}

static void host_discard(void *ctx, void *const *objects, size_t n, bool is_closed)
{
    oracle *o = oracle_of(ctx);
    if (is_closed)
        model_condemn_plain(o, objects, n);
    collection_decided(o);
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        for (unsigned slot = 0; is_closed && slot < o->objects[id].slots; slot++) {
            int held = o->objects[id].slot[slot];
            ORACLE_CHECK(o, held == ORACLE_NONE || o->objects[held].condemned,
                         "object %d refers to object %d, which is not discarded with it", id, held);
        }
    }
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        o->objects[id].was_cleared = true;
        model_drop_slots(o, id);
    }
    for (size_t i = 0; i < n; i++) {
        int id = oracle_find(o, objects[i]);
        o->objects[id].held--;
        model_unref(o, id);
    }
    o->discarded += n;
    o->closed += is_closed ? n : 0;
    o->native_host->discard(ctx, objects, n, is_closed);
}

static void host_revive(void *ctx, void *const *objects, size_t n)
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
    o->native_host->revive(ctx, objects, n);
}

static size_t host_report(void *ctx, void *const *objects, size_t n, neve_uncollectable why)
{
    oracle *o = oracle_of(ctx);
    o->early += o->collecting ? 0 : n;
    return o->native_host->report_uncollectable(ctx, objects, n, why);
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
    o->host.condemn_plain = host_condemn_plain;
    o->host.discard = host_discard;
    o->host.revive = host_revive;
    o->host.report_uncollectable = host_report;
    o->collector->host = &o->host;
}

#endif
