/* SPDX-License-Identifier: MIT */
/*
 * Making and disposing of native objects.
 *
 * Disposal recurses as the program's structure does, so that the order of
 * events is the natural one, but only NV_DISPOSE_DEPTH deep. Beyond that, dead
 * objects are queued through their own headers, which needs no memory, and the
 * outermost disposal works the queue off. "Outermost" is counted afresh inside
 * each finalizer and callback (neve_runtime.base): a program that runs its
 * main loop in one must not see the queue grow until it returns.
 *
 * Invariants kept here: blocks of NEVE_DOMAIN_OBJECT are initialised objects
 * from before the next safe point until they are freed, at least 32 bytes long
 * (host.h); an object that is past resurrection looks untracked (design, 5).
 *
 * Called by programs, through neve/object.h, and by the rest of this folder.
 */
#include "object_internal.h"

/* The collector's verification tables have one entry per 32 bytes. */
#define CONTAINER_MIN_BYTES 32u

static bool is_container(const neve_type *type)
{
    return (type->flags & NEVE_TYPE_CONTAINER) != 0;
}

/* ---- creation ---- */

#if NEVE_DEBUG >= 1
/* Whether a type says of its slots what object.h asks for. */
static bool slots_are_sound(const neve_type *type)
{
    if ((type->flags & NEVE_TYPE_SLOTS) == 0)
        return type->slot_offset == 0 && type->slot_count == 0;
    size_t first = type->item_size == 0 ? sizeof(neve_object) : sizeof(neve_var_object);
    size_t end = type->slot_offset + type->slot_count * sizeof(void *);
    return is_container(type) && type->traverse == NULL && type->clear == NULL &&
           type->slot_offset >= first && type->slot_offset % sizeof(void *) == 0 &&
           (type->item_size == 0 ? end <= type->size
                                 : end == type->size && type->item_size == sizeof(void *));
}
#endif

static inline neve_object *object_alloc(neve_runtime *runtime, const neve_type *type, size_t size)
{
    bool container = is_container(type);
    if (container && size < CONTAINER_MIN_BYTES)
        size = CONTAINER_MIN_BYTES;
    neve_object *object =
        neve_heap_alloc(runtime->heap, container ? NEVE_DOMAIN_OBJECT : NEVE_DOMAIN_LEAF, size);
    if (NEVE_UNLIKELY(object == NULL))
        return NULL;
    memset(object + 1, 0, size - sizeof(*object));
    object->count = 1;
    object->flags = 0;
    object->type = type;
    if (container)
        neve_collector_count_alloc(runtime->collector);
    return object;
}

neve_object *neve_object_new(neve_runtime *runtime, const neve_type *type)
{
    NV_ASSERT(type->size >= sizeof(neve_object));
    NV_ASSERT(type->item_size == 0 || type->size >= sizeof(neve_var_object));
    NV_ASSERT(slots_are_sound(type));
    return object_alloc(runtime, type, type->size);
}

neve_object *neve_object_new_var(neve_runtime *runtime, const neve_type *type, size_t length)
{
    NV_ASSERT(type->item_size != 0 && type->size >= sizeof(neve_var_object));
    NV_ASSERT(slots_are_sound(type));
    /* PTRDIFF_MAX, not SIZE_MAX: no block is larger, and roundings below this
     * layer cannot overflow. */
    size_t tail_max = (size_t)PTRDIFF_MAX - type->size - NEVE_GRANULE;
    if (NEVE_UNLIKELY(type->item_size == 0 || length > tail_max / type->item_size))
        return NULL;
    neve_object *object = object_alloc(runtime, type, type->size + length * type->item_size);
    if (NEVE_LIKELY(object != NULL))
        ((neve_var_object *)object)->length = length;
    return object;
}

void neve_make_immortal(neve_object *object)
{
    NV_ASSERT((object->flags & NV_OBJECT_DYING) == 0);
    if (!neve_is_immortal(object))
        object->count = NEVE_IMMORTAL;
}

void neve_object_possible_root(neve_runtime *runtime, neve_object *object)
{
    if (is_container(object->type))
        neve_collector_possible_root(runtime->collector, object);
    else
        neve_release(runtime, object);
}

/* ---- the queue of dead objects ---- */

static void queue_push(neve_runtime *runtime, neve_object *object)
{
    NV_ASSERT((object->flags & ~NV_OBJECT_QUEUED_FLAGS) == 0);
    NV_ASSERT(((uintptr_t)runtime->pending & (NEVE_GRANULE - 1)) == 0);
    /* count and flags are 8 bytes on every machine; a pointer may be less. */
    uint64_t link = (uint64_t)(uintptr_t)runtime->pending | object->flags;
    object->type = (const neve_type *)((uintptr_t)object->type | 1);
    memcpy(object, &link, sizeof(link));
    runtime->pending = object;
}

