/* SPDX-License-Identifier: MIT */
/*
 * What the tests of native objects share: runtimes, a container type with two
 * slots, a leaf, and a journal of what happened to them. Each test program
 * includes it once; a journal belongs to one runtime (its data pointer).
 */
#ifndef NEVE_TESTS_OBJECT_SUPPORT_H
#define NEVE_TESTS_OBJECT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "neve.h"
#include "object/slow.h"

#ifndef NEVE_DEBUG
#define NEVE_DEBUG 0
#endif

#define UNUSED __attribute__((unused))

/* What happened, in order: a letter and an object's name each. */
typedef struct journal {
    char text[4096];
    size_t length;
    int finalized, cleared, freed, called;
} journal;

static journal *journal_of(neve_runtime *runtime)
{
    return neve_runtime_data(runtime);
}

static void journal_note(neve_runtime *runtime, char what, char name)
{
    journal *j = journal_of(runtime);
    if (j == NULL || name == '\0' || j->length + 4 > sizeof j->text)
        return;
    j->text[j->length++] = what;
    j->text[j->length++] = name;
    j->text[j->length++] = ' ';
    j->text[j->length] = '\0';
}

static UNUSED void journal_reset(journal *j)
{
    memset(j, 0, sizeof *j);
}

/* A container with two references, a name for the journal, and what its
 * finalizer does. */
typedef struct pair pair;
typedef void (*pair_finalizer)(neve_runtime *runtime, pair *self);
struct pair {
    neve_object base;
    neve_object *a, *b;
    pair_finalizer on_finalize;
    neve_object **store; /* for on_finalize */
    char name;
};

static void pair_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    pair *p = (pair *)object;
    (void)cursor;
    if (p->a != NULL && visit(p->a, arg) != 0)
        return;
    if (p->b != NULL)
        (void)visit(p->b, arg);
}

static void pair_clear(neve_runtime *runtime, neve_object *object)
{
    pair *p = (pair *)object;
    journal *j = journal_of(runtime);
    if (j != NULL)
        j->cleared++;
    neve_clear_slot(runtime, &p->a);
    neve_clear_slot(runtime, &p->b);
}

static void pair_finalize(neve_runtime *runtime, neve_object *object)
{
    pair *p = (pair *)object;
    journal *j = journal_of(runtime);
    if (j != NULL)
        j->finalized++;
    journal_note(runtime, 'f', p->name);
    if (p->on_finalize != NULL)
        p->on_finalize(runtime, p);
}

static void pair_dealloc(neve_runtime *runtime, neve_object *object)
{
    journal *j = journal_of(runtime);
    if (j != NULL)
        j->freed++;
    journal_note(runtime, 'd', ((pair *)object)->name);
}

static UNUSED const neve_type pair_type = {
    .name = "pair",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = pair_traverse,
    .clear = pair_clear,
    .dealloc = pair_dealloc,
};

static UNUSED const neve_type finalized_pair_type = {
    .name = "finalized pair",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = pair_traverse,
    .clear = pair_clear,
    .finalize = pair_finalize,
    .dealloc = pair_dealloc,
};

/* Without clear: cannot break its own cycles. */
static UNUSED const neve_type unclearable_pair_type = {
    .name = "unclearable pair",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = pair_traverse,
    .dealloc = pair_dealloc,
};

typedef struct leaf {
    neve_object base;
    char name;
} leaf;

static void leaf_dealloc(neve_runtime *runtime, neve_object *object)
{
    journal *j = journal_of(runtime);
    if (j != NULL)
        j->freed++;
    journal_note(runtime, 'd', ((leaf *)object)->name);
}

static UNUSED const neve_type leaf_type = {
    .name = "leaf", .size = sizeof(leaf), .dealloc = leaf_dealloc};

static UNUSED pair *new_pair(neve_runtime *runtime, const neve_type *type, char name)
{
    pair *p = (pair *)neve_object_new(runtime, type);
    assert_non_null(p);
    p->name = name;
    return p;
}

static UNUSED leaf *new_leaf(neve_runtime *runtime, char name)
{
    leaf *l = (leaf *)neve_object_new(runtime, &leaf_type);
    assert_non_null(l);
    l->name = name;
    return l;
}

/* Two pairs that refer to each other and that nothing else refers to. */
static UNUSED void make_garbage_ring(neve_runtime *runtime, const neve_type *type, char name_a,
                                     char name_b)
{
    pair *a = new_pair(runtime, type, name_a);
    pair *b = new_pair(runtime, type, name_b);
    a->a = &b->base;
    b->a = &a->base;
}

/* The journal may be NULL. */
static UNUSED neve_runtime *new_runtime(journal *j)
{
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(NULL, &runtime), NEVE_OK);
    if (j != NULL)
        journal_reset(j);
    neve_runtime_set_data(runtime, j);
    return runtime;
}

static UNUSED neve_collection collect(neve_runtime *runtime, int generation)
{
    neve_collection result;
    assert_int_equal(neve_collect(neve_runtime_collector(runtime), generation, &result), NEVE_OK);
    assert_int_equal(result.generation, generation);
    assert_true(result.is_explicit);
    return result;
}

/* Live blocks of the counted domains: objects, and nothing but objects. */
static UNUSED size_t live_objects(neve_runtime *runtime)
{
    neve_heap_stats stats;
    neve_heap_get_stats(neve_runtime_heap(runtime), &stats);
    return stats.small_blocks[NEVE_DOMAIN_OBJECT] + stats.small_blocks[NEVE_DOMAIN_LEAF];
}

static UNUSED void check_runtime(neve_runtime *runtime)
{
    char message[256];
    neve_collector *collector = neve_runtime_collector(runtime);
    if (neve_collector_check(collector, message, sizeof message) != NEVE_OK)
        fail_msg("%s", message);
}

#endif
