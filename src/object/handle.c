/* SPDX-License-Identifier: MIT */
/*
 * Handles, in a list that the runtime holds, and scopes, on a stack of its.
 *
 * A weak handle holds a weak reference, an object, so that there is one rule of
 * when an object is dead, and one table that tells who is to learn of it. Both
 * kinds thus own one reference to one object, which is what the collector is shown
 * as a root.
 *
 * Called by programs, through neve/handle.h; by runtime.c.
 */
#include "neve/handle.h"

#include "object_internal.h"

/* The first two words of a freed block are the heap's: `runtime` lies behind them,
 * and tells in a checking build that a handle was closed twice. */
struct neve_handle {
    neve_handle *next, *prev;
    neve_runtime *runtime; /* NULL: closed */
    neve_object *held;     /* owned: the object, or the weak reference to it; or NULL */
    const char *where;
    bool is_weak;
};

static neve_handle *handle_new(neve_runtime *runtime, neve_object *object, const char *where,
                               bool is_weak)
{
    neve_handle *handle = neve_heap_alloc(runtime->heap, NEVE_DOMAIN_RAW, sizeof *handle);
    if (handle == NULL)
        return NULL;
    *handle = (neve_handle){.runtime = runtime, .where = where, .is_weak = is_weak};
    if (neve_handle_set(runtime, handle, object) != NEVE_OK) {
        neve_heap_free(runtime->heap, handle);
        return NULL;
    }
    handle->prev = runtime->last_handle;
    if (handle->prev != NULL)
        handle->prev->next = handle;
    else
        runtime->first_handle = handle;
    runtime->last_handle = handle;
    runtime->handle_count++;
    return handle;
}

neve_handle *neve_handle_new(neve_runtime *runtime, neve_object *object, const char *where)
{
    return handle_new(runtime, object, where, false);
}

neve_handle *neve_handle_new_weak(neve_runtime *runtime, neve_object *object, const char *where)
{
    return handle_new(runtime, object, where, true);
}

neve_object *neve_handle_get(neve_runtime *runtime, const neve_handle *handle)
{
    NV_ASSERT(handle->runtime == runtime);
    if (handle->held == NULL)
        return NULL;
    return handle->is_weak ? neve_weakref_get(runtime, handle->held) : neve_retain(handle->held);
}

/* Lets go of what a handle held. A weak reference is cleared first: if a freeze made it
 * immortal, releasing it does nothing, and it would stay in the table of its referent. */
static void let_go(neve_runtime *runtime, neve_object *held, bool is_weak)
{
    if (is_weak && held != NULL)
        nv_weakref_detach(runtime, held);
    neve_release(runtime, held);
}

neve_status neve_handle_set(neve_runtime *runtime, neve_handle *handle, neve_object *object)
{
    NV_ASSERT(handle->runtime == runtime);
    neve_object *held = NULL;
    if (object != NULL) {
        held =
            handle->is_weak ? neve_weakref_new(runtime, object, NULL, NULL) : neve_retain(object);
        if (held == NULL)
            return NEVE_ENOMEM;
    }
    neve_object *before = handle->held;
    handle->held = held;
    let_go(runtime, before, handle->is_weak);
    return NEVE_OK;
}

void neve_handle_close(neve_runtime *runtime, neve_handle *handle)
{
    if (handle == NULL)
        return;
    NV_ASSERT(handle->runtime == runtime && "a handle was closed twice, or in another runtime");
    if (handle->prev != NULL)
        handle->prev->next = handle->next;
    else
        runtime->first_handle = handle->next;
    if (handle->next != NULL)
        handle->next->prev = handle->prev;
    else
        runtime->last_handle = handle->prev;
    runtime->handle_count--;
    neve_object *held = handle->held;
    bool is_weak = handle->is_weak;
    handle->runtime = NULL;
    neve_heap_free(runtime->heap, handle);
    let_go(runtime, held, is_weak);
}

size_t neve_handle_count(const neve_runtime *runtime)
{
    return runtime->handle_count;
}

/* What neve_handle_get would return, borrowed. */
static neve_object *object_of(const neve_handle *handle)
{
    if (handle->held == NULL || !handle->is_weak)
        return handle->held;
    return nv_weakref_referent(handle->held);
}

int neve_handle_walk(const neve_runtime *runtime,
                     int (*visit)(void *ctx, const neve_handle_info *info), void *ctx)
{
    for (neve_handle *handle = runtime->first_handle; handle != NULL; handle = handle->next) {
        neve_handle_info info = {handle, object_of(handle), handle->where, handle->is_weak};
        int result = visit(ctx, &info);
        if (result != 0)
            return result;
    }
    return 0;
}

bool nv_handles_visit(const neve_runtime *runtime, neve_visit_fn visit, void *arg)
{
    for (const neve_handle *handle = runtime->first_handle; handle != NULL; handle = handle->next)
        if (handle->held != NULL && visit(handle->held, arg) != 0)
            return false;
    for (size_t i = 0; i < runtime->kept.count; i++)
        if (visit(runtime->kept.items[i], arg) != 0)
            return false;
    return true;
}

/* ---- scopes ---- */

void neve_scope_open(neve_runtime *runtime, neve_scope *scope)
{
    scope->first = runtime->kept.count;
}

neve_object *neve_scope_keep(neve_runtime *runtime, neve_object *object)
{
    if (object == NULL || nv_pointers_push_or_ask(runtime->heap, &runtime->kept, object))
        return object;
    neve_release(runtime, object);
    return NULL;
}

void neve_scope_close(neve_runtime *runtime, neve_scope *scope)
{
    NV_ASSERT(scope->first <= runtime->kept.count && "scopes are closed in the order of brackets");
    /* Code that a release runs may keep objects here in turn; they go first. */
    while (runtime->kept.count > scope->first)
        neve_release(runtime, runtime->kept.items[--runtime->kept.count]);
}