static neve_object *queue_pop(neve_runtime *runtime)
{
    neve_object *object = runtime->pending;
    uint64_t link;
    memcpy(&link, object, sizeof(link));
    runtime->pending = (neve_object *)((uintptr_t)link & ~(uintptr_t)(NEVE_GRANULE - 1));
    object->count = 0;
    object->flags = (uint32_t)link & NV_OBJECT_QUEUED_FLAGS;
    object->type = (const neve_type *)((uintptr_t)object->type & ~(uintptr_t)1);
    return object;
}

/* ---- disposal ---- */

bool nv_object_finalize(neve_runtime *runtime, neve_object *object)
{
    const neve_type *type = object->type;
    if (type->finalize == NULL || (object->flags & NV_OBJECT_FINALIZED) != 0)
        return false;
    object->flags |= NV_OBJECT_FINALIZED;
    unsigned base = nv_user_code_begin(runtime);
    type->finalize(runtime, object);
    nv_user_code_end(runtime, base);
    return true;
}

static int release_reference(void *object, void *arg)
{
    neve_release(arg, object);
    return 0;
}

/* Drops what a dying container refers to. */
static void drop_references(neve_runtime *runtime, neve_object *object)
{
    const neve_type *type = object->type;
    if ((type->flags & NEVE_TYPE_SLOTS) != 0) {
        nv_slots_clear(runtime, object);
    } else if (type->clear != NULL) {
        type->clear(runtime, object);
    } else if (type->traverse != NULL) {
        /* Nobody else can reach the object, so its fields stay as they are
         * while what they refer to goes. */
        size_t cursor = 0;
        do {
            type->traverse(object, release_reference, runtime, &cursor);
        } while (cursor != 0);
    }
}

/* The object's count is 0 and its header is in order. */
static void dispose_now(neve_runtime *runtime, neve_object *object)
{
    const neve_type *type = object->type;
    /* Held while its own code runs: a retain and release in there must not
     * dispose of it a second time. */
    object->count = 1;
    if (type->finalize != NULL && (object->flags & NV_OBJECT_FINALIZED) == 0) {
        object->flags |= NV_OBJECT_FINALIZING;
        nv_object_finalize(runtime, object);
        object->flags &= ~NV_OBJECT_FINALIZING;
        if (object->count != 1) { /* resurrected */
            if (!neve_is_immortal(object))
                object->count--;
            return;
        }
    }
    object->flags |= NV_OBJECT_DYING;
    if ((object->flags & NV_OBJECT_WEAKREFS) != 0)
        nv_weakrefs_clear(runtime, object);
    bool container = is_container(type);
    if (container)
        drop_references(runtime, object);
    if (type->dealloc != NULL)
        type->dealloc(runtime, object);
    NV_ASSERT(object->count == 1 && "a dying object was stored away");
    if (container)
        neve_collector_count_free(runtime->collector);
    neve_heap_free(runtime->heap, object);
}

static void dispose_slow(neve_runtime *runtime, neve_object *object)
{
    if (NEVE_UNLIKELY((object->flags & (NV_OBJECT_DYING | NV_OBJECT_FINALIZING)) != 0)) {
        /* Its own finalizer, `clear` or `dealloc` released what it does not
         * own. The disposal under way holds the object: go on with that. */
        NV_ASSERT(false && "an object was released once too often while it was disposed of");
        object->count = 1;
        return;
    }
    if (runtime->depth >= NV_DISPOSE_DEPTH) {
        queue_push(runtime, object);
        return;
    }
    unsigned outer = runtime->depth++;
    dispose_now(runtime, object);
    while (outer == runtime->base && runtime->pending != NULL)
        dispose_now(runtime, queue_pop(runtime));
    runtime->depth = outer;
}

void neve_object_dispose(neve_runtime *runtime, neve_object *object)
{
    const neve_type *type = object->type;
    NV_ASSERT(!nv_object_is_queued(object) && object->count == 0);
    if (!is_container(type) && type->finalize == NULL &&
        (object->flags & NV_OBJECT_SLOW_FLAGS) == 0) {
        if (type->dealloc != NULL)
            type->dealloc(runtime, object);
        neve_heap_free(runtime->heap, object);
        return;
    }
    dispose_slow(runtime, object);
}
