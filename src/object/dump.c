/* SPDX-License-Identifier: MIT */
/*
 * Walk, census and dump of a runtime's objects.
 *
 * What a walk relies on: every block of the counted domains is an object, initialised
 * before anything else runs (object.c). Dead ones are told by their headers alone.
 *
 * Called by programs, through neve/dump.h.
 */
#include "neve/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "neve/handle.h"
#include "object_internal.h"
#include "observe/json.h"

#define DUMP_FORMAT 1

/* ---- the walk ---- */

typedef struct walk {
    void (*see)(void *ctx, neve_object *object, size_t bytes);
    int (*visit)(void *object, void *arg);
    void *ctx;
} walk;

static int walk_block(void *arg, const neve_block *block)
{
    const walk *w = arg;
    neve_object *object = block->address;
    if (block->domain == NEVE_DOMAIN_RAW || nv_object_is_dead(object) ||
        (object->flags & NV_OBJECT_CONDEMNED) != 0)
        return 0;
    if (w->visit != NULL)
        return w->visit(object, w->ctx);
    w->see(w->ctx, object, block->bytes);
    return 0;
}

int neve_runtime_walk(const neve_runtime *runtime, neve_visit_fn visit, void *arg)
{
    walk w = {.visit = visit, .ctx = arg};
    return neve_heap_walk(runtime->heap, walk_block, &w);
}

/* ---- the census ---- */

/* A hash table by the type's address, at most half full. */
typedef struct census {
    neve_census_row *rows;
    size_t capacity, count;
    size_t objects, bytes;
    bool has_failed;
} census;

static neve_census_row *row_of(neve_census_row *rows, size_t capacity, const neve_type *type)
{
    uint64_t mixed = (uint64_t)((uintptr_t)type / sizeof(void *)) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(mixed >> 32) & (capacity - 1);
    while (rows[i].type != NULL && rows[i].type != type)
        i = (i + 1) & (capacity - 1);
    return &rows[i];
}

static bool census_grow(census *all)
{
    size_t capacity = all->capacity == 0 ? 64 : all->capacity * 2;
    neve_census_row *rows = calloc(capacity, sizeof *rows);
    if (rows == NULL)
        return false;
    for (size_t i = 0; i < all->capacity; i++)
        if (all->rows[i].type != NULL)
            *row_of(rows, capacity, all->rows[i].type) = all->rows[i];
    free(all->rows);
    all->rows = rows;
    all->capacity = capacity;
    return true;
}

static void census_see(void *ctx, neve_object *object, size_t bytes)
{
    census *all = ctx;
    if (all->count * 2 >= all->capacity && !census_grow(all)) {
        all->has_failed = true;
        return;
    }
    neve_census_row *row = row_of(all->rows, all->capacity, object->type);
    if (row->type == NULL) {
        row->type = object->type;
        all->count++;
    }
    row->objects++;
    row->bytes += bytes;
    all->objects++;
    all->bytes += bytes;
}

static int larger_first(const void *left, const void *right)
{
    const neve_census_row *a = left, *b = right;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    return a->type == NULL || b->type == NULL ? 0 : strcmp(a->type->name, b->type->name);
}

/* The rows, in order, are the first `count`; to be freed. */
static bool census_take(const neve_runtime *runtime, census *all)
{
    *all = (census){.rows = NULL};
    walk w = {.see = census_see, .ctx = all};
    (void)neve_heap_walk(runtime->heap, walk_block, &w);
    if (all->has_failed) {
        free(all->rows);
        return false;
    }
    if (all->count > 0)
        qsort(all->rows, all->capacity, sizeof *all->rows, larger_first);
    return true;
}

neve_status neve_runtime_census(const neve_runtime *runtime,
                                void (*take)(void *ctx, const neve_census_row *row), void *ctx)
{
    census all;
    if (!census_take(runtime, &all))
        return NEVE_ENOMEM;
    for (size_t i = 0; i < all.count; i++)
        take(ctx, &all.rows[i]);
    free(all.rows);
    return NEVE_OK;
}

/* ---- the dump ---- */

typedef struct dump {
    neve_runtime *runtime;
    nv_json json;
} dump;

static void line_begin(nv_json *json, const char *kind)
{
    nv_json_open(json, NULL, '{');
    nv_json_text(json, "kind", kind);
}

static void line_end(nv_json *json)
{
    nv_json_close(json, '}');
    nv_json_line(json);
}

