/* SPDX-License-Identifier: MIT */
/*
 * Finalizers: once in an object's life, before anything of the object or of
 * what it refers to is gone; resurrection, by count and by collection.
 */
#include "object/support.h"

static neve_object *stored;

static void store_self(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    stored = neve_retain(&self->base);
}

static void store_partner(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    stored = neve_retain(self->a);
}

static void test_once_by_count(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = store_self;
    p->a = &new_leaf(runtime, 'l')->base;
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "fp ");
    assert_ptr_equal(stored, &p->base);
    assert_int_equal(neve_count(stored), 1);
    assert_non_null(p->a);
    neve_release(runtime, stored); /* this time for good, without the finalizer */
    assert_string_equal(j.text, "fp dl dp ");
    neve_runtime_destroy(runtime);
}

static void test_once_by_collection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *a = new_pair(runtime, &finalized_pair_type, 'a');
    pair *b = new_pair(runtime, &finalized_pair_type, 'b');
    a->a = &b->base;
    b->a = &a->base;
    a->on_finalize = store_self;
    neve_collection result = collect(runtime, 1);
    assert_int_equal(result.collected, 0);
    assert_int_equal(result.resurrected, 2); /* with what it refers to */
    assert_int_equal(j.finalized, 2);
    assert_int_equal(j.cleared, 0);
    assert_ptr_equal(a->a, &b->base);
    assert_ptr_equal(b->a, &a->base);
    assert_int_equal(neve_count(&a->base), 2);
    assert_int_equal(neve_count(&b->base), 1);
    collect(runtime, 2);
    assert_int_equal(j.freed, 0);
    check_runtime(runtime);
    neve_release(runtime, stored);
    assert_int_equal(collect(runtime, 2).collected, 2);
    assert_int_equal(j.finalized, 2);
    assert_int_equal(j.freed, 2);
    neve_runtime_destroy(runtime);
}

/* Finalized by a collection first, later dead by count: not again. */
static void test_once_in_both_ways(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = store_self;
    p->a = neve_retain(&p->base);
    neve_release(runtime, &p->base);
    assert_int_equal(collect(runtime, 0).resurrected, 1);
    neve_clear_slot(runtime, &p->a);
    neve_release(runtime, stored);
    assert_string_equal(j.text, "fp dp ");
    neve_runtime_destroy(runtime);
}

/* Only what the revived object reaches is revived; the rest dies. */
static void test_partial_resurrection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *a = new_pair(runtime, &finalized_pair_type, 'a');
    pair *b = new_pair(runtime, &pair_type, 'b');
    pair *c = new_pair(runtime, &pair_type, 'c');
    /* a <-> a by itself, a -> b <-> b, c -> c: a stores b, c is on its own. */
    a->a = &b->base;
    a->b = &a->base;
    b->a = neve_retain(&b->base);
    c->a = &c->base;
    a->on_finalize = store_partner;
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, 2);
    assert_int_equal(result.resurrected, 1);
    assert_int_equal(j.freed, 2);
    assert_ptr_equal(stored, &b->base);
    assert_int_equal(neve_count(stored), 2);
    neve_release(runtime, stored);
    assert_int_equal(collect(runtime, 2).collected, 1);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* All finalizers of the garbage run before anything is cleared. */
static void look_at_partner(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    pair *partner = (pair *)self->a;
    assert_non_null(partner);
    assert_non_null(partner->a);
    assert_true(neve_count(&partner->base) >= 1);
}

static void test_all_before_clearing(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 1000 };
    pair *first = NULL, *last = NULL;
    for (int i = 0; i < COUNT; i++) {
        pair *p = new_pair(runtime, &finalized_pair_type, '\0');
        p->on_finalize = look_at_partner;
        if (first == NULL)
            first = p;
        else
            last->a = &p->base;
        last = p;
    }
    last->a = &first->base;
    assert_int_equal(collect(runtime, 0).collected, COUNT);
    assert_int_equal(j.finalized, COUNT);
    assert_int_equal(j.freed, COUNT);
    neve_runtime_destroy(runtime);
}

/* A finalizer that breaks its own cycle, and one that breaks the other's. */
static void break_own(neve_runtime *runtime, pair *self)
{
    neve_clear_slot(runtime, &self->a);
    neve_clear_slot(runtime, &self->b);
}

