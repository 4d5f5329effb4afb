/* SPDX-License-Identifier: MIT */
/*
 * What Neve has to know of these cells: a table of functions. docs/host.md goes through
 * it step by step.
 *
 * `objects` are always containers: leaves live in a domain of their own, and reach the
 * collector only as what `traverse` visits.
 */
#include "value.h"

/* A count that got stuck is no count: such a cell may be referred to from anywhere. */
static void read_counts(void *ctx, void *const *objects, size_t n, uint32_t *counts)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        uint16_t count = ((const cell *)objects[i])->count;
        counts[i] = count == COUNT_STUCK ? NEVE_COUNT_HELD : count;
    }
}

enum { PIECE = 4096 }; /* words of a large tuple that are visited in one go */

static void traverse(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)ctx;
    size_t count, begin = *cursor;
    word *words = cell_words(object, &count);
    size_t end = count - begin > PIECE ? begin + PIECE : count;
    *cursor = end < count ? end : 0;
    for (size_t i = begin; i < end; i++)
        if (is_cell(words[i]) && visit(cell_of(words[i]), arg) != 0)
            return;
}

static void retain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        (void)word_retain((word)objects[i]);
}

static void release(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        word_release(ctx, (word)objects[i]);
}

/* Takes the references out of each cell: that breaks the cycles, and counting does the
 * rest. The collector holds the cells themselves meanwhile. */
static void clear(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t count;
        word *words = cell_words(objects[i], &count);
        for (size_t k = 0; k < count; k++) {
            word held = words[k];
            words[k] = NIL;
            word_release(ctx, held);
        }
    }
}

static const char *type_name(void *ctx, void *object)
{
    static const char *const names[] = {"text", "tuple", "guard"};
    (void)ctx;
    return names[((const cell *)object)->kind];
}

/* A guard's function can reach a safe point while a cell that held the guard is being
 * taken apart further out. */
static bool is_tracked(void *ctx, void *object)
{
    (void)ctx;
    return !((const cell *)object)->is_dying;
}

static void visit_roots(void *ctx, neve_visit_fn visit, void *arg)
{
    const machine *m = ctx;
    if (is_cell(m->globals))
        (void)visit(cell_of(m->globals), arg);
}

/* The collector then looks again at what the functions have touched: *ran_code says
 * that there is need to. */
static void finalize(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    for (size_t i = 0; i < n; i++)
        *ran_code |= guard_end(ctx, objects[i]);
}

static const neve_host word_host = {
    .struct_size = sizeof(neve_host),
    .name = "words",
    .read_counts = read_counts,
    .traverse = traverse,
    .retain = retain,
    .release = release,
    .clear = clear,
    .type_name = type_name,
    .is_tracked = is_tracked,
    .visit_roots = visit_roots,
    .finalize = finalize,
};

bool machine_create(machine *m, neve_mode mode)
{
    neve_collector_options options = {.struct_size = sizeof options, .mode = mode};
    *m = (machine){.globals = NIL};
    if (neve_heap_create(NULL, &m->heap) != NEVE_OK)
        return false;
    if (neve_collector_create(m->heap, &word_host, m, &options, &m->collector) == NEVE_OK)
        return true;
    neve_heap_destroy(m->heap);
    return false;
}

void machine_destroy(machine *m)
{
    word_release(m, m->globals);
    m->globals = NIL;
    (void)neve_collect(m->collector, NEVE_GENERATIONS - 1, NULL);
    neve_collector_drain(m->collector);
    neve_collector_destroy(m->collector);
    neve_heap_destroy(m->heap);
}
