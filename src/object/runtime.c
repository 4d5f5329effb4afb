/* SPDX-License-Identifier: MIT */
/*
 * The runtime: a heap, a collector and what the native object model keeps
 * beside the objects (roots, the uncollectable), and the host descriptor
 * through which the collector knows native objects.
 *
 * What the descriptor relies on: containers, and only they, are in
 * NEVE_DOMAIN_OBJECT, so the collector enumerates the young off the heap's
 * pools, and asks nv_is_tracked about each, as dead ones may be among them.
 *
 * All memory of a runtime, this structure included, is in its heap: destroying
 * the heap gives everything back.
 *
 * Called by programs, through neve/object.h, and by the collector, through the
 * host descriptor.
 */
#include "neve/handle.h"
#include "object_internal.h"

/* Finalizers may leave new garbage behind them. Twice is common, more is a
 * program that makes garbage for ever. */
#define FINAL_COLLECTIONS 8

static size_t grown_capacity(const nv_pointers *pointers)
{
    return pointers->capacity == 0 ? 8 : pointers->capacity * 2;
}

bool nv_pointers_push_or_ask(neve_heap *heap, nv_pointers *pointers, void *item)
{
    for (unsigned attempt = 1; !nv_pointers_push(heap, pointers, item); attempt++)
        if (!nv_out_of_memory(heap, grown_capacity(pointers) * sizeof(void *), attempt))
            return false;
    return true;
}

bool nv_pointers_push(neve_heap *heap, nv_pointers *pointers, void *item)
{
    if (pointers->count == pointers->capacity) {
        size_t capacity = grown_capacity(pointers);
        if (capacity > SIZE_MAX / sizeof(void *))
            return false;
        /* The hook for want of memory could lengthen this very array. */
        bool was_asking = heap->is_asking;
        heap->is_asking = true;
        void **items =
            neve_heap_realloc(heap, NEVE_DOMAIN_RAW, pointers->items, capacity * sizeof(void *));
        heap->is_asking = was_asking;
        if (items == NULL)
            return false;
        pointers->items = items;
        pointers->capacity = capacity;
    }
    pointers->items[pointers->count++] = item;
    return true;
}

/* ---- native objects as the collector sees them (host.h says what each does) ---- */

static void host_read_counts(void *ctx, void *const *objects, size_t n, uint32_t *counts)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        const neve_object *object = objects[i];
        bool is_held = nv_object_is_dead(object) || object->count >= NEVE_IMMORTAL;
        counts[i] = is_held ? NEVE_COUNT_HELD : object->count;
    }
}

static void host_traverse(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)ctx;
    nv_object_traverse(object, visit, arg, cursor);
}

static void host_retain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        neve_retain(objects[i]);
}

static void host_release(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        neve_release(ctx, objects[i]);
}

static void host_clear(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        neve_object *object = objects[i];
        if ((object->type->flags & NEVE_TYPE_SLOTS) != 0)
            nv_slots_clear(ctx, object);
        else if (object->type->clear != NULL)
            object->type->clear(ctx, object);
    }
}

static const char *host_type_name(void *ctx, void *object)
{
    (void)ctx;
    uintptr_t type = (uintptr_t)((neve_object *)object)->type & ~(uintptr_t)1;
    return ((const neve_type *)type)->name;
}

static bool host_is_tracked(void *ctx, void *object)
{
    (void)ctx;
    return !nv_object_is_hidden(object);
}

static void host_visit_roots(void *ctx, neve_visit_fn visit, void *arg)
{
    const neve_runtime *runtime = ctx;
    for (size_t i = 0; i < runtime->roots.count; i++) {
        neve_object *held = *(neve_object **)runtime->roots.items[i];
        if (held != NULL && visit(held, arg) != 0)
            return;
    }
    for (size_t i = 0; i < runtime->uncollectable.count; i++) {
        if (visit(runtime->uncollectable.items[i], arg) != 0)
            return;
    }
    (void)nv_handles_visit(runtime, visit, arg);
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    (void)ctx;
    (void)ran_code;
    for (size_t i = 0; i < n; i++)
        ((neve_object *)objects[i])->flags |= NV_OBJECT_CONDEMNED;
}

