/* SPDX-License-Identifier: MIT */
/*
 * Freezing the objects of a runtime, and giving those that are frozen, and the
 * leaves that they refer to, immortal counts: then reading them writes nothing,
 * and a forked child shares their pages for good (invariant 7).
 *
 * Nothing may be lost for it. An object stays mortal if its end is to be seen: by
 * a finalizer, by a `dealloc` that does more than free memory, by a callback of a
 * weak reference. So do all objects from which one that stays mortal can be
 * reached: an immortal one never lets go of what it refers to. Every object that
 * is made immortal thus refers to immortal objects alone (and to what the
 * collector was not told of).
 *
 * Whether an object reaches a mortal one is found backwards, by a list of
 * referrers for each object, in mappings that are given back at the end.
 *
 * Called by programs, through neve/object.h.
 */
#include "object_internal.h"

#include "collect/collect_internal.h"

typedef struct freeze {
    neve_runtime *runtime;
    neve_heap *heap;
    nv_vec objects; /* the frozen containers; those that stay mortal have ... */
    bool *mortal;   /* ... true here, under the same number */
    size_t *first;  /* referrers[first[i] .. first[i + 1]) refer to object i */
    uint32_t *referrers;
    uint32_t *pending; /* mortal ones whose referrers are still to be looked at */
    size_t bytes[4];   /* of the four mappings above */
    size_t pending_count;
    size_t at; /* the object that is being traversed */
    size_t immortal;
    bool failed;
} freeze;

static bool is_container(const neve_object *object)
{
    return (object->type->flags & NEVE_TYPE_CONTAINER) != 0;
}

static int find_any(void *object, void *arg)
{
    (void)object;
    *(bool *)arg = true;
    return 1;
}

/* Whether somebody is to learn of the object's end. */
static bool is_awaited(neve_runtime *runtime, neve_object *object)
{
    const neve_type *type = object->type;
    if (type->finalize != NULL && (object->flags & NV_OBJECT_FINALIZED) == 0)
        return true;
    if (type->dealloc != NULL && (type->flags & NEVE_TYPE_FREES_ONLY) == 0)
        return true;
    if ((object->flags & (NV_OBJECT_FINALIZING | NV_OBJECT_DYING)) != 0)
        return true;
    bool has_callbacks = nv_weakref_has_callback(object);
    if (!has_callbacks && (object->flags & NV_OBJECT_WEAKREFS) != 0)
        nv_weakrefs_visit(runtime, object, find_any, &has_callbacks);
    return has_callbacks;
}

/* ---- memory ---- */

static void *table_map(freeze *f, unsigned number, size_t bytes)
{
    void *table = nv_heap_map(f->heap, bytes);
    f->bytes[number] = table == NULL ? 0 : bytes;
    return table;
}

static void finish(freeze *f)
{
    nv_index_drop(f->heap);
    nv_vec_destroy(f->heap, &f->objects);
    nv_heap_unmap(f->heap, f->mortal, f->bytes[0]);
    nv_heap_unmap(f->heap, f->first, f->bytes[1]);
    nv_heap_unmap(f->heap, f->referrers, f->bytes[2]);
    nv_heap_unmap(f->heap, f->pending, f->bytes[3]);
}

/* ---- numbers ---- */

/* The number of a frozen container; SIZE_MAX for all else. */
static size_t number_of(const freeze *f, const void *object)
{
    uintptr_t entry = nv_entry_find(f->heap, object);
    if (entry == 0)
        return SIZE_MAX;
    const uint32_t *slot = nv_index_slot(entry, nv_entry_chunk(entry)->index, object);
    if (slot == NULL || *slot == 0 || f->objects.items[*slot - 1] != object)
        return SIZE_MAX;
    return *slot - 1;
}

static int add_object(void *object, void *arg)
{
    freeze *f = arg;
    f->failed = f->objects.count >= UINT32_MAX - 1 || !nv_vec_push(f->heap, &f->objects, object);
    return f->failed ? 1 : 0;
}

static bool number_objects(freeze *f)
{
    (void)neve_collector_walk(f->runtime->collector, 3, add_object, f);
    for (size_t i = 0; i < f->objects.count && !f->failed; i++) {
        uint32_t *slot = nv_index_ensure(f->heap, f->objects.items[i]);
        if (slot == NULL)
            f->failed = true;
        else
            *slot = (uint32_t)i + 1;
    }
    return !f->failed;
}

/* ---- who stays mortal ---- */

static void traverse_all(freeze *f, neve_visit_fn visit)
{
    for (f->at = 0; f->at < f->objects.count; f->at++) {
        neve_object *object = f->objects.items[f->at];
        size_t cursor = 0;
        do {
            nv_object_traverse(object, visit, f, &cursor);
        } while (cursor != 0);
    }
}

