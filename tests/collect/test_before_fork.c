/* SPDX-License-Identifier: MIT */
/*
 * The collector around a fork: what it gives back before, what it goes on with, and
 * how little of its own a full collection leaves written in the child.
 */
#include "object/support.h"

#include "heap/heap_support.h"

static neve_collector *collector_of(neve_runtime *runtime)
{
    return neve_runtime_collector(runtime);
}

static neve_runtime *new_runtime_of(neve_mode mode, journal *j)
{
    neve_collector_options collect = {.struct_size = sizeof collect, .mode = mode};
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect};
    neve_runtime *runtime;
    assert_ok(neve_runtime_create(&options, &runtime));
    neve_collector_disable(collector_of(runtime));
    journal_reset(j);
    neve_runtime_set_data(runtime, j);
    return runtime;
}

/* A tree that hangs on its root, in which garbage rings are spread. */
static pair *grow(neve_runtime *runtime, size_t pairs, size_t rings)
{
    pair *root = NULL;
    pair **held = calloc(rings + 1, sizeof *held);
    assert_non_null(held);
    for (size_t i = 0; i < pairs; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = root == NULL ? NULL : &root->base;
        root = p;
        if (rings > 0 && i % (pairs / rings) == 0 && i / (pairs / rings) < rings) {
            pair *ring = new_pair(runtime, &pair_type, '\0');
            ring->a = neve_retain(&ring->base);
            held[i / (pairs / rings)] = ring;
        }
    }
    assert_int_equal(collect(runtime, 2).collected, 0); /* all is old now */
    for (size_t i = 0; i < rings; i++)
        neve_release(runtime, &held[i]->base);
    free(held);
    return root;
}

/* Between any two slices of a cycle: what is condemned is cleared, the cycle goes on
 * and finds all of its garbage. */
static void test_a_cycle_goes_on(void **unused)
{
    (void)unused;
    journal j;
    size_t rings = 4000, waited = 0, ran = 0, collected = 0;
    neve_runtime *runtime = new_runtime_of(NEVE_MODE_INCREMENTAL, &j);
    pair *root = grow(runtime, 20000, rings);
    neve_collection done;
    neve_collector_stats stats;
    for (int i = 0; i < 1000000; i++) {
        bool more = neve_step(collector_of(runtime), 1, &done);
        collected += done.collected;
        neve_collector_get_stats(collector_of(runtime), &stats);
        bool was_running = stats.cycle.is_running;
        waited += stats.condemned;
        ran += was_running;
        neve_collector_before_fork(collector_of(runtime));
        neve_collector_get_stats(collector_of(runtime), &stats);
        assert_int_equal(stats.condemned, 0);
        assert_int_equal(stats.cycle.is_running, was_running);
        assert_int_equal(stats.cycle.abandoned, 0);
        if (!more)
            break;
    }
    assert_true(ran > 10);
    assert_true(waited > 0);
    assert_int_equal(collected, rings);
    assert_int_equal(j.freed, rings);
    check_runtime(runtime);
    neve_release(runtime, &root->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Nothing is kept for the next collections, neither by the call nor after a full one. */
static void test_tables_go_back(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime_of(NEVE_MODE_GENERATIONAL, &j);
    pair *root = grow(runtime, 10, 0);
    neve_heap *heap = neve_runtime_heap(runtime);
    neve_runtime_before_fork(runtime);
    size_t least = heap_stats(heap).side_table_bytes;
    for (int i = 0; i < 2000; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_int_equal(collect(runtime, 1).collected, 4000);
    neve_heap_stats kept = heap_stats(heap);
    assert_true(kept.side_table_bytes > least);
    neve_runtime_before_fork(runtime);
    size_t list = kept.side_table_bytes; /* with the list of touched pools, which stays */
    kept = heap_stats(heap);
    assert_true(kept.side_table_bytes < list);
    list = kept.side_table_bytes;
    collect(runtime, 0);
    assert_true(heap_stats(heap).side_table_bytes >= list);
    collect(runtime, 2);
    /* With NEVE_DEBUG the checker comes after the collection, with tables of its own. */
    if (NEVE_DEBUG < 2)
        assert_true(heap_stats(heap).side_table_bytes <= list);
    neve_release(runtime, &root->base);
    neve_runtime_destroy(runtime);
}

static void fork_from_finalizer(neve_runtime *runtime, pair *self)
{
    (void)self;
    neve_runtime_before_fork(runtime);
}

/* A finalizer that forks is in the middle of a collection: its tables stay. */
static void test_inside_a_collection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime_of(NEVE_MODE_GENERATIONAL, &j);
    for (int i = 0; i < 100; i++) {
        pair *p = new_pair(runtime, &finalized_pair_type, '\0');
        p->a = &p->base;
        p->on_finalize = fork_from_finalizer;
    }
    assert_int_equal(collect(runtime, 2).collected, 100);
    assert_int_equal(j.finalized, 100);
    assert_int_equal(live_objects(runtime), 0);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

static const char *collect_and_weigh(void *arg)
{
    neve_runtime *runtime = arg;
    neve_runtime_after_fork_child(runtime);
    neve_collection done;
    (void)private_dirty_bytes(); /* reading it writes some pages, once */
    size_t before = private_dirty_bytes();
    for (int i = 0; i < 3; i++)
        CHECK(neve_collect(neve_runtime_collector(runtime), 2, &done) == NEVE_OK, "failed");
    size_t after = private_dirty_bytes();
    CHECK(after <= before + 96 * 1024, "collecting made %zu kB private", (after - before) / 1024);
    return NULL;
}

static void test_a_collection_in_a_child(void **unused)
{
    (void)unused;
    if (IS_SANITIZED || is_emulated() || private_dirty_bytes() == 0)
        SKIP_BECAUSE("no figures for the process as a whole");
    journal j;
    neve_runtime *runtime = new_runtime_of(NEVE_MODE_GENERATIONAL, &j);
    pair *root = grow(runtime, 300000, 0);
    assert_ok(neve_root_add(runtime, (neve_object **)&root));
    neve_runtime_before_fork(runtime);
    assert_child(collect_and_weigh, runtime);
    neve_object *head = &root->base;
    root = NULL;
    neve_release(runtime, head);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cycle_goes_on),
        cmocka_unit_test(test_tables_go_back),
        cmocka_unit_test(test_inside_a_collection),
        cmocka_unit_test(test_a_collection_in_a_child),
    };
    return cmocka_run_group_tests_name("collector before a fork", tests, NULL, NULL);
}
