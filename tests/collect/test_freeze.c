/* SPDX-License-Identifier: MIT */
/*
 * The permanent generation: frozen objects are never candidates, keep alive
 * what they refer to, die by their counts as ever, and come back as old ones.
 */
#include "cycle_steps.h"

static neve_collector *collector_of(neve_runtime *runtime)
{
    return neve_runtime_collector(runtime);
}

static size_t frozen_count(neve_runtime *runtime)
{
    neve_collector_stats stats;
    neve_collector_get_stats(collector_of(runtime), &stats);
    assert_int_equal(stats.frozen, neve_collector_frozen_count(collector_of(runtime)));
    return stats.frozen;
}

static void test_frozen_are_no_candidates(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_object *live[30];
    for (int i = 0; i < 30; i++) {
        live[i] = &new_pair(runtime, &pair_type, '\0')->base;
        if (i % 10 == 9)
            collect(runtime, i / 10 == 0 ? 2 : 0); /* old, middle, young */
    }
    leaf *l = new_leaf(runtime, 'l');
    make_garbage_ring(runtime, &finalized_pair_type, 'a', 'b');
    assert_int_equal(frozen_count(runtime), 0);
    assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
    assert_int_equal(frozen_count(runtime), 32); /* garbage too, no leaf */
    for (int i = 0; i < 30; i++)
        assert_int_equal(neve_collector_generation_of(collector_of(runtime), live[i]), 3);
    for (int generation = 0; generation < 3; generation++) {
        neve_collection result = collect(runtime, generation);
        assert_int_equal(result.candidates, 0);
        assert_int_equal(result.collected, 0);
    }
    assert_int_equal(j.finalized, 0);
    /* Counts free as ever. */
    neve_release(runtime, live[0]);
    neve_release(runtime, live[15]);
    assert_int_equal(j.freed, 2);
    assert_int_equal(frozen_count(runtime), 30);
    check_runtime(runtime);

    assert_int_equal(neve_collector_unfreeze(collector_of(runtime)), NEVE_OK);
    assert_int_equal(frozen_count(runtime), 0);
    assert_int_equal(neve_collector_generation_of(collector_of(runtime), live[1]), 2);
    assert_int_equal(collect(runtime, 1).collected, 0);
    assert_int_equal(collect(runtime, 2).collected, 2);
    assert_int_equal(j.finalized, 2);
    for (int i = 1; i < 30; i++) {
        if (i != 15)
            neve_release(runtime, live[i]);
    }
    neve_release(runtime, &l->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* What only a frozen object refers to lives, cycles included. */
static void test_frozen_keep_alive(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *frozen = new_pair(runtime, &pair_type, 'f');
    pair *lost = new_pair(runtime, &pair_type, 'x'); /* garbage, frozen */
    lost->a = &lost->base;
    assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
    pair *q = new_pair(runtime, &pair_type, 'q');
    pair *r = new_pair(runtime, &pair_type, 'r');
    q->a = neve_retain(&q->base);
    r->a = neve_retain(&r->base);
    frozen->a = &q->base;
    lost->b = &r->base;
    make_garbage_ring(runtime, &pair_type, 'a', 'b');
    assert_int_equal(collect(runtime, 0).collected, 2);
    assert_int_equal(collect(runtime, 2).collected, 0);
    assert_int_equal(frozen_count(runtime), 2);
    neve_clear_slot(runtime, &frozen->a);
    assert_int_equal(collect(runtime, 2).collected, 1);
    /* A garbage cycle through a frozen object waits until it is unfrozen. */
    r->b = neve_retain(&lost->base);
    assert_int_equal(collect(runtime, 2).collected, 0);
    assert_int_equal(neve_collector_unfreeze(collector_of(runtime)), NEVE_OK);
    assert_int_equal(collect(runtime, 2).collected, 2);
    neve_release(runtime, &frozen->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* New objects in the memory of frozen ones are young, and freezing goes on
 * from there. */
static void test_freeze_twice(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    enum { COUNT = 1000 };
    static neve_object *made[COUNT];
    for (int i = 0; i < COUNT; i++)
        made[i] = &new_pair(runtime, &pair_type, '\0')->base;
    assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
    for (int i = 0; i < COUNT; i += 2)
        neve_release(runtime, made[i]);
    assert_int_equal(frozen_count(runtime), COUNT / 2);
    for (int i = 0; i < COUNT; i += 2) {
        made[i] = &new_pair(runtime, &pair_type, '\0')->base;
        assert_int_equal(neve_collector_generation_of(collector_of(runtime), made[i]), 0);
    }
    assert_int_equal(collect(runtime, 0).candidates, COUNT / 2);
    assert_int_equal(frozen_count(runtime), COUNT / 2);
    assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
    assert_int_equal(frozen_count(runtime), COUNT);
    assert_int_equal(collect(runtime, 2).candidates, 0);
    for (int i = 0; i < COUNT; i++)
        neve_release(runtime, made[i]);
    assert_int_equal(frozen_count(runtime), 0);
    assert_int_equal(neve_collector_unfreeze(collector_of(runtime)), NEVE_OK); /* of nothing */
    neve_runtime_destroy(runtime);
}

/* Marking reads through the frozen: what hangs on them is no suspect, whatever
 * the share of the frozen. */
static void test_marking_reads_through_frozen(void **unused)
{
    (void)unused;
    static const int shares[] = {1, 10, 100};
    for (size_t s = 0; s < 3; s++) {
        neve_runtime *runtime = new_runtime(NULL);
        neve_object *head = NULL;
        assert_int_equal(neve_root_add(runtime, &head), NEVE_OK);
        for (int i = 0; i < 100; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            p->a = head;
            head = &p->base;
        }
        assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
        /* Unfrozen objects, live and garbage, behind each frozen one. */
        for (pair *p = (pair *)head; p != NULL; p = (pair *)p->a) {
            for (int i = 0; i < shares[s]; i++) {
                pair *q = new_pair(runtime, &pair_type, '\0');
                q->a = p->b;
                p->b = &q->base;
            }
        }
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        neve_collection result = collect(runtime, 2);
        assert_int_equal(result.collected, 2);
        if (shares[s] >= 10) /* enough unfrozen ones that marking is worth it */
            assert_int_equal(result.candidates, 2);
        check_runtime(runtime);
        neve_clear_slot(runtime, &head);
        assert_int_equal(live_objects(runtime), 0);
        neve_runtime_destroy(runtime);
    }
}

/* Frozen objects are alive though no root leads to them: what hangs on them is marked. In one
 * go and in slices; also on a frozen object in a chunk of its own (it is large). */
static void test_marking_reads_unreached_frozen(void **unused)
{
    (void)unused;
    enum { FROZEN = 100, EACH = 10 };
    static const neve_mode modes[] = {NEVE_MODE_GENERATIONAL, NEVE_MODE_INCREMENTAL};
    for (size_t m = 0; m < 2; m++) {
        neve_runtime *runtime = new_runtime(NULL);
        neve_collector *c = collector_of(runtime);
        assert_int_equal(neve_collector_set_mode(c, modes[m]), NEVE_OK);
        pair *held[FROZEN];
        for (int i = 0; i < FROZEN; i++)
            held[i] = new_pair(runtime, &pair_type, '\0');
        bag *large = new_bag(runtime, 1000);
        assert_int_equal(neve_collector_freeze(c), NEVE_OK);
        for (int i = 0; i < FROZEN * EACH; i++) {
            pair *q = new_pair(runtime, &pair_type, '\0');
            pair *p = held[i % FROZEN];
            q->a = p->b;
            p->b = &q->base;
        }
        bag_put(large, &new_pair(runtime, &pair_type, '\0')->base);
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        if (m == 0) {
            neve_collection result = collect(runtime, 2);
            assert_int_equal(result.candidates, 2);
            assert_int_equal(result.collected, 2);
        } else {
            neve_collector_stats stats;
            while (neve_step(c, 0, NULL))
                continue;
            neve_collector_get_stats(c, &stats);
            assert_int_equal(stats.cycle.cycles, 1);
            assert_int_equal(stats.cycle.suspects, 0); /* the ring died young */
            assert_int_equal(neve_collector_generation_of(c, held[0]->b), 2);
        }
        check_runtime(runtime);
        for (int i = 0; i < FROZEN; i++)
            neve_release(runtime, &held[i]->base);
        neve_release(runtime, &large->var.base);
        assert_int_equal(live_objects(runtime), 0);
        neve_runtime_destroy(runtime);
    }
}

/* Weak references to frozen objects, and frozen weak references. */
static int called;

static void count_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    called++;
}

static void test_frozen_and_weak_references(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *p = new_pair(runtime, &pair_type, 'p');
    neve_object *before = neve_weakref_new(runtime, &p->base, count_call, NULL);
    assert_int_equal(neve_collector_freeze(collector_of(runtime)), NEVE_OK);
    neve_object *after = neve_weakref_new(runtime, &p->base, count_call, NULL);
    pair *q = new_pair(runtime, &pair_type, 'q');
    q->a = &q->base;
    neve_object *other = neve_weakref_new(runtime, &q->base, count_call, NULL);
    collect(runtime, 2);
    assert_int_equal(called, 1);
    assert_null(neve_weakref_get(runtime, other));
    neve_release(runtime, &p->base);
    assert_int_equal(called, 3);
    neve_release(runtime, before);
    neve_release(runtime, after);
    neve_release(runtime, other);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_are_no_candidates),
        cmocka_unit_test(test_frozen_keep_alive),
        cmocka_unit_test(test_freeze_twice),
        cmocka_unit_test(test_marking_reads_through_frozen),
        cmocka_unit_test(test_marking_reads_unreached_frozen),
        cmocka_unit_test(test_frozen_and_weak_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
