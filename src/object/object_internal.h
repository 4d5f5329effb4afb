/* SPDX-License-Identifier: MIT */
/*
 * The structures of the native object model, for the sources of this folder.
 *
 * The life of an object, as its header tells it:
 *
 *   live       count >= 1, type untagged. A container is tracked by the
 *              collector from its creation on.
 *   finalizing count 1 or more, NV_OBJECT_FINALIZING: its finalizer runs, and
 *              may still resurrect it. Tracked as before: the one reference
 *              that disposal holds makes it look held from outside.
 *   queued     its count reached 0 too deep in other disposals. The header's
 *              first 8 bytes are a link of neve_runtime.pending with the flags
 *              in its low bits; the type pointer's low bit is set. Untracked.
 *   dying      count 1, NV_OBJECT_DYING: weak references are being cleared,
 *              then `clear` and `dealloc` run. There is no way back. Untracked.
 *
 * Whoever reads the count or the flags of an object to which he holds no
 * reference (weak references, the collector) tests nv_object_is_queued first.
 *
 * The collector's marks are in the heap's side tables (invariant 1). What the
 * object model writes into headers on behalf of a collection concerns dead
 * objects only: NV_OBJECT_FINALIZED and NV_OBJECT_CONDEMNED.
 */
#ifndef NV_OBJECT_INTERNAL_H
#define NV_OBJECT_INTERNAL_H

#include <string.h>

#include "heap/heap_internal.h"
#include "neve/object.h"

/* Flags of an object. The first three can be set while it is queued, and must
 * fit into the low bits of a pointer to a block (4 bits: NEVE_GRANULE). */
#define NV_OBJECT_FINALIZED 1u /* the finalizer was called: never again */
#define NV_OBJECT_WEAKREFS 2u  /* the weak-reference table may know it */
#define NV_OBJECT_CONDEMNED 4u /* proved dead by a collection, hidden from listings */
#define NV_OBJECT_DYING 8u
#define NV_OBJECT_FINALIZING 16u
#define NV_OBJECT_QUEUED_FLAGS 7u

/* Any of these makes the disposal of a leaf more than freeing it. */
#define NV_OBJECT_SLOW_FLAGS (NV_OBJECT_WEAKREFS | NV_OBJECT_DYING | NV_OBJECT_FINALIZING)

/* Disposals that may nest on the C stack. The next one is queued. */
#define NV_DISPOSE_DEPTH 32u

typedef struct nv_weakref nv_weakref;

/* The weak references to one object, most recent first. */
typedef struct nv_weakref_entry {
    neve_object *referent; /* NULL: empty */
    nv_weakref *first;
} nv_weakref_entry;

/* Open addressing, linear probing, no tombstones. At most 3/4 full. */
typedef struct nv_weakref_table {
    nv_weakref_entry *entries; /* `capacity` of them; a raw block of the heap */
    size_t capacity;           /* a power of two, or 0 */
    size_t count;
} nv_weakref_table;

/* A growing array of pointers in a raw block of the heap. */
typedef struct nv_pointers {
    void **items;
    size_t count;
    size_t capacity;
} nv_pointers;

struct neve_runtime {
    neve_heap *heap;
    neve_collector *collector;

    neve_object *pending; /* queued objects, the latest first */
    unsigned depth;       /* disposals on the C stack */
    unsigned base;        /* ... when the innermost finalizer or callback began */

    nv_weakref_table weakrefs;
    nv_pointers roots;         /* neve_object ** */
    nv_pointers uncollectable; /* neve_object *, one reference held on each */
    nv_pointers kept;          /* neve_object *: what the open scopes own, innermost last */
    neve_handle *first_handle, *last_handle; /* the open ones, in the order of their making */
    size_t handle_count;
    neve_leak_fn on_leak;
    void *on_leak_ctx;
    void *data;
};

static inline bool nv_object_is_queued(const neve_object *object)
{
    return ((uintptr_t)object->type & 1) != 0;
}

/* Whether the object can no longer be resurrected. */
static inline bool nv_object_is_dead(const neve_object *object)
{
    return nv_object_is_queued(object) || (object->flags & NV_OBJECT_DYING) != 0;
}

/* Whether the collector and listings of objects pass it over. The flags of a queued
 * object are part of a link: the order matters. */
static inline bool nv_object_is_hidden(const neve_object *object)
{
    return nv_object_is_queued(object) ||
           (object->flags & (NV_OBJECT_DYING | NV_OBJECT_CONDEMNED)) != 0;
}

/* Code of the program's own that a disposal or a collection calls runs between
 * these two: what it releases is gone when its outermost neve_release returns,
 * even if the queue is in use further out. */
static inline unsigned nv_user_code_begin(neve_runtime *runtime)
{
    unsigned base = runtime->base;
    runtime->base = runtime->depth;
    return base;
}
static inline void nv_user_code_end(neve_runtime *runtime, unsigned base)
{
    runtime->base = base;
}

/* Runs the type's finalizer, if there is one that never ran. The caller holds
 * a reference. */
bool nv_object_finalize(neve_runtime *runtime, neve_object *object);

/* False without memory; the array is then unchanged. The second one asks the program
 * for memory first, and is for functions that programs call. */
bool nv_pointers_push(neve_heap *heap, nv_pointers *pointers, void *item);
bool nv_pointers_push_or_ask(neve_heap *heap, nv_pointers *pointers, void *item);

/* ---- slots.c: types whose references lie in slots ---- */

/* Where the slots of an object of such a type lie; *count is set. */
static inline neve_object **nv_slots_of(neve_object *object, const neve_type *type, size_t *count)
{
    *count = type->slot_count;
    if (type->item_size != 0)
        *count += ((const neve_var_object *)object)->length;
    return (neve_object **)(void *)((char *)object + type->slot_offset);
}
/* Visits what a container of any type refers to: see host.h. */
void nv_object_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor);
void nv_slots_clear(neve_runtime *runtime, neve_object *object);
/* Of the host descriptor. */
void nv_slots_edges(void *ctx, void *const *objects, size_t n, neve_edges *edges);
void nv_slots_mark(void *ctx, void *const *objects, size_t n, neve_marker *marker);
bool nv_slots_condemn_plain(void *ctx, void *const *objects, size_t n);
void nv_slots_discard(void *ctx, void *const *objects, size_t n, bool is_closed);

/* ---- weakref.c ---- */

extern const neve_type nv_weakref_type;

/* Clears the weak references to a dying object, then calls the callbacks. */
void nv_weakrefs_clear(neve_runtime *runtime, neve_object *referent);
/* Visits the weak references to `referent` that have callbacks. */
void nv_weakrefs_visit(neve_runtime *runtime, neve_object *referent, neve_visit_fn visit,
                       void *arg);
/* As nv_weakrefs_clear, for all objects of a batch; see neve_weakref_pass. Returns how many
 * weak references died with their callbacks. */
size_t nv_weakrefs_clear_batch(neve_runtime *runtime, void *const *objects, size_t n,
                               neve_weakref_pass pass, bool *ran_code);
/* Whether `object` is a weak reference whose callback has still to be called. */
bool nv_weakref_has_callback(const neve_object *object);
/* The referent, borrowed, or NULL once it is dead. */
neve_object *nv_weakref_referent(const neve_object *weakref);
/* Forgets the referent: the callback will never be called. */
void nv_weakref_detach(neve_runtime *runtime, neve_object *weakref);

/* ---- handle.c ---- */

/* Visits what the open handles and scopes own; false if `visit` ended it. */
bool nv_handles_visit(const neve_runtime *runtime, neve_visit_fn visit, void *arg);

#endif
