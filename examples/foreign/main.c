/* SPDX-License-Identifier: MIT */
/*
 * A program for these cells: `foreign [generational|incremental|snapshot]`. It makes
 * cycles of several kinds, polls as an interpreter would, and prints what became of
 * them; at the end it checks that nothing was lost or left.
 */
#include "value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_failed;

static void expect(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "foreign: not as expected: %s\n", what);
        has_failed = true;
    }
}

/* The result of making a cell: a program of this size ends without memory. */
static word made(word w)
{
    if (w == NIL) {
        fputs("foreign: not enough memory\n", stderr);
        exit(1);
    }
    return w;
}

static void set_item(machine *m, word tuple, size_t i, word item)
{
    word before = cell_of(tuple)->as.items[i];
    cell_of(tuple)->as.items[i] = item; /* takes the caller's reference over */
    word_release(m, before);
}

/* A parent that knows its children, each of which knows its parent. */
static word family_new(machine *m, uint32_t children)
{
    word parent = made(tuple_new(m, children + 1));
    set_item(m, parent, 0, made(text_new(m, "parent")));
    for (uint32_t i = 1; i <= children; i++) {
        word child = made(tuple_new(m, 2));
        set_item(m, child, 0, word_of_int(i));
        set_item(m, child, 1, word_retain(parent));
        set_item(m, parent, i, child);
    }
    return parent;
}

static size_t collect(machine *m)
{
    neve_collection result = {.collected = 0};
    expect(neve_collect(m->collector, NEVE_GENERATIONS - 1, &result) == NEVE_OK, "a collection");
    neve_collector_drain(m->collector);
    return result.collected;
}

static int ended;

static void note_end(machine *m, cell *guard)
{
    (void)m;
    (void)guard;
    ended++;
}

/* Brings its guard, and all that it reaches, back to life. */
static void revive(machine *m, cell *guard)
{
    ended++;
    set_item(m, m->globals, 1, word_retain((word)guard));
}

static size_t found_inside;

static void collect_inside(machine *m, cell *guard)
{
    (void)guard;
    found_inside = collect(m);
}

/* A ring of a guard and a tuple. */
static word guarded_ring_new(machine *m, end_function on_end)
{
    word tuple = made(tuple_new(m, 1)), guard = made(guard_new(m, tuple, on_end));
    set_item(m, tuple, 0, word_retain(guard));
    word_release(m, tuple);
    return guard;
}

static void run(machine *m)
{
    m->globals = made(tuple_new(m, 2));
    set_item(m, m->globals, 0, family_new(m, 3));
    size_t before = m->cells;

    word_release(m, family_new(m, 10));
    printf("family dropped: %zu cells alive", m->cells);
    size_t found = collect(m); /* not in one expression with the count that it changes */
    printf(", collected %zu, %zu alive\n", found, m->cells);
    expect(m->cells == before, "the family that is a global is left");

    word_release(m, guarded_ring_new(m, note_end));
    found = collect(m);
    printf("guarded ring: collected %zu, ended %d\n", found, ended);

    word_release(m, guarded_ring_new(m, revive));
    found = collect(m);
    printf("reviving ring: collected %zu, ended %d, %zu more alive\n", found, ended,
           m->cells - before);
    set_item(m, m->globals, 1, NIL);
    found = collect(m);
    printf("let go again: collected %zu, ended %d\n", found, ended);
    expect(m->cells == before, "all rings are gone");

    /* The tuple around the guard is being taken apart when the collection begins. */
    word outer = made(tuple_new(m, 2));
    set_item(m, outer, 0, made(guard_new(m, NIL, collect_inside)));
    set_item(m, outer, 1, family_new(m, 2));
    word_release(m, guarded_ring_new(m, NULL));
    word_release(m, outer);
    found = collect(m);
    printf("inside a release: collected %zu, and then %zu\n", found_inside, found);
    expect(m->cells == before, "the tuple and the family are gone");

    /* 70,000 references, visited in pieces, to a cell whose count gets stuck. */
    word shared = made(tuple_new(m, 0)), wide = made(tuple_new(m, 70000));
    for (size_t i = 0; i < 70000; i++)
        set_item(m, wide, i, word_retain(shared));
    word_release(m, shared);
    set_item(m, wide, 69999, word_retain(wide)); /* in the last piece */
    word_release(m, wide);
    found = collect(m);
    printf("wide ring: collected %zu, %zu cell with a stuck count is left\n", found,
           m->cells - before);

    /* What a loop of an interpreter does: allocation sets the event, the poll collects. */
    size_t most = 0;
    for (int i = 0; i < 20000; i++) {
        word_release(m, family_new(m, 3));
        neve_poll(m->collector, neve_collector_breaker(m->collector));
        most = m->cells > most ? m->cells : most;
    }
    expect(most < 40000, "automatic collections keep up with 100,000 cells of garbage");
    (void)collect(m);
    printf("after 20,000 families: %zu cells alive\n", m->cells - before);
}

static bool mode_of(const char *name, neve_mode *mode)
{
    static const char *const names[] = {"generational", "incremental", "snapshot"};
    for (unsigned i = 0; i < 3; i++) {
        *mode = (neve_mode)i;
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    neve_mode mode = NEVE_MODE_GENERATIONAL;
    if (argc > 2 || (argc == 2 && !mode_of(argv[1], &mode))) {
        fputs("usage: foreign [generational|incremental|snapshot]\n", stderr);
        return 2;
    }
    machine m;
    if (!machine_create(&m, mode)) {
        fputs("foreign: not enough memory\n", stderr);
        return 1;
    }
    run(&m);
    char message[256];
    if (neve_collector_check(m.collector, message, sizeof message) != NEVE_OK)
        expect(false, message);
    machine_destroy(&m);
    return has_failed ? 1 : 0;
}
