/* SPDX-License-Identifier: MIT */
/*
 * Weak references: objects of a built-in container type, and the runtime's
 * table from each referent to the weak references to it.
 *
 * A weak reference is in the table exactly while its referent field is set.
 * It is taken out when the referent dies (by count: after its finalizer; in a
 * collection: before, and once more for those made by finalizers), and when
 * the weak reference itself is cleared. The callback of a weak reference that
 * is dead itself is never called: a callback must not resurrect it.
 *
 * The flag NV_OBJECT_WEAKREFS in the referent's header spares all others the
 * look-up. Immortal referents go without it: they never die, and their headers
 * are not to be written (design, 7).
 *
 * Called by programs, through neve/object.h; by object.c and runtime.c.
 */
#include "object_internal.h"

struct nv_weakref {
    neve_object base;
    neve_object *referent;    /* borrowed; NULL once it is dead */
    nv_weakref *next, *prev;  /* to the same referent; next also links pending callbacks */
    neve_weakref_fn callback; /* NULL: none, or called already */
    neve_object *arg;
};

/* ---- the table ---- */

#define TABLE_MIN 16u

static size_t table_home(const nv_weakref_table *table, const neve_object *referent)
{
    uint64_t hash = (uint64_t)((uintptr_t)referent / NEVE_GRANULE) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (table->capacity - 1);
}

/* The referent's entry, or the empty one where it belongs. The table is not full. */
static nv_weakref_entry *table_slot(const nv_weakref_table *table, const neve_object *referent)
{
    size_t i = table_home(table, referent);
    while (table->entries[i].referent != NULL && table->entries[i].referent != referent)
        i = (i + 1) & (table->capacity - 1);
    return &table->entries[i];
}

static nv_weakref_entry *table_find(const nv_weakref_table *table, const neve_object *referent)
{
    if (table->count == 0)
        return NULL;
    nv_weakref_entry *entry = table_slot(table, referent);
    return entry->referent == NULL ? NULL : entry;
}

static bool table_resize(neve_runtime *runtime, size_t capacity)
{
    nv_weakref_table *table = &runtime->weakrefs;
    nv_weakref_table resized = {.capacity = capacity, .count = table->count};
    /* The hook for want of memory could change this very table. */
    bool was_asking = runtime->heap->is_asking;
    runtime->heap->is_asking = true;
    resized.entries =
        neve_heap_calloc(runtime->heap, NEVE_DOMAIN_RAW, capacity, sizeof(*resized.entries));
    runtime->heap->is_asking = was_asking;
    if (resized.entries == NULL)
        return false;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].referent != NULL)
            *table_slot(&resized, table->entries[i].referent) = table->entries[i];
    }
    neve_heap_free(runtime->heap, table->entries);
    *table = resized;
    return true;
}

/* Room for one more entry. */
static bool table_reserve(neve_runtime *runtime)
{
    const nv_weakref_table *table = &runtime->weakrefs;
    for (unsigned attempt = 1; table->count + 1 > table->capacity / 4 * 3; attempt++) {
        size_t capacity = table->capacity == 0 ? TABLE_MIN : table->capacity * 2;
        if (!table_resize(runtime, capacity) &&
            !nv_out_of_memory(runtime->heap, capacity * sizeof *table->entries, attempt))
            return false;
    }
    return true;
}

static void table_remove(neve_runtime *runtime, nv_weakref_entry *entry)
{
    nv_weakref_table *table = &runtime->weakrefs;
    size_t mask = table->capacity - 1;
    size_t hole = (size_t)(entry - table->entries);
    /* Entries behind the hole move up, unless that would put them before
     * their home. */
    for (size_t i = (hole + 1) & mask; table->entries[i].referent != NULL; i = (i + 1) & mask) {
        size_t home = table_home(table, table->entries[i].referent);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table->entries[hole] = table->entries[i];
            hole = i;
        }
    }
    table->entries[hole] = (nv_weakref_entry){NULL, NULL};
    table->count--;
    /* Without memory the table merely stays large. */
    if (table->capacity > TABLE_MIN && table->count < table->capacity / 8)
        (void)table_resize(runtime, table->capacity / 4);
}

/* ---- links ---- */

static void flag_set(neve_object *referent)
{
    if ((referent->flags & NV_OBJECT_WEAKREFS) == 0 && !neve_is_immortal(referent))
        referent->flags |= NV_OBJECT_WEAKREFS;
}

/* A queued referent keeps the flag, in its link word: a look-up that finds
 * nothing does no harm. */
static void flag_clear(neve_object *referent)
{
    if (!nv_object_is_queued(referent) && (referent->flags & NV_OBJECT_WEAKREFS) != 0)
        referent->flags &= ~NV_OBJECT_WEAKREFS;
}

void nv_weakref_detach(neve_runtime *runtime, neve_object *object)
{
    nv_weakref *weakref = (nv_weakref *)object;
    neve_object *referent = weakref->referent;
    if (referent == NULL)
        return;
    if (weakref->next != NULL)
        weakref->next->prev = weakref->prev;
    if (weakref->prev != NULL) {
        weakref->prev->next = weakref->next;
    } else {
        nv_weakref_entry *entry = table_find(&runtime->weakrefs, referent);
        NV_ASSERT(entry != NULL && entry->first == weakref);
        entry->first = weakref->next;
        if (entry->first == NULL) {
            table_remove(runtime, entry);
            flag_clear(referent);
        }
    }
    weakref->referent = NULL;
    weakref->next = NULL;
    weakref->prev = NULL;
}

/* Clears all weak references to `referent`. Those whose callbacks are to be
 * called get one reference more and go to the end of the list `*tail`. */
