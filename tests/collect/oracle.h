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
    /* In the collection under way: */
    bool candidate, garbage, rescued, must_call;
    bool touched; /* scratch of the reachability */
    int16_t slot[ORACLE_SLOTS];
} oracle_object;

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
    int revived, died_with_callback, doomed, may_be_counted;
    int *queue;
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

/* ---- what collections do, as the hooks see it ---- */

static void collection_begin(void *ctx, const neve_collection *collection)
{
    oracle *o = ctx;
    ORACLE_CHECK(o, !o->collecting, "a collection inside a collection");
    o->collecting = true;
    o->decided = false;
    o->failed = false;
    o->hooked = false;
    o->strict = o->depth == 0;
    /* Has the allocation failed that was to fail? Then all is exact again. */
    if (neve_runtime_heap(o->runtime)->fail_in == 0)
        o->is_armed = false;
    o->revived = o->died_with_callback = o->doomed = o->may_be_counted = 0;
    o->collections++;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->garbage = m->rescued = m->must_call = false;
        /* Objects without references are in the middle of being disposed of
         * (possible only when finalizers collect). */
        m->candidate =
            m->alive && m->kind != ORACLE_LEAF && m->refs > 0 &&
            neve_collector_generation_of(o->collector, m->native) <= collection->generation;
    }
    model_reach(o, false);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->garbage = m->candidate && !m->touched;
    }
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        m->must_call = m->kind == ORACLE_WEAKREF && m->alive && !m->garbage && m->has_callback &&
                       !m->is_clear && o->objects[m->target].garbage;
    }
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
    if (o->decided)
        return;
    collection_hooked(o);
    o->decided = true;
    model_reach(o, true);
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (!m->garbage)
            continue;
        ORACLE_CHECK(o, !o->strict || m->finalized == (m->deed != ORACLE_NOTHING),
                     "the finalizer of dead object %d has run %d times", id, m->finalized);
        m->rescued = m->touched && m->alive;
        o->revived += m->rescued;
        /* What finalizers took apart has died by its count, and is not counted
         * as collected; of the chains among it, some may be left. */
        if (m->alive ? m->refs == 0 : m->kind == ORACLE_WEAKREF)
            o->may_be_counted++;
        else if (m->alive && !m->rescued)
            o->doomed++;
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
        if (m->garbage && !m->rescued) {
            m->is_clear = true;
            model_drop_arg(o, id);
        }
    }
}

/* Something dies, and has references in the model. Weak references are cleared
 * without a hook: it can be the argument of a dead one, the first thing cleared. */
static void collection_clears(oracle *o, int id)
{
    if (o->collecting && !o->decided && o->objects[id].refs > 0 && !o->objects[id].garbage)
        collection_decided(o);
}

static void collection_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    oracle *o = ctx;
    (void)collection;
    ORACLE_CHECK(o, status == NEVE_ENOMEM, "a collection failed with %s", neve_status_name(status));
    ORACLE_CHECK(o, !o->hooked, "a collection failed after it had run code of the program");
    o->collecting = false;
    o->failed = true;
    o->failures++;
    for (int id = 0; id < o->count; id++)
        o->objects[id].garbage = o->objects[id].candidate = false;
}

/* Finalizers have run, and there is no memory for the second verification: all
 * that was condemned lives on, with its weak references as they are. */
static void collection_gives_up(oracle *o, const neve_collection *collection)
{
    size_t garbage = 0;
    for (int id = 0; id < o->count; id++)
        garbage += o->objects[id].garbage && o->objects[id].alive;
    if (collection->resurrected < garbage || garbage == 0)
        return;
    collection_hooked(o);
    o->decided = true;
    o->revived = (int)garbage;
    for (int id = 0; id < o->count; id++)
        o->objects[id].rescued = o->objects[id].garbage && o->objects[id].alive;
}