static void dump_head(dump *d, const census *all)
{
    static const char *const modes[] = {
        [NEVE_MODE_GENERATIONAL] = "generational",
        [NEVE_MODE_INCREMENTAL] = "incremental",
        [NEVE_MODE_SNAPSHOT] = "snapshot",
    };
    line_begin(&d->json, "heap");
    nv_json_number(&d->json, "format", DUMP_FORMAT);
    nv_json_text(&d->json, "neve", neve_version());
    nv_json_text(&d->json, "mode", modes[neve_collector_mode(d->runtime->collector)]);
    nv_json_number(&d->json, "objects", all->objects);
    nv_json_number(&d->json, "bytes", all->bytes);
    line_end(&d->json);
    for (size_t i = 0; i < all->count; i++) {
        const neve_census_row *row = &all->rows[i];
        line_begin(&d->json, "type");
        nv_json_text(&d->json, "name", row->type->name);
        nv_json_number(&d->json, "objects", row->objects);
        nv_json_number(&d->json, "bytes", row->bytes);
        line_end(&d->json);
    }
}

static void dump_root(dump *d, const char *by, const char *where, const neve_object *object)
{
    if (object == NULL)
        return;
    line_begin(&d->json, "root");
    nv_json_text(&d->json, "by", by);
    if (where != NULL)
        nv_json_text(&d->json, "where", where);
    nv_json_address(&d->json, "object", object);
    line_end(&d->json);
}

static int dump_handle(void *ctx, const neve_handle_info *info)
{
    dump_root(ctx, info->is_weak ? "weak handle" : "handle", info->where, info->object);
    return 0;
}

static void dump_roots(dump *d)
{
    const neve_runtime *runtime = d->runtime;
    for (size_t i = 0; i < runtime->roots.count; i++)
        dump_root(d, "root", NULL, *(neve_object **)runtime->roots.items[i]);
    (void)neve_handle_walk(runtime, dump_handle, d);
    for (size_t i = 0; i < runtime->kept.count; i++)
        dump_root(d, "scope", NULL, runtime->kept.items[i]);
    for (size_t i = 0; i < runtime->uncollectable.count; i++)
        dump_root(d, "uncollectable", NULL, runtime->uncollectable.items[i]);
}

static int dump_reference(void *object, void *arg)
{
    nv_json_address(arg, NULL, object);
    return 0;
}

static void dump_object(void *ctx, neve_object *object, size_t bytes)
{
    dump *d = ctx;
    const neve_type *type = object->type;
    line_begin(&d->json, "object");
    nv_json_address(&d->json, "id", object);
    nv_json_text(&d->json, "type", type->name);
    nv_json_number(&d->json, "bytes", bytes);
    if (type->item_size != 0)
        nv_json_number(&d->json, "length", ((const neve_var_object *)object)->length);
    if (neve_is_immortal(object))
        nv_json_null(&d->json, "count");
    else
        nv_json_number(&d->json, "count", object->count);
    if ((type->flags & NEVE_TYPE_CONTAINER) != 0) {
        int generation = neve_collector_generation_of(d->runtime->collector, object);
        nv_json_number(&d->json, "generation", (uint64_t)generation);
        nv_json_open(&d->json, "references", '[');
        size_t cursor = 0;
        do {
            nv_object_traverse(object, dump_reference, &d->json, &cursor);
        } while (cursor != 0);
        nv_json_close(&d->json, ']');
    }
    if (type == &nv_weakref_type && nv_weakref_referent(object) != NULL)
        nv_json_address(&d->json, "weakly", nv_weakref_referent(object));
    line_end(&d->json);
}

neve_status neve_runtime_dump(neve_runtime *runtime, neve_write_fn write, void *ctx)
{
    if (neve_collector_is_collecting(runtime->collector))
        return NEVE_EBUSY;
    census all;
    if (!census_take(runtime, &all))
        return NEVE_ENOMEM;
    dump d = {.runtime = runtime};
    nv_json_begin(&d.json, write, ctx);
    dump_head(&d, &all);
    free(all.rows);
    dump_roots(&d);
    walk w = {.see = dump_object, .ctx = &d};
    (void)neve_heap_walk(runtime->heap, walk_block, &w);
    line_begin(&d.json, "end");
    line_end(&d.json);
    return nv_json_flush(&d.json) ? NEVE_OK : NEVE_EIO;
}

static bool write_fd(void *ctx, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(*(const int *)ctx, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text += written;
        length -= (size_t)written;
    }
    return true;
}

neve_status neve_runtime_dump_fd(neve_runtime *runtime, int fd)
{
    return neve_runtime_dump(runtime, write_fd, &fd);
}
