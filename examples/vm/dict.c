/* SPDX-License-Identifier: MIT */
/*
 * The hash table: entries in the order of their coming, and behind them, in the same raw block,
 * a table of numbers of entries, open-addressed. One block for each dict is one allocation that
 * can fail, and one to free.
 *
 * A removed entry keeps its place, without a key, until the table is built anew. Nothing is
 * released while the table is out of order: a release may run code that uses the same dict.
 */
#include "vm.h"

#include <string.h>

#define DICT_LEAST 4u

static uint32_t *table_of(const dict *d)
{
    return (uint32_t *)(void *)(d->entries + d->capacity);
}

/* The entry with that key, or NULL; *place is where its number is or belongs. */
static dict_entry *find(const dict *d, value key, uint32_t *place)
{
    if (d->capacity == 0)
        return NULL;
    uint32_t *table = table_of(d), mask = 2 * d->capacity - 1;
    uint32_t i = value_hash(key) & mask;
    while (table[i] != 0) {
        dict_entry *e = &d->entries[table[i] - 1];
        if (e->key != NO_VALUE && value_equal(e->key, key)) {
            *place = i;
            return e;
        }
        i = (i + 1) & mask;
    }
    *place = i;
    return NULL;
}

/* Room for one more entry, removed ones left out; the old table stays where memory lacks. */
static bool make_room(vm *m, dict *d)
{
    if (d->used < d->capacity)
        return true;
    uint32_t capacity = d->capacity == 0 ? DICT_LEAST : d->capacity;
    if (d->live > capacity / 2)
        capacity *= 2;
    size_t bytes = capacity * (sizeof(dict_entry) + 2 * sizeof(uint32_t));
    dict built = {.capacity = capacity};
    built.entries = neve_heap_alloc(m->heap, NEVE_DOMAIN_RAW, bytes);
    if (built.entries == NULL || capacity > UINT32_MAX / 4) {
        neve_heap_free(m->heap, built.entries);
        return vm_throw_no_memory(m);
    }
    memset(table_of(&built), 0, 2 * capacity * sizeof(uint32_t));
    for (uint32_t i = 0; i < d->used; i++) {
        if (d->entries[i].key == NO_VALUE)
            continue;
        uint32_t place;
        (void)find(&built, d->entries[i].key, &place);
        built.entries[built.used++] = d->entries[i];
        table_of(&built)[place] = built.used;
    }
    neve_heap_free(m->heap, d->entries);
    d->entries = built.entries;
    d->used = d->live;
    d->capacity = capacity;
    return true;
}

value dict_get(const dict *d, value key)
{
    uint32_t place;
    const dict_entry *e = find(d, key, &place);
    return e == NULL ? NO_VALUE : e->item;
}

bool dict_set(vm *m, dict *d, value key, value item)
{
    uint32_t place;
    dict_entry *e = find(d, key, &place);
    if (e != NULL) {
        assign(m, &e->item, retain(item));
        return true;
    }
    if (!make_room(m, d))
        return false;
    (void)find(d, key, &place); /* the table may be another one now */
    d->entries[d->used++] = (dict_entry){retain(key), retain(item)};
    d->live++;
    table_of(d)[place] = d->used;
    return true;
}

value dict_take(vm *m, dict *d, value key)
{
    uint32_t place;
    dict_entry *e = find(d, key, &place);
    if (e == NULL)
        return NO_VALUE;
    dict_entry taken = *e;
    *e = (dict_entry){NO_VALUE, NO_VALUE};
    d->live--;
    release(m, taken.key);
    return taken.item;
}

/* ---- the native type ---- */

static void dict_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    const dict *d = (dict *)object;
    for (uint32_t i = 0; i < d->used; i++) {
        const dict_entry *e = &d->entries[i];
        if (is_object(e->key) && visit(object_of(e->key), arg) != 0)
            return;
        if (is_object(e->item) && visit(object_of(e->item), arg) != 0)
            return;
    }
}

void dict_clear(neve_runtime *runtime, neve_object *object)
{
    vm *m = neve_runtime_data(runtime);
    dict *d = (dict *)object, old = *d;
    d->entries = NULL;
    d->used = d->live = d->capacity = 0;
    for (uint32_t i = 0; i < old.used; i++) {
        release(m, old.entries[i].key);
        release(m, old.entries[i].item);
    }
    neve_heap_free(m->heap, old.entries);
}

const neve_type dict_type = {.name = "dict",
                             .size = sizeof(dict),
                             .flags = NEVE_TYPE_CONTAINER,
                             .traverse = dict_traverse,
                             .clear = dict_clear};

dict *dict_new(vm *m)
{
    dict *d = (dict *)neve_object_new(m->runtime, &dict_type);
    if (d == NULL)
        vm_throw_no_memory(m);
    return d;
}