static void collection_end(void *ctx, const neve_collection *collection)
{
    oracle *o = ctx;
    size_t left = 0;
    ORACLE_CHECK(o, o->collecting, "an end without a beginning");
    if (!o->decided && o->is_armed)
        collection_gives_up(o, collection);
    collection_decided(o);
    bool exact = o->strict && !o->is_armed;
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        if (!m->garbage || m->rescued)
            continue;
        left += m->alive;
        if (!exact || !m->alive)
            continue;
        /* Alive by the references of an unclearable object only. */
        ORACLE_CHECK(o, m->refs > 0, "dead object %d was not freed", id);
        ORACLE_CHECK(o, !is_node(m) || m->kind == ORACLE_NODE_UNCLEARABLE || m->was_cleared,
                     "dead object %d was not cleared (kind %d, generation %d)", id, (int)m->kind,
                     collection->generation);
    }
    if (exact) {
        bool unclearable = false;
        for (int id = 0; id < o->count; id++) {
            oracle_object *m = &o->objects[id];
            unclearable |=
                m->garbage && !m->rescued && m->alive && m->kind == ORACLE_NODE_UNCLEARABLE;
        }
        ORACLE_CHECK(o, left == 0 || unclearable, "%zu dead objects were not freed", left);
        ORACLE_CHECK(o, collection->uncollectable == left, "%zu uncollectable, must be %zu",
                     collection->uncollectable, left);
        size_t least = (size_t)(o->doomed + o->died_with_callback) - left;
        ORACLE_CHECK(o,
                     collection->collected >= least &&
                         collection->collected <= least + (size_t)o->may_be_counted,
                     "generation %d: collected %zu, must be %zu and up to %d more",
                     collection->generation, collection->collected, least, o->may_be_counted);
        ORACLE_CHECK(o, collection->resurrected == (size_t)o->revived,
                     "resurrected %zu, must be %d", collection->resurrected, o->revived);
        o->exact_collections++;
        o->collected += collection->collected;
        o->resurrections += (uint64_t)o->revived;
    }
    o->collecting = false;
    for (int id = 0; id < o->count; id++)
        o->objects[id].garbage = o->objects[id].candidate = false;
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
    /* (What has no references dies by its count: finalizers took it apart.) */
    if (o->collecting && m->garbage && m->refs > 0)
        collection_decided(o);
    ORACLE_CHECK(o, m->alive, "object %d is cleared after its death", id);
    collection_clears(o, id);
    if (m->refs > 0) {
        ORACLE_CHECK(o, o->collecting && m->garbage && !m->rescued,
                     "live object %d is cleared (%d references)", id, m->refs);
    }
    m->was_cleared = true;
    for (unsigned i = 0; i < m->slots; i++)
        act_slot(o, id, i, ORACLE_NONE);
}

static void hook_dealloc(oracle *o, int id)
{
    oracle_object *m = &o->objects[id];
    ORACLE_CHECK(o, m->alive, "object %d dies twice", id);
    if (o->collecting && m->refs > 0)
        collection_decided(o);
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
        if (ref->alive && ref->has_callback && !(o->collecting && ref->garbage && !ref->rescued))
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
    collection_clears(o, id);
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
    collection_clears(o, m->target);
    ORACLE_CHECK(o, by_collection || o->objects[m->target].refs == 0,
                 "the callback of weak reference %d runs, object %d lives", id, m->target);
    ORACLE_CHECK(o, !(o->collecting && m->garbage && !m->rescued),
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
        o->died_with_callback++;
    else if (by_collection && may_die)
        o->may_be_counted++;
}

/* ---- between operations ---- */

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
    for (int id = 0; id < o->count; id++) {
        oracle_object *m = &o->objects[id];
        frozen += m->alive && m->kind != ORACLE_LEAF &&
                  neve_collector_generation_of(o->collector, m->native) == 3;
    }
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
        oracle_collect(o, (int)(oracle_byte(o) % NEVE_GENERATIONS));
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

/* Runs one program. Returns normally if the two heaps agree. */
static oracle oracle_run(const char *name, const uint8_t *data, size_t size)
{
    oracle state = {.name = name, .data = data, .size = size};
    oracle *o = &state;
    o->objects = malloc(ORACLE_IDS * sizeof *o->objects);
    o->queue = malloc(ORACLE_IDS * sizeof *o->queue);
    neve_collector_options collect = {.struct_size = sizeof collect, .breaker = &o->breaker};
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
