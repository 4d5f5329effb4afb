/* SPDX-License-Identifier: MIT */
/*
 * Types that say where the references of their objects lie (NEVE_TYPE_SLOTS): what other
 * types have functions for is done here, and garbage that consists of such objects alone
 * is freed as a whole.
 *
 * Garbage is discarded in two passes. First every object that is dead is told by its header
 * (NV_OBJECT_CONDEMNED), by which it is hidden from listings too. So in the second pass,
 * which reads the slots, a reference to another dead object is known by that object's
 * header, and costs nothing; only those that lead out of the garbage are released. The
 * memory is freed last: until then the headers have to be there. Where no reference leads out,
 * and nothing is to be called for any object, there is nothing to do but to free it.
 *
 * Called by the rest of this folder, and by the collector through the host descriptor.
 */
#include "object_internal.h"

/* So many references are visited in one go. */
#define PIECE 128u

static bool has_slots(const neve_type *type)
{
    return (type->flags & NEVE_TYPE_SLOTS) != 0;
}

static void traverse_slots(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    size_t count;
    neve_object **slots = nv_slots_of(object, object->type, &count);
    /* Since the last piece it may have been cut short, or have made room for another one. */
    size_t at = *cursor < count ? *cursor : count;
    size_t end = count - at > PIECE ? at + PIECE : count;
    *cursor = end < count ? end : 0;
    for (; at < end; at++)
        if (slots[at] != NULL && visit(slots[at], arg) != 0)
            return;
}

void nv_object_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    const neve_type *type = object->type;
    if (has_slots(type))
        traverse_slots(object, visit, arg, cursor);
    else if (type->traverse != NULL)
        type->traverse(object, visit, arg, cursor);
    else
        *cursor = 0;
}

void nv_slots_clear(neve_runtime *runtime, neve_object *object)
{
    size_t count;
    neve_object **slots = nv_slots_of(object, object->type, &count);
    for (size_t i = 0; i < count; i++)
        neve_clear_slot(runtime, &slots[i]);
}

/* ---- what the collector reads ---- */

void nv_slots_edges(void *ctx, void *const *objects, size_t n, neve_edges *edges)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        neve_object *object = objects[i];
        const neve_type *type = object->type;
        edges[i].stride = 0;
        if (!has_slots(type))
            continue;
        edges[i].items = (void *const *)nv_slots_of(object, type, &edges[i].count);
        edges[i].stride = 1;
        edges[i].also = NULL;
        edges[i].is_plain = type->dealloc == NULL && type->finalize == NULL &&
                            (object->flags & NV_OBJECT_WEAKREFS) == 0;
    }
}

void nv_slots_mark(void *ctx, void *const *objects, size_t n, neve_marker *marker)
{
    (void)ctx;
    neve_span spans[NEVE_MARK_BATCH];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(objects[i]);
    for (size_t i = 0; i < n; i++) {
        neve_object *object = objects[i];
        /* One that was freed since it was reached may be queued: its type is no address. */
        if (marker->may_be_stale && nv_object_is_hidden(object))
            continue;
        const neve_type *type = object->type;
        if (has_slots(type)) {
            neve_span *span = &spans[count];
            span->items = (void *const *)nv_slots_of(object, type, &span->count);
            if (span->count <= marker->piece)
                count++;
            else
                neve_mark_defer(marker, object);
            continue;
        }
        size_t cursor = 0;
        nv_object_traverse(object, neve_mark_visit, marker, &cursor);
        if (cursor != 0)
            neve_mark_defer(marker, object);
    }
    neve_mark_spans(marker, spans, count);
}

/* ---- garbage ---- */

/* Whether objects of the type can be plain at all. */
static bool is_plain(const neve_type *type)
{
    return has_slots(type) && (type->dealloc == NULL || (type->flags & NEVE_TYPE_FREES_ONLY) != 0);
}

bool nv_slots_condemn_plain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    const neve_type *plain = NULL; /* the last one that was looked at */
    for (size_t i = 0; i < n; i++) {
        neve_object *object = objects[i];
        const neve_type *type = object->type;
        if (type != plain) {
            if (!is_plain(type))
                return false;
            if (type->finalize != NULL && (object->flags & NV_OBJECT_FINALIZED) == 0)
                return false;
            plain = type->finalize == NULL ? type : NULL;
        }
        if ((object->flags & NV_OBJECT_WEAKREFS) != 0)
            return false;
        object->flags |= NV_OBJECT_CONDEMNED;
    }
    return true;
}

/* What lies outside of the garbage may not have been touched for long: its memory shall be
 * on its way when the references to it are released, some objects later. */
#define AHEAD 6u
static void prefetch_slots(neve_object *object)
{
    size_t count;
    neve_object **slots = nv_slots_of(object, object->type, &count);
    for (size_t k = 0; k < count && k < 4; k++)
        __builtin_prefetch(slots[k], 1);
}

void nv_slots_discard(void *ctx, void *const *objects, size_t n, bool is_closed)
{
    neve_runtime *runtime = ctx;
    for (size_t i = 0; !is_closed && i < n; i++) {
        neve_object *object = objects[i];
        const neve_type *type = object->type;
        size_t count;
        neve_object **slots = nv_slots_of(object, type, &count);
        if (i + AHEAD < n)
            prefetch_slots(objects[i + AHEAD]);
        for (size_t k = 0; k < count; k++)
            if (slots[k] != NULL && (slots[k]->flags & NV_OBJECT_CONDEMNED) == 0)
                neve_release(runtime, slots[k]);
        if (type->dealloc != NULL)
            type->dealloc(runtime, object);
    }
    nv_free_many(runtime->heap, objects, n);
}
