/* SPDX-License-Identifier: MIT */
/*
 * The native object model: reference-counted objects in C, with weak
 * references, finalizers and a collector for their cycles.
 *
 * Ownership: functions that return an object return a new reference, which
 * the caller gives back with neve_release. A type's `clear` releases the
 * references that its objects hold, and sets the fields to NULL first, so that
 * code that it sets off finds no half-released object.
 *
 * Thread state, locking: a runtime belongs to one lock domain, as its heap.
 * Re-entrancy: release may run finalizers and weak-reference callbacks, which
 * may do anything but destroy the runtime.
 */
#ifndef NEVE_OBJECT_H
#define NEVE_OBJECT_H

#include "collect.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct neve_runtime neve_runtime;
typedef struct neve_object neve_object;
typedef struct neve_type neve_type;

/* Every object begins with this. The fields are the library's own: read the
 * count with neve_count, the type with neve_type_of. */
struct neve_object {
    uint32_t count; /* references; NEVE_IMMORTAL and beyond: never changes */
    uint32_t flags; /* finalized, has weak references */
    const neve_type *type;
};

/* An object with a tail of `length` items of type->item_size bytes each. */
typedef struct neve_var_object {
    neve_object base;
    size_t length;
} neve_var_object;

#define NEVE_IMMORTAL 0x80000000u

/* Objects of a container type may refer to others; they are under the
 * collector from their creation. All others are leaves. */
#define NEVE_TYPE_CONTAINER 1u
/* The type's `dealloc` gives memory back and does nothing else: where an object
 * never dies, nothing is lost. See NEVE_FREEZE_IMMORTAL. */
#define NEVE_TYPE_FREES_ONLY 2u
/* A container type whose objects hold all their references in slots: see `slot_offset`. */
#define NEVE_TYPE_SLOTS 4u

/* A type: static or otherwise outliving its objects, never changed after the
 * first object was made. */
struct neve_type {
    const char *name;
    size_t size;      /* of the fixed part, in bytes, header included */
    size_t item_size; /* of one item of the tail; 0: fixed size */
    unsigned flags;
    /* Containers: visits each reference that the object holds, once; never one
     * that it does not own; fields may be NULL (skip them). *cursor as in
     * host.h: leave it alone unless the object is huge. */
    void (*traverse)(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor);
    /* Containers: releases all references held and sets them to NULL. May be
     * called twice. A type that leaves it out cannot break its own cycles; one
     * of its objects that dies by its count releases what `traverse` visits. */
    void (*clear)(neve_runtime *runtime, neve_object *object);
    /* Runs at most once, when the object is about to die; may store a
     * reference to it (resurrection). Optional. */
    void (*finalize)(neve_runtime *runtime, neve_object *object);
    /* Releases what is not an object (buffers, handles), after `clear`, right
     * before the memory goes. Must not touch references. Optional. */
    void (*dealloc)(neve_runtime *runtime, neve_object *object);
    /* NEVE_TYPE_SLOTS, in place of `traverse` and `clear`, which are NULL then: the
     * references of an object are `slot_count` fields of type neve_object *, the first of
     * them `slot_offset` bytes into the object; and, if there is an item_size, which is that
     * of a pointer then, all items of the tail, before which these fields end. Each holds a
     * reference or NULL. Faster than the two functions: the collector reads the slots where
     * they lie, and frees garbage in whole pools. */
    size_t slot_offset;
    size_t slot_count;
};

/* A slot of handle.h that holds an object, as it is listed. */
typedef struct neve_handle neve_handle;
typedef struct neve_handle_info {
    const neve_handle *handle;
    neve_object *object; /* borrowed; NULL: the handle is empty, or weak and its object dead */
    const char *where;   /* as given when it was made; may be NULL */
    bool is_weak;
} neve_handle_info;

/* Told of a handle that is open when the runtime is destroyed, before anything is
 * collected. May read objects and print; must not call the runtime. */
typedef void (*neve_leak_fn)(void *ctx, const neve_handle_info *leak);

typedef struct neve_runtime_options {
    size_t struct_size;                    /* sizeof(neve_runtime_options) of the caller */
    const neve_heap_options *heap;         /* may be NULL */
    const neve_collector_options *collect; /* may be NULL */
    neve_leak_fn on_leak;                  /* NULL: leaks are not reported */
    void *on_leak_ctx;
} neve_runtime_options;