static void stay_mortal(freeze *f, size_t number)
{
    if (f->mortal[number])
        return;
    f->mortal[number] = true;
    f->pending[f->pending_count++] = (uint32_t)number;
}

static int count_referrer(void *object, void *arg)
{
    freeze *f = arg;
    size_t number = number_of(f, object);
    if (number != SIZE_MAX)
        f->first[number + 1]++;
    else if (!nv_object_is_queued(object) && is_awaited(f->runtime, object))
        stay_mortal(f, f->at);
    return 0;
}

/* first[i + 1] is where the next referrer of object i goes: at the end it is where
 * those of object i + 1 begin. */
static int note_referrer(void *object, void *arg)
{
    freeze *f = arg;
    size_t number = number_of(f, object);
    if (number != SIZE_MAX)
        f->referrers[f->first[number + 1]++] = (uint32_t)f->at;
    return 0;
}

static bool find_mortals(freeze *f)
{
    size_t n = f->objects.count;
    f->mortal = table_map(f, 0, n * sizeof *f->mortal);
    f->first = table_map(f, 1, (n + 2) * sizeof *f->first);
    f->pending = table_map(f, 3, n * sizeof *f->pending);
    if (f->mortal == NULL || f->first == NULL || f->pending == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (is_awaited(f->runtime, f->objects.items[i]))
            stay_mortal(f, i);
    traverse_all(f, count_referrer);
    if (f->pending_count == 0)
        return true;

    size_t edges = 0;
    for (size_t i = 0; i < n; i++) {
        size_t count = f->first[i + 1];
        f->first[i + 1] = edges;
        edges += count;
    }
    if (edges > 0) {
        f->referrers = table_map(f, 2, edges * sizeof *f->referrers);
        if (f->referrers == NULL)
            return false;
        traverse_all(f, note_referrer);
    }
    while (f->pending_count > 0) {
        size_t number = f->pending[--f->pending_count];
        for (size_t i = f->first[number]; i < f->first[number + 1]; i++)
            stay_mortal(f, f->referrers[i]);
    }
    return true;
}

/* ---- immortality ---- */

static int immortalize_leaf(void *object, void *arg)
{
    freeze *f = arg;
    neve_object *leaf = object;
    if (f->mortal[f->at] || nv_object_is_queued(leaf) || is_container(leaf))
        return 0;
    if (!neve_is_immortal(leaf)) {
        neve_make_immortal(leaf);
        f->immortal++;
    }
    return 0;
}

static neve_status make_immortal(neve_runtime *runtime, neve_freeze_result *result)
{
    freeze f = {.runtime = runtime, .heap = runtime->heap};
    neve_status status = NEVE_OK;
    if (!number_objects(&f) || (f.objects.count > 0 && !find_mortals(&f)))
        status = NEVE_ENOMEM;
    if (status == NEVE_OK && f.objects.count > 0) {
        traverse_all(&f, immortalize_leaf);
        for (size_t i = 0; i < f.objects.count; i++) {
            neve_object *object = f.objects.items[i];
            if (f.mortal[i]) {
                result->mortal++;
            } else if (!neve_is_immortal(object)) {
                neve_make_immortal(object);
                f.immortal++;
            }
        }
    }
    result->immortal = f.immortal;
    finish(&f);
    return status;
}

neve_status neve_runtime_freeze(neve_runtime *runtime, unsigned flags, neve_freeze_result *result)
{
    neve_freeze_result here = {0};
    if ((flags & ~NEVE_FREEZE_IMMORTAL) != 0)
        return NEVE_EINVAL;
    neve_status status = neve_collector_freeze(runtime->collector);
    if (status == NEVE_OK) {
        here.frozen = neve_collector_frozen_count(runtime->collector);
        if ((flags & NEVE_FREEZE_IMMORTAL) != 0)
            status = make_immortal(runtime, &here);
    }
    if (result != NULL)
        *result = here;
    return status;
}

neve_status neve_runtime_refreeze(neve_runtime *runtime, unsigned flags,
                                  neve_collection *collection, neve_freeze_result *result)
{
    if ((flags & ~NEVE_FREEZE_IMMORTAL) != 0)
        return NEVE_EINVAL;
    neve_status status = neve_collector_unfreeze(runtime->collector);
    if (status == NEVE_OK)
        status = neve_collect(runtime->collector, NEVE_GENERATIONS - 1, collection);
    return status == NEVE_OK ? neve_runtime_freeze(runtime, flags, result) : status;
}