static void host_revive(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        ((neve_object *)objects[i])->flags &= ~NV_OBJECT_CONDEMNED;
}

static size_t host_clear_weakrefs(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                                  bool *ran_code)
{
    return nv_weakrefs_clear_batch(ctx, objects, n, pass, ran_code);
}

static void host_visit_weakrefs(void *ctx, void *object, neve_visit_fn visit, void *arg)
{
    if ((((neve_object *)object)->flags & NV_OBJECT_WEAKREFS) != 0)
        nv_weakrefs_visit(ctx, object, visit, arg);
}

static void host_finalize(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    for (size_t i = 0; i < n; i++)
        *ran_code |= nv_object_finalize(ctx, objects[i]);
}

static size_t host_report_uncollectable(void *ctx, void *const *objects, size_t n,
                                        neve_uncollectable why)
{
    neve_runtime *runtime = ctx;
    (void)why;
    for (size_t i = 0; i < n; i++) {
        /* Without memory for the entry nothing is lost: nobody holds the
         * object, so the next full collection reports it again. */
        if (nv_pointers_push(runtime->heap, &runtime->uncollectable, objects[i]))
            neve_retain(objects[i]);
    }
    return n;
}

static size_t host_find_special(void *ctx, void *const *objects, size_t n, void **special,
                                bool *has_finalizers)
{
    (void)ctx;
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const neve_object *object = objects[i];
        bool is_final =
            object->type->finalize != NULL && (object->flags & NV_OBJECT_FINALIZED) == 0;
        *has_finalizers |= is_final;
        if (is_final || (object->flags & NV_OBJECT_WEAKREFS) != 0)
            special[found++] = objects[i];
    }
    return found;
}

static const neve_host native_host = {
    .struct_size = sizeof(neve_host),
    .name = "native",
    .read_counts = host_read_counts,
    .traverse = host_traverse,
    .retain = host_retain,
    .release = host_release,
    .clear = host_clear,
    .type_name = host_type_name,
    .is_tracked = host_is_tracked,
    .held_if_untracked = true,
    .visit_roots = host_visit_roots,
    .mark = nv_slots_mark,
    .edges = nv_slots_edges,
    .revive = host_revive,
    .condemn_plain = nv_slots_condemn_plain,
    .discard = nv_slots_discard,
    .condemn = host_condemn,
    .find_special = host_find_special,
    .clear_weakrefs = host_clear_weakrefs,
    .visit_weakrefs = host_visit_weakrefs,
    .finalize = host_finalize,
    .report_uncollectable = host_report_uncollectable,
};

/* ---- life of a runtime ---- */

static neve_status options_read(neve_runtime_options *into, const neve_runtime_options *given,
                                char *message, size_t size)
{
    neve_status status =
        nv_options_read(into, sizeof *into, given, "neve_runtime_options", message, size);
    if (status == NEVE_OK)
        status = neve_heap_options_check(into->heap, message, size);
    if (status == NEVE_OK)
        status = neve_collector_options_check(into->collect, message, size);
    return status;
}

neve_status neve_runtime_options_check(const neve_runtime_options *options, char *message,
                                       size_t message_size)
{
    neve_runtime_options read;
    return options_read(&read, options, message, message_size);
}

neve_status neve_runtime_create(const neve_runtime_options *options, neve_runtime **runtime)
{
    neve_runtime_options given;
    *runtime = NULL;
    neve_status status = options_read(&given, options, NULL, 0);
    if (status != NEVE_OK)
        return status;
    neve_heap *heap;
    status = neve_heap_create(given.heap, &heap);
    if (status != NEVE_OK)
        return status;
    /* The program has no runtime yet in which to look for memory. */
    heap->is_asking = true;
    neve_runtime *made = neve_heap_calloc(heap, NEVE_DOMAIN_RAW, 1, sizeof(*made));
    if (made == NULL) {
        neve_heap_destroy(heap);
        return NEVE_ENOMEM;
    }
    made->heap = heap;
    made->on_leak = given.on_leak;
    made->on_leak_ctx = given.on_leak_ctx;
    status = neve_collector_create(heap, &native_host, made, given.collect, &made->collector);
    if (status != NEVE_OK) {
        neve_heap_destroy(heap);
        return status;
    }
    heap->is_asking = false;
    *runtime = made;
    return NEVE_OK;
}