/* What is wrong with these options, those of heap and collector included, in one sentence
 * in `message` (may be NULL), and NEVE_EINVAL; NEVE_OK: neve_runtime_create takes them. */
NEVE_API neve_status neve_runtime_options_check(const neve_runtime_options *options, char *message,
                                                size_t message_size);
/* A heap, its objects and their collector. `options` may be NULL. NEVE_ENOMEM, NEVE_EINVAL
 * (neve_runtime_options_check says why). */
NEVE_API neve_status neve_runtime_create(const neve_runtime_options *options,
                                         neve_runtime **runtime);
/* Reports the handles that are still open (on_leak), collects once more, then gives
 * all memory back, the handles' too. Objects that are still referred to go without
 * their finalizers. NULL: nothing. */
NEVE_API void neve_runtime_destroy(neve_runtime *runtime);
NEVE_API neve_heap *neve_runtime_heap(neve_runtime *runtime);
NEVE_API neve_collector *neve_runtime_collector(neve_runtime *runtime);
/* Around fork(): see neve_collector_before_fork, neve_heap_before_fork and
 * neve_heap_after_fork_child. The first is worth calling, the second a must. */
NEVE_API void neve_runtime_before_fork(neve_runtime *runtime);
NEVE_API void neve_runtime_after_fork_child(neve_runtime *runtime);
/* A pointer for the program's own use. */
NEVE_API void neve_runtime_set_data(neve_runtime *runtime, void *data);
NEVE_API void *neve_runtime_data(neve_runtime *runtime);

/* A new object with count 1 and all other fields zero; NULL without memory, or
 * when the size overflows. May set the collector's event, never collects.
 * new_var needs a type with an item_size and a neve_var_object in front; made
 * by plain new, an object of such a type has length 0. */
NEVE_API neve_object *neve_object_new(neve_runtime *runtime, const neve_type *type);
NEVE_API neve_object *neve_object_new_var(neve_runtime *runtime, const neve_type *type,
                                          size_t length);

static inline const neve_type *neve_type_of(const neve_object *object)
{
    return object->type;
}
static inline uint32_t neve_count(const neve_object *object)
{
    return object->count;
}
static inline bool neve_is_immortal(const neve_object *object)
{
    return object->count >= NEVE_IMMORTAL;
}

/* One more reference; returns `object`. A count that reaches NEVE_IMMORTAL
 * stays there: the object is never freed. */
static inline neve_object *neve_retain(neve_object *object)
{
    if (NEVE_LIKELY((int32_t)object->count >= 0)) /* below NEVE_IMMORTAL */
        object->count++;
    return object;
}

/* For neve_release: the count has reached 0. */
NEVE_API void neve_object_dispose(neve_runtime *runtime, neve_object *object);

/* One reference less; NULL: nothing. The last one runs the finalizer, clears
 * weak references and frees. Structures of any depth: the C stack is not used
 * in proportion. */
static inline void neve_release(neve_runtime *runtime, neve_object *object)
{
    if (object == NULL)
        return;
    /* One comparison for the two rare cases: immortal counts are negative here. */
    if (NEVE_LIKELY((int32_t)object->count > 1)) {
        object->count--;
    } else if (object->count == 1) {
        object->count = 0;
        neve_object_dispose(runtime, object);
    }
}

/* For neve_release_cyclic: the object is a container, or lives on. */
NEVE_API void neve_object_possible_root(neve_runtime *runtime, neve_object *object);

/* As neve_release, for a reference that may have been the last one from outside of a cycle: a
 * variable that held a ring, a session, a tree with links to parents. Old garbage of which
 * every part that held it was let go this way is found soon, without a collection of the
 * old generation. Until the next safe point or collection the count may include the reference
 * given up here; then an object on which nothing else holds one dies. Costs a few
 * times as much as neve_release where the object lives on. */
static inline void neve_release_cyclic(neve_runtime *runtime, neve_object *object)
{
    if (object != NULL && (int32_t)object->count > 1)
        neve_object_possible_root(runtime, object);
    else
        neve_release(runtime, object);
}

