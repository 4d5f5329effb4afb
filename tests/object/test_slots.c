/* SPDX-License-Identifier: MIT */
/*
 * Types that say where their references lie: everything else has to work as it does with
 * functions, and garbage that consists of nothing else is freed as a whole.
 */
#include "object/object_internal.h"
#include "object/support.h"

typedef struct knot {
    neve_object base;
    neve_object *a, *b;
    long value;
} knot;

static const neve_type knot_type = {
    .name = "knot",
    .size = sizeof(knot),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS,
    .slot_offset = offsetof(knot, a),
    .slot_count = 2,
};

typedef struct row {
    neve_var_object var;
    char name;
    neve_object *fixed;
    neve_object *items[];
} row;

static void row_dealloc(neve_runtime *runtime, neve_object *object)
{
    journal_note(runtime, 'd', ((row *)object)->name);
}

static const neve_type row_type = {
    .name = "row",
    .size = sizeof(row),
    .item_size = sizeof(neve_object *),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS | NEVE_TYPE_FREES_ONLY,
    .dealloc = row_dealloc,
    .slot_offset = offsetof(row, fixed),
    .slot_count = 1,
};

static knot *new_knot(neve_runtime *runtime)
{
    knot *made = (knot *)neve_object_new(runtime, &knot_type);
    assert_non_null(made);
    return made;
}

static row *new_row(neve_runtime *runtime, size_t length, char name)
{
    row *made = (row *)neve_object_new_var(runtime, &row_type, length);
    assert_non_null(made);
    made->name = name;
    return made;
}

/* A ring of knots, each of which shares `shared` as well, if there is one. Returns the
 * first, to which the caller holds no reference. */
static knot *garbage_ring(neve_runtime *runtime, size_t length, neve_object *shared)
{
    knot *first = new_knot(runtime), *last = first;
    for (size_t i = 1; i < length; i++) {
        knot *next = new_knot(runtime);
        last->a = &next->base;
        last = next;
    }
    last->a = &first->base;
    for (knot *k = first; shared != NULL; k = (knot *)k->a) {
        k->b = neve_retain(shared);
        if (k == last)
            break;
    }
    return first;
}

