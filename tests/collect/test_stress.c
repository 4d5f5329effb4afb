/* SPDX-License-Identifier: MIT */
/*
 * NEVE_GC_STRESS=1: a collection at each safe point, and nowhere else.
 */
#include "object/support.h"

static uint64_t collections(neve_runtime *runtime)
{
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    return stats.generations[0].collections + stats.generations[1].collections +
           stats.generations[2].collections;
}

static void poll(neve_runtime *runtime)
{
    neve_collector *collector = neve_runtime_collector(runtime);
    neve_poll(collector, neve_collector_breaker(collector));
}

static void test_each_safe_point_collects(void **unused)
{
    (void)unused;
    setenv("NEVE_GC_STRESS", "1", 1);
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    for (uint64_t i = 1; i <= 50; i++) {
        make_garbage_ring(runtime, &finalized_pair_type, '\0', '\0');
        assert_int_equal(collections(runtime), i - 1);
        poll(runtime);
        assert_int_equal(collections(runtime), i);
        assert_int_equal(live_objects(runtime), 0);
    }
    /* The event stays set, whoever else clears or collects. */
    neve_collection result = collect(runtime, 0);
    assert_int_equal(result.collected, 0);
    poll(runtime);
    assert_int_equal(collections(runtime), 52);
    neve_collector_disable(neve_runtime_collector(runtime));
    poll(runtime);
    assert_int_equal(collections(runtime), 52);
    neve_collector_enable(neve_runtime_collector(runtime));
    poll(runtime);
    assert_int_equal(collections(runtime), 53);
    assert_int_equal(j.finalized, 100);
    neve_runtime_destroy(runtime);
}

static void test_switched_off(void **unused)
{
    (void)unused;
    setenv("NEVE_GC_STRESS", "0", 1);
    neve_runtime *runtime = new_runtime(NULL);
    poll(runtime);
    neve_collector_safepoint(neve_runtime_collector(runtime));
    assert_int_equal(collections(runtime), 0);
    neve_runtime_destroy(runtime);
}

static int called;

static void poll_in_callback(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)weakref;
    (void)arg;
    called++;
    poll(runtime);
}

static void poll_in_finalizer(neve_runtime *runtime, pair *self)
{
    (void)self;
    poll(runtime);
}

/* Safe points everywhere that code of the program runs. */
static void test_safe_points_in_finalizers(void **unused)
{
    (void)unused;
    setenv("NEVE_GC_STRESS", "1", 1);
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 200 };
    static neve_object *refs[COUNT];
    neve_object *head = NULL;
    for (int i = 0; i < COUNT; i++) {
        pair *p = new_pair(runtime, &finalized_pair_type, '\0');
        p->on_finalize = poll_in_finalizer;
        p->a = head;
        if (i % 3 == 0)
            p->b = neve_retain(&p->base);
        head = &p->base;
        refs[i] = neve_weakref_new(runtime, head, poll_in_callback, NULL);
        poll(runtime);
    }
    neve_release(runtime, head);
    poll(runtime);
    assert_int_equal(j.finalized, COUNT);
    assert_int_equal(j.freed, COUNT);
    assert_int_equal(called, COUNT);
    for (int i = 0; i < COUNT; i++)
        neve_release(runtime, refs[i]);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_safe_point_collects),
        cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_safe_points_in_finalizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
