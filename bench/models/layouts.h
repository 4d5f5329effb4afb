/* SPDX-License-Identifier: MIT */
/*
 * Where a cycle collector can keep its state, as models that can be measured: what `neve bench cow` runs.
 *
 * Each model builds the same heap in its own layout: lists, each of which refers to a random earlier one,
 * and strings, made in turn as a program makes them that parses. Its work is one full collection, in
 * which nothing is garbage; what that writes is what the layout costs a forked child.
 *
 *   in_front.c     a head in front of each list: next, prev, gc_refs
 *   dense.c        in front of each list a pointer to its head, and the heads side by side elsewhere
 *   frozen.c       as in_front.c, and before the fork all lists leave the collector's care
 *   own_pages.c    as in_front.c, but lists and strings never share a page
 *   side_tables.c  libneve
 *   counts.c       as in_front.c, and the work is no collection, but touches every count
 *
 *   linked.h       lists with heads, and trial deletion over them
 *   region.h       memory from which blocks are cut one after another
 *
 * The models live in a process each, which ends with the measurement: nothing is freed.
 */
#ifndef NEVE_BENCH_LAYOUTS_H
#define NEVE_BENCH_LAYOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a string takes, and what a list takes without anything of the collector's. */
enum { LAYOUT_STRING_BYTES = 64, LAYOUT_LIST_BYTES = 32 };

typedef struct layout_plan {
    size_t lists, strings;
} layout_plan;

typedef struct layout {
    const char *name; /* on the command line */
    const char *title;
    /* NULL: no memory. */
    void *(*build)(const layout_plan *plan);
    /* What one list takes, with all that the collector keeps for it between collections. */
    double (*list_bytes)(const void *world);
    /* False: it found garbage where there is none, or failed. */
    bool (*work)(void *world);
    void (*before_fork)(void *world);         /* NULL: nothing */
    void (*after_fork_in_child)(void *world); /* NULL: nothing */
} layout;

extern const layout layout_in_front, layout_dense, layout_frozen, layout_own_pages,
    layout_side_tables, layout_counts;

/* How many strings are made before list number `i`, and with it: they are spread evenly. */
static inline size_t layout_strings_before(const layout_plan *plan, size_t i)
{
    return (size_t)((double)plan->strings * (double)i / (double)plan->lists);
}

/* xorshift64* (Vigna 2016): a number below `limit`; the state is never 0. */
static inline size_t layout_random(uint64_t *state, size_t limit)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (size_t)((x * UINT64_C(2685821657736338717) >> 16) % limit);
}

#endif
