/* SPDX-License-Identifier: MIT */
/*
 * Which young collections do without verification: garbage that they pass on is found by the
 * next collection of the middle generation, or by the next cycle.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "collect/collect_internal.h"
#include "object/support.h"

/* As src/collect/young.c has them. */
enum { VAIN_LEAST = 8, PASS_PERIOD = 4 };

static neve_collection due(neve_runtime *runtime, int generation)
{
    neve_collection result;
    assert_int_equal(neve_collect_due(neve_runtime_collector(runtime), generation, &result),
                     NEVE_OK);
    return result;
}

/* A young set of one object that lives, so that a verified one has a candidate. */
static neve_collection collect_young(neve_runtime *runtime)
{
    pair *p = new_pair(runtime, &pair_type, '\0');
    neve_collection result = due(runtime, 0);
    neve_release(runtime, &p->base);
    return result;
}

/* Verified ones until one more may be passed on. */
static void learn(neve_runtime *runtime)
{
    for (int i = 0; i < VAIN_LEAST; i++)
        assert_int_equal(collect_young(runtime).candidates, 1);
}

static void test_three_of_four_pass(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    learn(runtime);
    for (int i = 1; i <= 5 * PASS_PERIOD; i++) {
        neve_collection result = collect_young(runtime);
        assert_int_equal(result.candidates, i % PASS_PERIOD == 0);
        assert_int_equal(result.collected, 0);
    }
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    assert_int_equal(stats.generations[0].collections, VAIN_LEAST + 5 * PASS_PERIOD);
    neve_runtime_destroy(runtime);
}

/* What is passed on gets to the middle generation; garbage among it dies there, and from
 * then on every young set is verified again. */
static void test_garbage_waits_for_the_middle(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    learn(runtime);
    pair *kept = new_pair(runtime, &pair_type, 'k');
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_int_equal(due(runtime, 0).collected, 0);
    assert_int_equal(neve_collector_generation_of(neve_runtime_collector(runtime), kept), 1);
    assert_int_equal(live_objects(runtime), 3);
    neve_collection middle = due(runtime, 1);
    assert_int_equal(middle.candidates, 3);
    assert_int_equal(middle.collected, 2);
    assert_int_equal(neve_collector_generation_of(neve_runtime_collector(runtime), kept), 2);
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_release(runtime, &kept->base);
    neve_runtime_destroy(runtime);
}

/* The one of four finds it too. */
static void test_garbage_is_found_by_the_fourth(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    learn(runtime);
    for (int i = 1; i < PASS_PERIOD; i++)
        (void)collect_young(runtime);
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_int_equal(due(runtime, 0).collected, 2);
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_runtime_destroy(runtime);
}

static void test_explicit_ones_verify(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    learn(runtime);
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_int_equal(collect(runtime, 0).collected, 2);
    learn(runtime);
    collect(runtime, 2); /* found nothing, and was asked for */
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_runtime_destroy(runtime);
}

/* Few objects may hold much memory. */
static void test_growth_ends_it(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_heap *heap = neve_runtime_heap(runtime);
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    void *much = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, (size_t)4 << 20);
    assert_non_null(much);
    for (int i = 0; i < 2 * PASS_PERIOD; i++)
        assert_int_equal(collect_young(runtime).candidates, 1);
    /* Until everything that was passed on has been verified: this is the new measure. */
    (void)due(runtime, 1);
    size_t verified = 0;
    for (int i = 0; i < PASS_PERIOD; i++)
        verified += collect_young(runtime).candidates;
    assert_int_equal(verified, 1);
    neve_heap_free(heap, much);
    neve_runtime_destroy(runtime);
}

/* False without memory. In small blocks. */
static bool hold(neve_runtime *runtime, size_t bytes)
{
    for (size_t held = 0; held < bytes; held += NEVE_SMALL_MAX)
        if (neve_heap_alloc(neve_runtime_heap(runtime), NEVE_DOMAIN_RAW, NEVE_SMALL_MAX) == NULL)
            return false;
    return true;
}

/* A child grows from what it holds itself, not from what its parent held. */
static void test_growth_in_a_forked_child(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    assert_true(hold(runtime, (size_t)16 << 20));
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_runtime_before_fork(runtime);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        neve_runtime_after_fork_child(runtime);
        if (!hold(runtime, (size_t)8 << 20))
            _exit(2);
        for (int i = 0; i < PASS_PERIOD; i++)
            if (collect_young(runtime).candidates != 1)
                _exit(1);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_runtime_destroy(runtime);
}

/* There a middle generation is passed over instead (pace.c). */
static void test_incremental_mode_verifies(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    assert_int_equal(neve_collector_set_mode(c, NEVE_MODE_INCREMENTAL), NEVE_OK);
    learn(runtime);
    for (int i = 0; i < 2 * PASS_PERIOD; i++) {
        assert_int_equal(collect_young(runtime).candidates, 1);
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        assert_int_equal(due(runtime, 0).collected, 2);
        learn(runtime);
    }
    neve_runtime_destroy(runtime);
}

/* While it is passed over, sets are passed on to the old objects; a cycle finds garbage there. */
static void test_incremental_mode_passes_to_the_old(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    assert_int_equal(neve_collector_set_mode(c, NEVE_MODE_INCREMENTAL), NEVE_OK);
    enum { SETS = 5 * PASS_PERIOD };
    c->cycle.bypass = VAIN_LEAST + SETS + 3;
    learn(runtime);
    for (int i = 1; i <= SETS; i++)
        assert_int_equal(collect_young(runtime).candidates, i % PASS_PERIOD == 0);
    assert_int_equal(c->cycle.bypass, 3);

    pair *kept = new_pair(runtime, &pair_type, 'k');
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_int_equal(due(runtime, 0).candidates, 0);
    assert_int_equal(neve_collector_generation_of(c, kept), 2);
    assert_int_equal(live_objects(runtime), 3);
    /* A step in idle time looks at everything, and begins a cycle. */
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    neve_collection step;
    assert_true(neve_step(c, 0, &step));
    assert_int_equal(step.collected, 2);
    while (neve_step(c, 1000, NULL))
        continue;
    assert_int_equal(live_objects(runtime), 1);
    neve_release(runtime, &kept->base);

    /* Somebody was found dead: every set is verified again. */
    c->cycle.bypass = VAIN_LEAST + 1;
    learn(runtime);
    assert_int_equal(collect_young(runtime).candidates, 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_of_four_pass),
        cmocka_unit_test(test_garbage_waits_for_the_middle),
        cmocka_unit_test(test_garbage_is_found_by_the_fourth),
        cmocka_unit_test(test_explicit_ones_verify),
        cmocka_unit_test(test_growth_ends_it),
        cmocka_unit_test(test_growth_in_a_forked_child),
        cmocka_unit_test(test_incremental_mode_verifies),
        cmocka_unit_test(test_incremental_mode_passes_to_the_old),
    };
    /* Tests here say themselves when to collect. */
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
