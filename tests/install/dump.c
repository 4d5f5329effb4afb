/* SPDX-License-Identifier: MIT */
/*
 * Dumps a small world of objects to standard output: chains, a ring, strings of several
 * lengths, one of them large and one immortal, a weak reference, handles.
 */
#include <neve.h>

#include <string.h>

typedef struct row {
    neve_var_object base;
    neve_object *cells[]; /* `length` of them */
} row;

static void row_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    row *self = (row *)object;
    (void)cursor;
    (void)neve_visit_items((void *const *)self->cells, self->base.length, visit, arg);
}

static void row_clear(neve_runtime *runtime, neve_object *object)
{
    row *self = (row *)object;
    for (size_t i = 0; i < self->base.length; i++)
        neve_clear_slot(runtime, &self->cells[i]);
}

static const neve_type row_type = {
    .name = "row",
    .size = sizeof(row),
    .item_size = sizeof(neve_object *),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = row_traverse,
    .clear = row_clear,
};

/* The name is Latin-1, and no valid UTF-8: a dump is ASCII all the same. */
static const neve_type text_type = {
    .name = "te\"xt\xe9",
    .size = sizeof(neve_var_object),
    .item_size = 1,
};

int main(void)
{
    neve_runtime *runtime;
    if (neve_runtime_create(NULL, &runtime) != NEVE_OK)
        return 1;
    neve_scope scope;
    neve_scope_open(runtime, &scope);

    row *table = (row *)neve_scope_keep(runtime, neve_object_new_var(runtime, &row_type, 1000));
    if (table == NULL)
        return 1;
    for (size_t i = 0; i < 999; i++) {
        row *line = (row *)neve_object_new_var(runtime, &row_type, 3);
        if (line == NULL)
            return 1;
        table->cells[i] = &line->base.base;
        line->cells[0] = neve_object_new_var(runtime, &text_type, i);
        line->cells[1] = neve_retain(&table->base.base);
    }
    table->cells[999] = neve_weakref_new(runtime, &table->base.base, NULL, NULL);
    neve_make_immortal(((row *)table->cells[0])->cells[0]);
    if (neve_collect(neve_runtime_collector(runtime), NEVE_GENERATIONS - 1, NULL) != NEVE_OK)
        return 1;
    neve_object *young = neve_scope_keep(runtime, neve_object_new_var(runtime, &row_type, 0));
    neve_handle *handle = neve_handle_new(runtime, young, NEVE_HERE);
    neve_handle *weak = neve_handle_new_weak(runtime, young, NULL);

    neve_status status = neve_runtime_dump_fd(runtime, 1);
    neve_handle_close(runtime, weak);
    neve_handle_close(runtime, handle);
    neve_scope_close(runtime, &scope);
    neve_runtime_destroy(runtime);
    return status == NEVE_OK ? 0 : 1;
}
