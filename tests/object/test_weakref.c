/* SPDX-License-Identifier: MIT */
/*
 * Weak references: when they die, whether and in which order their callbacks
 * run, and that nobody gets a dead or cleared object through one.
 */
#include "object/support.h"

/* Notes the argument's name, and that the reference is dead by then. */
static void note_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    journal *j = journal_of(runtime);
    j->called++;
    assert_true(neve_is_weakref(runtime, weakref));
    assert_null(neve_weakref_get(runtime, weakref));
    if (arg != NULL)
        journal_note(runtime, 'c', ((leaf *)arg)->name);
}

static neve_object *new_weakref(neve_runtime *runtime, neve_object *referent, char name)
{
    leaf *arg = new_leaf(runtime, name);
    neve_object *weakref = neve_weakref_new(runtime, referent, note_call, &arg->base);
    assert_non_null(weakref);
    neve_release(runtime, &arg->base); /* the weak reference holds it */
    return weakref;
}

static bool is_alive(neve_runtime *runtime, neve_object *weakref)
{
    neve_object *got = neve_weakref_get(runtime, weakref);
    neve_release(runtime, got);
    return got != NULL;
}

static void test_get(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *p = new_pair(runtime, &pair_type, 'p');
    neve_object *weakref = neve_weakref_new(runtime, &p->base, NULL, NULL);
    assert_true(neve_is_weakref(runtime, weakref));
    assert_false(neve_is_weakref(runtime, &p->base));
    assert_int_equal(neve_count(&p->base), 1);
    neve_object *got = neve_weakref_get(runtime, weakref);
    assert_ptr_equal(got, &p->base);
    assert_int_equal(neve_count(&p->base), 2);
    neve_release(runtime, &p->base);
    assert_true(is_alive(runtime, weakref));
    neve_release(runtime, got);
    assert_null(neve_weakref_get(runtime, weakref));
    neve_release(runtime, weakref);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_callback_by_count(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    leaf *l = new_leaf(runtime, 'l');
    neve_object *first = new_weakref(runtime, &p->base, '1');
    neve_object *second = new_weakref(runtime, &p->base, '2');
    neve_object *to_leaf = new_weakref(runtime, &l->base, '3');
    /* After the finalizer, the latest first; then the argument is let go. */
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "fp c2 d2 c1 d1 dp ");
    journal_reset(&j);
    neve_release(runtime, &l->base);
    assert_string_equal(j.text, "c3 d3 dl ");
    assert_int_equal(neve_count(first), 1);
    neve_release(runtime, first);
    neve_release(runtime, second);
    neve_release(runtime, to_leaf);
    assert_int_equal(j.called, 1);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_no_callback_when_weakref_dies_first(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    neve_object *refs[5];
    for (int i = 0; i < 5; i++)
        refs[i] = new_weakref(runtime, &p->base, (char)('0' + i));
    /* From the middle, the head and the tail of the referent's list. */
    static const int order[] = {2, 4, 0, 1, 3};
    for (int i = 0; i < 5; i++) {
        neve_release(runtime, refs[order[i]]);
        for (int k = i + 1; k < 5; k++)
            assert_true(is_alive(runtime, refs[order[k]]));
    }
    assert_string_equal(j.text, "d2 d4 d0 d1 d3 ");
    neve_release(runtime, &p->base);
    assert_int_equal(j.called, 0);
    neve_runtime_destroy(runtime);
}

/* A weak reference to a weak reference is as good as any. */
static void test_weakref_to_weakref(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    neve_object *inner = new_weakref(runtime, &p->base, 'i');
    neve_object *outer = new_weakref(runtime, inner, 'o');
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "ci di dp ");
    assert_true(is_alive(runtime, outer));
    neve_release(runtime, inner);
    assert_string_equal(j.text, "ci di dp co do ");
    neve_release(runtime, outer);
    neve_runtime_destroy(runtime);
}