static void test_finalizer_breaks_the_cycle(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    for (int which = 0; which < 3; which++) {
        journal_reset(&j);
        pair *a = new_pair(runtime, &finalized_pair_type, 'a');
        pair *b = new_pair(runtime, &finalized_pair_type, 'b');
        a->a = &b->base;
        b->a = &a->base;
        b->b = &new_leaf(runtime, 'l')->base;
        if (which != 1)
            a->on_finalize = break_own;
        if (which != 0)
            b->on_finalize = break_own;
        /* They die by their counts then, which is not the collector's merit. */
        neve_collection result = collect(runtime, 0);
        assert_int_equal(result.collected, 0);
        assert_int_equal(result.resurrected, 0);
        assert_int_equal(j.finalized, 2);
        assert_int_equal(j.freed, 3);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

/* A new object that refers to the dying one revives it, even if nothing else
 * refers to the new one: the next collection has it all. */
static void make_partner(neve_runtime *runtime, pair *self)
{
    pair *partner = new_pair(runtime, &pair_type, 'n');
    partner->a = neve_retain(&self->base);
    neve_clear_slot(runtime, &self->a);
    self->a = &partner->base;
}

static void test_finalizer_makes_a_cycle(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = make_partner;
    p->a = neve_retain(&p->base);
    neve_release(runtime, &p->base);
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, 0);
    assert_int_equal(result.resurrected, 1);
    assert_int_equal(collect(runtime, 2).collected, 2);
    assert_int_equal(live_objects(runtime), 0);

    /* The same by count. */
    p = new_pair(runtime, &finalized_pair_type, 'q');
    p->on_finalize = make_partner;
    neve_release(runtime, &p->base);
    assert_int_equal(live_objects(runtime), 2);
    assert_int_equal(collect(runtime, 2).collected, 2);
    neve_runtime_destroy(runtime);
}

static void make_immortal(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    neve_make_immortal(&self->base);
}

static void test_finalizer_makes_immortal(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = make_immortal;
    neve_release(runtime, &p->base);
    pair *q = new_pair(runtime, &finalized_pair_type, 'q');
    q->on_finalize = make_immortal;
    q->a = &q->base;
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, 0);
    assert_int_equal(result.resurrected, 1);
    assert_int_equal(j.freed, 0);
    assert_true(neve_is_immortal(&p->base));
    assert_ptr_equal(q->a, &q->base);
    collect(runtime, 2);
    assert_int_equal(j.freed, 0);
    neve_runtime_destroy(runtime);
}

static neve_status nested_status;

static void collect_inside(neve_runtime *runtime, pair *self)
{
    (void)self;
    neve_collection result;
    nested_status = neve_collect(neve_runtime_collector(runtime), 2, &result);
    /* Neither do freezing and safe points work now. */
    if (nested_status == NEVE_EBUSY) {
        neve_collector *collector = neve_runtime_collector(runtime);
        assert_int_equal(neve_collector_freeze(collector), NEVE_EBUSY);
        assert_int_equal(neve_collector_unfreeze(collector), NEVE_EBUSY);
        neve_collector_safepoint(collector);
        neve_collector_drain(collector);
        /* What is being reclaimed is in no listing, and in no count. */
        neve_collector_stats stats;
        neve_collector_get_stats(collector, &stats);
        for (int i = 0; i < NEVE_GENERATIONS; i++)
            assert_int_equal(stats.generations[i].objects, 0);
    }
}

static void test_collection_in_finalizer(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    /* By count: a collection like any other. */
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = collect_inside;
    make_garbage_ring(runtime, &pair_type, 'x', 'y');
    neve_release(runtime, &p->base);
    assert_int_equal(nested_status, NEVE_OK);
    assert_int_equal(j.freed, 3);
    /* By a collection: refused. */
    p = new_pair(runtime, &finalized_pair_type, 'p');
    p->on_finalize = collect_inside;
    p->a = &p->base;
    assert_int_equal(collect(runtime, 2).collected, 1);
    assert_int_equal(nested_status, NEVE_EBUSY);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* The dying object is an object like any other to a collection meanwhile. */
static void collect_and_look(neve_runtime *runtime, pair *self)
{
    assert_int_equal(neve_collect(neve_runtime_collector(runtime), 2, NULL), NEVE_OK);
    assert_int_equal(neve_count(&self->base), 1);
    assert_non_null(self->a);
    assert_int_equal(neve_count(self->a), 2);
    assert_ptr_equal(((pair *)self->a)->a, self->a); /* not cleared: it is held */
}

static void test_collection_spares_the_finalized(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    pair *q = new_pair(runtime, &pair_type, 'q');
    p->on_finalize = collect_and_look;
    p->a = neve_retain(&q->base);
    q->a = &q->base;
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "fp dp ");
    assert_int_equal(collect(runtime, 2).collected, 1);
    neve_runtime_destroy(runtime);
}

/* A leaf may have a finalizer too. */
static void leaf_finalize(neve_runtime *runtime, neve_object *object)
{
    journal_note(runtime, 'f', ((leaf *)object)->name);
    if (((leaf *)object)->name == 's')
        stored = neve_retain(object);
}

static void test_leaf(void **unused)
{
    (void)unused;
    static const neve_type type = {.name = "finalized leaf",
                                   .size = sizeof(leaf),
                                   .finalize = leaf_finalize,
                                   .dealloc = leaf_dealloc};
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    leaf *l = (leaf *)neve_object_new(runtime, &type);
    l->name = 'l';
    neve_release(runtime, &l->base);
    assert_string_equal(j.text, "fl dl ");
    l = (leaf *)neve_object_new(runtime, &type);
    l->name = 's';
    neve_release(runtime, &l->base);
    assert_ptr_equal(stored, &l->base);
    neve_release(runtime, stored);
    assert_string_equal(j.text, "fl dl fs ds ");
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_by_count),
        cmocka_unit_test(test_once_by_collection),
        cmocka_unit_test(test_once_in_both_ways),
        cmocka_unit_test(test_partial_resurrection),
        cmocka_unit_test(test_all_before_clearing),
        cmocka_unit_test(test_finalizer_breaks_the_cycle),
        cmocka_unit_test(test_finalizer_makes_a_cycle),
        cmocka_unit_test(test_finalizer_makes_immortal),
        cmocka_unit_test(test_collection_in_finalizer),
        cmocka_unit_test(test_collection_spares_the_finalized),
        cmocka_unit_test(test_leaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
