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
 * References are let go of in both ways, so that some are noted as possible roots; what dies
 * where these are looked at is compared as a batch is.
 *
 * In the snapshot mode the same is compared; each snapshot is held back for some slices,
 * some are killed.
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

#include "collect/oracle_model.h"

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

/* Lets go of a reference; of some as perhaps the last one into a cycle. The collector keeps
 * such a reference for a while, or gives it back at once. */
static void act_release(oracle *o, int id, neve_object *native)
{
    bool is_noted = id != ORACLE_NONE && (o->operation + (unsigned)id) % 3 == 0 &&
                    (int32_t)native->count > 1 && (native->type->flags & NEVE_TYPE_CONTAINER) != 0;
    if (!is_noted) {
        model_unref(o, id);
        neve_release(o->runtime, native);
        return;
    }
    o->objects[id].noted++;
    o->collector->possible.vain = o->collector->possible.skip = 0; /* look each time */
    neve_release_cyclic(o->runtime, native);
}

static void act_handle(oracle *o, int h, int id)
{
    int old_id = o->handle_ids[h];
    neve_object *old = o->handles[h];
    model_ref(o, id);
    o->handle_ids[h] = id;
    o->handles[h] = id == ORACLE_NONE ? NULL : neve_retain(o->objects[id].native);
    act_release(o, old_id, old);
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
    act_release(o, old_id, old);
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
static const neve_type oracle_slots_type = {
    .name = "slots",
    .size = sizeof(oracle_node),
    .item_size = sizeof(neve_object *),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS | NEVE_TYPE_FREES_ONLY,
    .slot_offset = sizeof(oracle_node),
    .dealloc = node_dealloc,
};
static const neve_type oracle_leaf_type = {
    .name = "leaf", .size = sizeof(oracle_leaf), .dealloc = leaf_dealloc};

/* New objects go into handle `h`; ORACLE_NONE without memory. */
static int act_new_node(oracle *o, int h, unsigned slots, oracle_deed deed, bool unclearable)
{
    if (o->count >= ORACLE_IDS)
        return ORACLE_NONE;
    /* Mostly slots, so that whole groups of garbage consist of them. */
    bool has_slots = !unclearable && deed == ORACLE_NOTHING && o->count % 8 != 0;
    const neve_type *type = unclearable              ? &oracle_unclearable_type
                            : has_slots              ? &oracle_slots_type
                            : deed == ORACLE_NOTHING ? &oracle_node_type
                                                     : &oracle_finalized_type;
    neve_object *native = neve_object_new_var(o->runtime, type, slots);
    if (native == NULL)
        return ORACLE_NONE;
    int id = oracle_register(o, native,
                             unclearable ? ORACLE_NODE_UNCLEARABLE
                             : has_slots ? ORACLE_NODE_SLOTS
                                         : ORACLE_NODE);
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
        if (neve_mode_has_cycles(neve_collector_mode(o->collector)) && self % 2 == 0) {
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
    bool has_cycles = neve_mode_has_cycles(neve_collector_mode(o->collector));
    if (!has_cycles || how == 0 || (how < 4 && generation < 2)) {
        oracle_collect(o, generation);
    } else if (how < 8) {
        o->failed = false;
        neve_status status = neve_collect_due(o->collector, generation, NULL);
        ORACLE_CHECK(o, status == NEVE_OK || (status == NEVE_ENOMEM && o->failed), "collection: %s",
                     neve_status_name(status));
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
        neve_mode mode = what / 16 % 4 == 0 ? NEVE_MODE_GENERATIONAL : o->mode;
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
        } else if (o->has_cycles) {
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
    o->mode = mode;
    o->has_cycles = neve_mode_has_cycles(mode);
    o->steps = o->has_cycles && size > 0 ? data[0] / 64 : 0;
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
    o->collector->snapshot.least = 1;
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
        if (neve_mode_has_cycles(neve_collector_mode(o->collector)))
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
    o->last = o->collector->cycle.stats;
    neve_collector_set_listener(o->collector, NULL);
    for (int h = ORACLE_ROOTS - 1; h >= 0; h--)
        neve_root_remove(o->runtime, &o->handles[h]);
    neve_runtime_destroy(o->runtime);
    free(o->objects);
    free(o->queue);
    return state;
}

#endif