static int report_leak(void *ctx, const neve_handle_info *info)
{
    const neve_runtime *runtime = ctx;
    runtime->on_leak(runtime->on_leak_ctx, info);
    return 0;
}

void neve_runtime_destroy(neve_runtime *runtime)
{
    if (runtime == NULL)
        return;
    NV_ASSERT(runtime->depth == 0 && !neve_collector_is_collecting(runtime->collector));
    NV_ASSERT(runtime->kept.count == 0 && "a runtime was destroyed with an open scope");
    if (runtime->on_leak != NULL)
        (void)neve_handle_walk(runtime, report_leak, runtime);
    neve_collection result = {.collected = 0};
    for (int i = 0; i < FINAL_COLLECTIONS; i++) {
        if (neve_collect(runtime->collector, NEVE_GENERATIONS - 1, &result) != NEVE_OK ||
            result.collected == 0)
            break;
    }
    neve_collector_drain(runtime->collector);
    neve_heap *heap = runtime->heap;
    neve_collector_destroy(runtime->collector);
    neve_heap_destroy(heap);
}

neve_heap *neve_runtime_heap(neve_runtime *runtime)
{
    return runtime->heap;
}

neve_collector *neve_runtime_collector(neve_runtime *runtime)
{
    return runtime->collector;
}

void neve_runtime_before_fork(neve_runtime *runtime)
{
    neve_collector_before_fork(runtime->collector);
    neve_heap_before_fork(runtime->heap);
}

void neve_runtime_after_fork_child(neve_runtime *runtime)
{
    /* The cycle's tables would be copied page by page as it goes on. */
    neve_collector_after_fork_child(runtime->collector);
    neve_heap_after_fork_child(runtime->heap);
}

void neve_runtime_set_data(neve_runtime *runtime, void *data)
{
    runtime->data = data;
}

void *neve_runtime_data(neve_runtime *runtime)
{
    return runtime->data;
}

/* ---- roots ---- */

neve_status neve_root_add(neve_runtime *runtime, neve_object **slot)
{
    return nv_pointers_push_or_ask(runtime->heap, &runtime->roots, slot) ? NEVE_OK : NEVE_ENOMEM;
}

void neve_root_remove(neve_runtime *runtime, neve_object **slot)
{
    nv_pointers *roots = &runtime->roots;
    /* From the end: roots mostly go in the reverse order of their coming. */
    for (size_t i = roots->count; i-- > 0;) {
        if (roots->items[i] == (void *)slot) {
            roots->items[i] = roots->items[--roots->count];
            return;
        }
    }
    NV_ASSERT(false && "neve_root_remove of a slot that is no root");
}

/* ---- the uncollectable ---- */

size_t neve_uncollectable_count(const neve_runtime *runtime)
{
    return runtime->uncollectable.count;
}

neve_object *neve_uncollectable_get(const neve_runtime *runtime, size_t index)
{
    NV_ASSERT(index < runtime->uncollectable.count);
    return index < runtime->uncollectable.count ? runtime->uncollectable.items[index] : NULL;
}

void neve_uncollectable_clear(neve_runtime *runtime)
{
    /* Releasing may run code that collects and reports again: the list is
     * taken away first. */
    nv_pointers list = runtime->uncollectable;
    runtime->uncollectable = (nv_pointers){NULL, 0, 0};
    for (size_t i = 0; i < list.count; i++)
        neve_release(runtime, list.items[i]);
    neve_heap_free(runtime->heap, list.items);
}