static void test_immortal_referent(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    neve_object *before = new_weakref(runtime, &p->base, 'b');
    neve_make_immortal(&p->base);
    uint32_t flags = p->base.flags;
    neve_object *after = new_weakref(runtime, &p->base, 'a');
    assert_int_equal(p->base.flags, flags);
    collect(runtime, 2);
    assert_ptr_equal(neve_weakref_get(runtime, before), &p->base);
    assert_ptr_equal(neve_weakref_get(runtime, after), &p->base);
    neve_release(runtime, before);
    assert_true(is_alive(runtime, after));
    neve_release(runtime, after);
    assert_int_equal(j.called, 0);
    /* An object that was immortal from the start. */
    pair *q = new_pair(runtime, &pair_type, 'q');
    neve_make_immortal(&q->base);
    flags = q->base.flags;
    neve_object *weakref = new_weakref(runtime, &q->base, 'w');
    assert_int_equal(q->base.flags, flags); /* its header is not written */
    assert_true(is_alive(runtime, weakref));
    neve_release(runtime, weakref);
    neve_runtime_destroy(runtime);
}

static void test_cleared_by_collection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    for (int generation = 0; generation < 3; generation++) {
        journal_reset(&j);
        pair *a = new_pair(runtime, &finalized_pair_type, 'a');
        pair *b = new_pair(runtime, &pair_type, 'b');
        a->a = &b->base;
        b->a = &a->base;
        neve_object *weakref = new_weakref(runtime, &a->base, 'w');
        neve_object *plain = neve_weakref_new(runtime, &b->base, NULL, NULL);
        assert_int_equal(collect(runtime, generation).collected, 2);
        assert_int_equal(j.called, 1);
        assert_int_equal(j.finalized, 1);
        /* Callbacks come before finalizers. */
        assert_memory_equal(j.text, "cw dw fa ", 9);
        assert_null(neve_weakref_get(runtime, weakref));
        assert_null(neve_weakref_get(runtime, plain));
        neve_release(runtime, weakref);
        neve_release(runtime, plain);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

/* A weak reference in the garbage is not called, one outside is. */
static void test_condemned_weakref_is_silent(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    p->a = new_weakref(runtime, &p->base, 'i'); /* refers to itself weakly, too */
    p->b = neve_retain(&p->base);
    neve_object *outside = new_weakref(runtime, &p->base, 'o');
    neve_release(runtime, &p->base);
    assert_int_equal(collect(runtime, 1).collected, 2);
    assert_int_equal(j.called, 1);
    assert_memory_equal(j.text, "co do ", 6);
    neve_release(runtime, outside);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* The argument keeps the weak reference alive through a cycle. */
static void test_cycle_through_argument(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *referent = new_pair(runtime, &pair_type, 'r');
    pair *arg = new_pair(runtime, &pair_type, 'a');
    arg->a = neve_weakref_new(runtime, &referent->base, note_call, &arg->base);
    assert_int_equal(neve_count(&arg->base), 2);
    neve_release(runtime, &arg->base);
    assert_int_equal(live_objects(runtime), 3);
    assert_int_equal(collect(runtime, 0).collected, 2);
    assert_string_equal(j.text, "da ");
    neve_release(runtime, &referent->base);
    assert_int_equal(j.called, 0);
    neve_runtime_destroy(runtime);
}

/* The weak reference is dead, but its referent dies first, while the garbage is
 * being cleared: the callback must not run. */
static void test_dead_weakref_with_live_referent(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    for (int order = 0; order < 2; order++) {
        pair *ring = new_pair(runtime, &pair_type, 'r');
        leaf *referent = new_leaf(runtime, 'l'); /* held by the garbage only: no candidate */
        ring->a = &referent->base;
        pair *other = new_pair(runtime, &pair_type, 'o');
        ring->b = &other->base;
        other->a = &ring->base;
        other->b = neve_weakref_new(runtime, &referent->base, note_call, NULL);
        if (order == 1) { /* whichever is cleared first */
            neve_object *swap = ring->a;
            ring->a = other->b;
            other->b = swap;
        }
        assert_int_equal(collect(runtime, 0).collected, 3);
        assert_int_equal(j.called, 0);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

static neve_object *stored;

static void store_self(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    stored = neve_retain(&self->base);
}

/* By count, weak references survive a resurrection; after a collection they
 * are clear, whatever the finalizer does. */
static void test_resurrection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = store_self;
    neve_object *weakref = new_weakref(runtime, &p->base, 'w');
    neve_release(runtime, &p->base);
    assert_ptr_equal(stored, &p->base);
    assert_int_equal(neve_count(stored), 1);
    assert_true(is_alive(runtime, weakref));
    assert_int_equal(j.called, 0);
    neve_release(runtime, stored);
    assert_int_equal(j.called, 1);
    assert_int_equal(j.finalized, 1);
    neve_release(runtime, weakref);

    journal_reset(&j);
    p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = store_self;
    p->a = neve_retain(&p->base);
    weakref = new_weakref(runtime, &p->base, 'w');
    neve_release(runtime, &p->base);
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, 0);
    assert_int_equal(result.resurrected, 1);
    assert_string_equal(j.text, "cw dw fp ");
    assert_ptr_equal(stored, &p->base);
    assert_null(neve_weakref_get(runtime, weakref));
    /* It can be referred to weakly again. */
    neve_object *again = new_weakref(runtime, stored, 'x');
    assert_true(is_alive(runtime, again));
    neve_release(runtime, stored);
    assert_int_equal(collect(runtime, 2).collected, 1);
    assert_int_equal(j.called, 2);
    neve_release(runtime, weakref);
    neve_release(runtime, again);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void make_self_weakref(neve_runtime *runtime, pair *self)
{
    stored = new_weakref(runtime, &self->base, 's');
    assert_true(is_alive(runtime, stored));
}

/* A finalizer that stores a weak reference to its object: it must be dead once
 * the object is, however it dies, and never give a cleared object. */
static void test_made_by_finalizer(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = make_self_weakref;
    neve_release(runtime, &p->base);
    assert_null(neve_weakref_get(runtime, stored));
    assert_int_equal(j.called, 1);
    neve_release(runtime, stored);

    p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = make_self_weakref;
    p->a = &p->base;
    assert_int_equal(collect(runtime, 2).collected, 1);
    assert_null(neve_weakref_get(runtime, stored));
    assert_int_equal(j.called, 1); /* the second clearing has no callbacks */
    assert_int_equal(j.freed, 3);  /* both objects and one argument */
    neve_release(runtime, stored);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A weak reference that clear makes of its own object is born dead. */
static void clear_and_refer(neve_runtime *runtime, neve_object *object)
{
    if (stored == NULL)
        stored = neve_weakref_new(runtime, object, NULL, NULL);
    pair_clear(runtime, object);
}

static void test_made_by_clear(void **unused)
{
    (void)unused;
    static const neve_type type = {
        .name = "refers in clear",
        .size = sizeof(pair),
        .flags = NEVE_TYPE_CONTAINER,
        .traverse = pair_traverse,
        .clear = clear_and_refer,
    };
    neve_runtime *runtime = new_runtime(NULL);
    stored = NULL;
    neve_release(runtime, neve_object_new(runtime, &type));
    assert_non_null(stored);
    assert_null(neve_weakref_get(runtime, stored));
    neve_release(runtime, stored);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static neve_object *victims[3];

/* Drops the handle of another weak reference whose callback is due as well. */
static void drop_victims(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    note_call(runtime, weakref, arg);
    for (int i = 0; i < 3; i++)
        neve_clear_slot(runtime, &victims[i]);
}

static void test_callback_drops_weakrefs(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    for (int by_collection = 0; by_collection < 2; by_collection++) {
        journal_reset(&j);
        pair *p = new_pair(runtime, &pair_type, 'p');
        for (int i = 0; i < 3; i++)
            victims[i] = neve_weakref_new(runtime, &p->base, drop_victims, NULL);
        if (by_collection)
            p->a = neve_retain(&p->base);
        neve_release(runtime, &p->base);
        if (by_collection) /* the object, and three weak references with their callbacks */
            assert_int_equal(collect(runtime, 2).collected, 4);
        assert_int_equal(j.called, 3);
        assert_int_equal(j.freed, 1);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

static void collect_in_callback(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    note_call(runtime, weakref, arg);
    bool nested = neve_collector_is_collecting(neve_runtime_collector(runtime));
    neve_status status = neve_collect(neve_runtime_collector(runtime), 2, NULL);
    assert_int_equal(status, nested ? NEVE_EBUSY : NEVE_OK);
}

static int count_walked(void *object, void *arg)
{
    (void)object;
    ++*(int *)arg;
    return 0;
}

static int listed;

/* A collection, and a listing of objects, while an object dies: it is untracked. */
static void list_and_collect(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    listed = 0;
    assert_int_equal(neve_collector_walk(neve_runtime_collector(runtime), 2, count_walked, &listed),
                     0);
    collect_in_callback(runtime, weakref, arg);
}

static void test_callback_collects(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    p->a = &new_pair(runtime, &pair_type, 'q')->base;
    neve_object *by_count = neve_weakref_new(runtime, &p->base, list_and_collect, NULL);
    collect(runtime, 2); /* all three are old now */
    make_garbage_ring(runtime, &pair_type, '1', '2');
    neve_release(runtime, &p->base);
    assert_int_equal(listed, 2); /* the weak reference, and what the dying one refers to */
    assert_int_equal(j.called, 1);
    assert_int_equal(j.freed, 4);
    neve_release(runtime, by_count);

    journal_reset(&j);
    make_garbage_ring(runtime, &pair_type, '1', '2');
    p = new_pair(runtime, &pair_type, 'p');
    p->a = &p->base;
    neve_object *by_collection = neve_weakref_new(runtime, &p->base, list_and_collect, NULL);
    assert_int_equal(collect(runtime, 2).collected, 3);
    assert_int_equal(listed, 1); /* the weak reference alone is listed as old */
    assert_int_equal(j.called, 1);
    neve_release(runtime, by_collection);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Many referents, so that the table grows, shrinks and moves entries up. */
static void test_many(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 5000 };
    static neve_object *referents[COUNT], *refs[COUNT];
    uint32_t random = 12345;
    neve_heap_stats before, after;
    neve_heap_get_stats(neve_runtime_heap(runtime), &before);
    for (int round = 0; round < 3; round++) {
        int alive = 0;
        for (int i = 0; i < COUNT; i++) {
            referents[i] = &new_leaf(runtime, '\0')->base;
            refs[i] = neve_weakref_new(runtime, referents[i], note_call, NULL);
            assert_non_null(refs[i]);
        }
        for (int step = 0; step < 3 * COUNT; step++) {
            random = random * 1664525u + 1013904223u;
            int i = (int)(random >> 8) % COUNT;
            if ((random >> 24) % 2 == 0)
                neve_clear_slot(runtime, &referents[i]);
            else if (refs[i] != NULL && referents[i] != NULL)
                assert_true(is_alive(runtime, refs[i]));
        }
        int dead = 0;
        for (int i = 0; i < COUNT; i++) {
            alive += referents[i] != NULL;
            dead += !is_alive(runtime, refs[i]);
        }
        assert_int_equal(dead, COUNT - alive);
        assert_int_equal(j.called, dead);
        for (int i = 0; i < COUNT; i++) {
            neve_clear_slot(runtime, i % 2 == 0 ? &refs[i] : &referents[i]);
            neve_clear_slot(runtime, i % 2 == 0 ? &referents[i] : &refs[i]);
        }
        assert_int_equal(live_objects(runtime), 0);
        journal_reset(&j);
    }
    /* The table has shrunk with its use. */
    neve_heap_get_stats(neve_runtime_heap(runtime), &after);
    assert_true(after.large_bytes <= before.large_bytes);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_callback_by_count),
        cmocka_unit_test(test_no_callback_when_weakref_dies_first),
        cmocka_unit_test(test_weakref_to_weakref),
        cmocka_unit_test(test_immortal_referent),
        cmocka_unit_test(test_cleared_by_collection),
        cmocka_unit_test(test_condemned_weakref_is_silent),
        cmocka_unit_test(test_cycle_through_argument),
        cmocka_unit_test(test_dead_weakref_with_live_referent),
        cmocka_unit_test(test_resurrection),
        cmocka_unit_test(test_made_by_finalizer),
        cmocka_unit_test(test_made_by_clear),
        cmocka_unit_test(test_callback_drops_weakrefs),
        cmocka_unit_test(test_callback_collects),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