static nv_weakref **referent_detach(neve_runtime *runtime, neve_object *referent,
                                    bool with_callbacks, nv_weakref **tail)
{
    nv_weakref_entry *entry = table_find(&runtime->weakrefs, referent);
    if (entry == NULL)
        return tail;
    nv_weakref *weakref = entry->first;
    table_remove(runtime, entry);
    flag_clear(referent);
    while (weakref != NULL) {
        nv_weakref *next = weakref->next;
        weakref->referent = NULL;
        weakref->next = NULL;
        weakref->prev = NULL;
        /* One that is dead itself, by count or by the collector's verdict, is
         * not called and above all not retained. */
        if (with_callbacks && weakref->callback != NULL && !nv_object_is_dead(&weakref->base) &&
            (weakref->base.flags & NV_OBJECT_CONDEMNED) == 0) {
            neve_retain(&weakref->base);
            *tail = weakref;
            tail = &weakref->next;
        }
        weakref = next;
    }
    return tail;
}

/* Calls the callbacks of a list that referent_detach made. Returns how many
 * of the weak references died with that. */
static size_t run_callbacks(neve_runtime *runtime, nv_weakref *list)
{
    size_t died = 0;
    while (list != NULL) {
        nv_weakref *weakref = list;
        neve_weakref_fn callback = weakref->callback;
        neve_object *arg = weakref->arg;
        list = weakref->next;
        weakref->next = NULL;
        weakref->callback = NULL;
        weakref->arg = NULL;
        unsigned base = nv_user_code_begin(runtime);
        callback(runtime, &weakref->base, arg);
        nv_user_code_end(runtime, base);
        neve_release(runtime, arg);
        died += weakref->base.count == 1;
        neve_release(runtime, &weakref->base);
    }
    return died;
}

void nv_weakrefs_clear(neve_runtime *runtime, neve_object *referent)
{
    nv_weakref *list = NULL;
    referent_detach(runtime, referent, true, &list);
    (void)run_callbacks(runtime, list);
}

size_t nv_weakrefs_clear_batch(neve_runtime *runtime, void *const *objects, size_t n,
                               neve_weakref_pass pass, bool *ran_code)
{
    bool with_callbacks = pass == NEVE_WEAKREFS_BEFORE_FINALIZERS;
    nv_weakref *list = NULL, **tail = &list;
    if (runtime->weakrefs.count == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        neve_object *referent = objects[i];
        if ((referent->flags & NV_OBJECT_WEAKREFS) != 0)
            tail = referent_detach(runtime, referent, with_callbacks, tail);
    }
    *ran_code |= list != NULL;
    return run_callbacks(runtime, list);
}

void nv_weakrefs_visit(neve_runtime *runtime, neve_object *referent, neve_visit_fn visit, void *arg)
{
    const nv_weakref_entry *entry = table_find(&runtime->weakrefs, referent);
    for (nv_weakref *at = entry == NULL ? NULL : entry->first; at != NULL; at = at->next)
        if (at->callback != NULL)
            (void)visit(&at->base, arg);
}

bool nv_weakref_has_callback(const neve_object *object)
{
    const nv_weakref *weakref = (const nv_weakref *)object;
    return object->type == &nv_weakref_type && weakref->referent != NULL &&
           weakref->callback != NULL;
}

/* ---- the type ---- */

static void weakref_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    nv_weakref *weakref = (nv_weakref *)object;
    (void)cursor;
    if (weakref->arg != NULL)
        (void)visit(weakref->arg, arg);
}

static void weakref_clear(neve_runtime *runtime, neve_object *object)
{
    nv_weakref_detach(runtime, object);
    neve_clear_slot(runtime, &((nv_weakref *)object)->arg);
}

const neve_type nv_weakref_type = {
    .name = "weakref",
    .size = sizeof(nv_weakref),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = weakref_traverse,
    .clear = weakref_clear,
};

neve_object *neve_weakref_new(neve_runtime *runtime, neve_object *referent,
                              neve_weakref_fn callback, neve_object *arg)
{
    nv_weakref *weakref = (nv_weakref *)neve_object_new(runtime, &nv_weakref_type);
    if (weakref == NULL)
        return NULL;
    /* After the object is made: whatever asks the program for memory may have it make
     * weak references of its own, in the room that was reserved. */
    bool is_dead = nv_object_is_dead(referent);
    if (!is_dead && !table_reserve(runtime)) {
        neve_release(runtime, &weakref->base);
        return NULL;
    }
    weakref->callback = callback;
    weakref->arg = arg == NULL ? NULL : neve_retain(arg);
    if (is_dead) /* made by the `clear` or `dealloc` of its referent: born dead */
        return &weakref->base;
    nv_weakref_table *table = &runtime->weakrefs;
    nv_weakref_entry *entry = table_slot(table, referent);
    if (entry->referent == NULL) {
        entry->referent = referent;
        table->count++;
    } else {
        weakref->next = entry->first;
        entry->first->prev = weakref;
    }
    entry->first = weakref;
    weakref->referent = referent;
    flag_set(referent);
    return &weakref->base;
}

neve_object *nv_weakref_referent(const neve_object *weakref)
{
    NV_ASSERT(weakref->type == &nv_weakref_type);
    neve_object *referent = ((const nv_weakref *)weakref)->referent;
    /* A queued object has not been finalized yet and may come back; until then
     * nobody can have it. */
    return referent == NULL || nv_object_is_dead(referent) ? NULL : referent;
}

neve_object *neve_weakref_get(neve_runtime *runtime, neve_object *weakref)
{
    (void)runtime;
    neve_object *referent = nv_weakref_referent(weakref);
    return referent == NULL ? NULL : neve_retain(referent);
}

bool neve_is_weakref(const neve_runtime *runtime, const neve_object *object)
{
    (void)runtime;
    return object->type == &nv_weakref_type;
}