/* Sets *slot to NULL, then releases what it held. For `clear` functions. */
static inline void neve_clear_slot(neve_runtime *runtime, neve_object **slot)
{
    neve_object *held = *slot;
    *slot = NULL;
    neve_release(runtime, held);
}

/* From now on the count never changes and the object is never freed before
 * the runtime is destroyed. One-way. */
NEVE_API void neve_make_immortal(neve_object *object);

/* Freezing: everything into the permanent generation, as neve_collector_freeze.
 * With NEVE_FREEZE_IMMORTAL also neve_make_immortal for the frozen objects and the
 * leaves that they refer to, so that using them writes no count, and forked
 * children go on sharing their pages. To be called before the fork; again later, it
 * adds what has been made since.
 *
 * An object stays mortal if its end is awaited: its type has a finalizer (that has
 * not run yet) or a `dealloc` and not NEVE_TYPE_FREES_ONLY, it has a weak reference
 * with a callback, or it is one. So does every object that refers to one that stays
 * mortal, directly or through others: whatever would have been finalized without
 * the freeze still is. A few such objects that much refers to keep much mortal;
 * `result` tells.
 *
 * One-way: an immortal object is freed with the runtime only, garbage or not.
 * neve_collector_unfreeze makes it an object of the old generation again, no
 * mortal one. Collect first, then freeze.
 *
 * Cost: some traversals of all frozen objects, and while it lasts about 20 bytes
 * for each of them and 4 for each reference among them. NEVE_EINVAL, NEVE_EBUSY
 * inside a collection, NEVE_ENOMEM: frozen, perhaps, but no count was changed. */
#define NEVE_FREEZE_IMMORTAL 1u
typedef struct neve_freeze_result {
    size_t frozen;   /* objects in the permanent generation */
    size_t immortal; /* objects made immortal by this call, leaves included */
    size_t mortal;   /* frozen objects that stay mortal */
} neve_freeze_result;
/* `result` may be NULL. */
NEVE_API neve_status neve_runtime_freeze(neve_runtime *runtime, unsigned flags,
                                         neve_freeze_result *result);
/* For the rare reclaim: unfreezes, collects all generations, and freezes again.
 * `collection` and `result` may be NULL. Errors as above; what was frozen may be
 * old then. */
NEVE_API neve_status neve_runtime_refreeze(neve_runtime *runtime, unsigned flags,
                                           neve_collection *collection, neve_freeze_result *result);

/* Roots: variables that full collections may start marking from. What they
 * hold is owned by the program as before; registering them only saves time.
 * `slot` must stay valid until it is removed. NEVE_ENOMEM. */
NEVE_API neve_status neve_root_add(neve_runtime *runtime, neve_object **slot);
NEVE_API void neve_root_remove(neve_runtime *runtime, neve_object **slot);

/* Called when a weak reference's referent dies before the weak reference;
 * `arg` is the object given at creation, borrowed, or NULL. Of several weak
 * references to one object the latest is called first. It is not called for a
 * weak reference that a collection proves dead as well. */
typedef void (*neve_weakref_fn)(neve_runtime *runtime, neve_object *weakref, neve_object *arg);

/* A weak reference to `referent` (any object, immortal ones too). `callback`
 * and `arg` may be NULL; a reference to `arg` is held until the callback has
 * run or the weak reference dies. NULL without memory. */
NEVE_API neve_object *neve_weakref_new(neve_runtime *runtime, neve_object *referent,
                                       neve_weakref_fn callback, neve_object *arg);
/* A new reference to the referent, or NULL once it is dead. An object that dies
 * by its count is dead after its finalizer, which may bring it back; one that a
 * collection found is dead before, and its weak references stay cleared even
 * if its finalizer brings it back. */
NEVE_API neve_object *neve_weakref_get(neve_runtime *runtime, neve_object *weakref);
NEVE_API bool neve_is_weakref(const neve_runtime *runtime, const neve_object *object);

/* The objects that collections found dead and could not reclaim: of types
 * without `clear`. The runtime holds a reference on each. */
NEVE_API size_t neve_uncollectable_count(const neve_runtime *runtime);
NEVE_API neve_object *neve_uncollectable_get(const neve_runtime *runtime, size_t index);
/* Forgets them (releases the references). */
NEVE_API void neve_uncollectable_clear(neve_runtime *runtime);

#ifdef __cplusplus
}
#endif
#endif