static void test_death_by_count(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    row *outer = new_row(runtime, 3, 'o'), *inner = new_row(runtime, 0, 'i');
    outer->fixed = &inner->var.base;
    outer->items[0] = &new_leaf(runtime, 'x')->base;
    outer->items[2] = neve_retain(&inner->var.base);
    neve_release(runtime, &outer->var.base);
    assert_string_equal(j.text, "dx di do ");
    assert_int_equal(live_objects(runtime), 0);
    /* Made by plain new it has a length of 0 and its fixed slot. */
    row *bare = (row *)neve_object_new(runtime, &row_type);
    bare->fixed = &new_leaf(runtime, 'y')->base;
    neve_release(runtime, &bare->var.base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static int count_visit(void *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return 0;
}

/* A dump, freezing and marking come by other ways to the same references. */
static void test_references_are_seen(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_object *root = &new_row(runtime, 9000, '\0')->var.base;
    row *held = (row *)root;
    assert_int_equal(neve_root_add(runtime, &root), NEVE_OK);
    held->fixed = &new_knot(runtime)->base;
    for (size_t i = 0; i < 9000; i += 2)
        held->items[i] = neve_retain(&garbage_ring(runtime, 3, NULL)->base);
    neve_collection done = collect(runtime, 2);
    assert_int_equal(done.collected, 0);
    check_runtime(runtime);
    size_t objects = 0;
    (void)neve_runtime_walk(runtime, count_visit, &objects);
    assert_int_equal(objects, 2 + 4500 * 3);
    neve_freeze_result frozen;
    assert_int_equal(neve_runtime_freeze(runtime, NEVE_FREEZE_IMMORTAL, &frozen), NEVE_OK);
    assert_int_equal(frozen.immortal + frozen.mortal, objects);
    neve_root_remove(runtime, &root);
    neve_runtime_destroy(runtime);
}

/* Rings that refer to themselves alone are freed without a second look. Not if one of them has
 * a weak reference, or code that is to be called. */
static void test_closed_garbage(void **unused)
{
    (void)unused;
    enum { RINGS = 200 };
    for (int generation = 0; generation < 3; generation++) {
        journal j;
        neve_runtime *runtime = new_runtime(&j);
        neve_collector_disable(neve_runtime_collector(runtime));
        for (int i = 0; i < RINGS; i++)
            garbage_ring(runtime, 10, NULL);
        assert_int_equal(collect(runtime, generation).collected, RINGS * 10);
        assert_int_equal(live_objects(runtime), 0);

        for (int i = 0; i < RINGS; i++)
            garbage_ring(runtime, 10, NULL);
        neve_object *weak =
            neve_weakref_new(runtime, &garbage_ring(runtime, 10, NULL)->base, NULL, NULL);
        assert_non_null(weak);
        assert_int_equal(collect(runtime, generation).collected, (RINGS + 1) * 10);
        assert_null(neve_weakref_get(runtime, weak));
        neve_release(runtime, weak);
        assert_int_equal(live_objects(runtime), 0);

        for (int i = 0; i < RINGS; i++)
            garbage_ring(runtime, 10, NULL);
        row *own = new_row(runtime, 1, 'r');
        own->items[0] = &own->var.base;
        assert_int_equal(collect(runtime, generation).collected, RINGS * 10 + 1);
        assert_string_equal(j.text, "dr ");
        assert_int_equal(live_objects(runtime), 0);
        check_runtime(runtime);
        neve_runtime_destroy(runtime);
    }
}

/* Between two pieces of a long object the program may take items off its end, or another
 * object may have come to lie there. */
static void test_a_cursor_behind_the_end(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    row *r = new_row(runtime, 9000, '\0');
    r->items[8000] = &new_leaf(runtime, '\0')->base;
    size_t cursor = 0, visited = 0;
    nv_object_traverse(&r->var.base, count_visit, &visited, &cursor);
    assert_int_not_equal(cursor, 0);
    r->var.length = 10;
    nv_object_traverse(&r->var.base, count_visit, &visited, &cursor);
    assert_int_equal(cursor, 0);
    assert_int_equal(visited, 0);
    r->var.length = 9000;
    neve_release(runtime, &r->var.base);
    neve_runtime_destroy(runtime);
}

/* In any generation, and whether pools die as a whole or in part. */
static void test_garbage_is_freed(void **unused)
{
    (void)unused;
    for (int generation = 0; generation < 3; generation++) {
        neve_runtime *runtime = new_runtime(NULL);
        enum { RINGS = 300, KEPT = 7 };
        leaf *shared = new_leaf(runtime, '\0');
        knot *kept[RINGS];
        neve_collector_disable(neve_runtime_collector(runtime));
        for (int i = 0; i < RINGS; i++) {
            knot *ring = garbage_ring(runtime, 10, &shared->base);
            /* The first hundred rings die in pools that others live in. */
            kept[i] = i < 100 && i % KEPT == 0 ? (knot *)neve_retain(&ring->base) : NULL;
        }
        assert_int_equal(neve_count(&shared->base), RINGS * 10 + 1);
        if (generation > 0) { /* so that there is something in every generation */
            knot *held = garbage_ring(runtime, 400, NULL);
            neve_retain(&held->base);
            (void)collect(runtime, 0);
            neve_release(runtime, &held->base);
            for (int i = 0; i < 50; i++)
                (void)garbage_ring(runtime, 10, &shared->base);
        }
        (void)collect(runtime, generation);
        neve_collection done = collect(runtime, 2);
        assert_int_equal(done.uncollectable, 0);
        size_t alive = 0;
        for (int i = 0; i < RINGS; i++) {
            if (kept[i] == NULL)
                continue;
            alive += 10;
            const knot *k = kept[i];
            for (int n = 0; n < 10; n++, k = (const knot *)k->a)
                assert_ptr_equal(k->b, &shared->base);
            assert_ptr_equal(k, kept[i]);
        }
        assert_int_equal(live_objects(runtime), alive + 1);
        assert_int_equal(neve_count(&shared->base), alive + 1);
        check_runtime(runtime);
        /* What was freed serves again, the current pool too. */
        for (int i = 0; i < 2000; i++)
            (void)garbage_ring(runtime, 2, NULL);
        assert_int_equal(collect(runtime, 2).collected, 4000);
        for (int i = 0; i < RINGS; i++)
            neve_release(runtime, kept[i] == NULL ? NULL : &kept[i]->base);
        assert_int_equal(collect(runtime, 2).collected, alive);
        assert_int_equal(live_objects(runtime), 1);
        check_runtime(runtime);
        neve_runtime_destroy(runtime);
    }
}

/* The last references that garbage holds on others run their finalizers, which see nothing
 * of it, and may make new objects. */
static size_t seen;

static void look_around(neve_runtime *runtime, pair *self)
{
    (void)self;
    seen = 0;
    (void)neve_runtime_walk(runtime, count_visit, &seen);
    neve_release(runtime, &new_knot(runtime)->base);
    assert_int_equal(neve_collect(neve_runtime_collector(runtime), 2, NULL), NEVE_EBUSY);
}

static void test_code_that_garbage_sets_off(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *last = new_pair(runtime, &finalized_pair_type, 'l');
    last->on_finalize = look_around;
    assert_int_equal(collect(runtime, 1).collected, 0); /* no candidate of what follows */
    (void)garbage_ring(runtime, 1000, &last->base);
    neve_release(runtime, &last->base);
    assert_int_equal(collect(runtime, 0).collected, 1000);
    assert_string_equal(j.text, "fl dl ");
    assert_int_equal(seen, 1); /* the dying one */
    assert_int_equal(live_objects(runtime), 0);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

static int called;

static void note_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    called++;
}

/* One object with more to be done: all of the garbage goes the ordinary way. */
static void test_mixed_garbage(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    knot *ring = garbage_ring(runtime, 100, NULL);
    ring->b = &new_pair(runtime, &finalized_pair_type, 'p')->base;
    neve_object *weakref = neve_weakref_new(runtime, ring->a, note_call, NULL);
    called = 0;
    assert_int_equal(collect(runtime, 0).collected, 101);
    assert_int_equal(called, 1);
    assert_null(neve_weakref_get(runtime, weakref));
    assert_string_equal(j.text, "fp dp ");
    assert_int_equal(live_objects(runtime), 1);
    neve_release(runtime, weakref);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

/* What a finalizer revives is condemned no more. */
static knot *revived;

static void keep_neighbour(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    revived = (knot *)neve_retain(self->a);
}

static void test_revived(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    knot *ring = garbage_ring(runtime, 10, NULL);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = keep_neighbour;
    p->a = neve_retain(&ring->base);
    ring->b = &p->base;
    assert_int_equal(collect(runtime, 0).resurrected, 11);
    size_t objects = 0;
    (void)neve_runtime_walk(runtime, count_visit, &objects);
    assert_int_equal(objects, 11);
    assert_ptr_equal(revived, ring);
    neve_release(runtime, &revived->base);
    assert_int_equal(collect(runtime, 2).collected, 11);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_death_by_count),
        cmocka_unit_test(test_references_are_seen),
        cmocka_unit_test(test_a_cursor_behind_the_end),
        cmocka_unit_test(test_closed_garbage),
        cmocka_unit_test(test_garbage_is_freed),
        cmocka_unit_test(test_code_that_garbage_sets_off),
        cmocka_unit_test(test_mixed_garbage),
        cmocka_unit_test(test_revived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
