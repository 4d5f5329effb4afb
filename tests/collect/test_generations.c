/* SPDX-License-Identifier: MIT */
/*
 * When collections run and what they take in: thresholds, the 25% rule, safe
 * points, generations that move up, explicit collections, statistics,
 * listeners. Object counts here are exact: NEVE_GC_STRESS is switched off.
 */
#include "object/support.h"

static neve_runtime *new_runtime_with(const uint32_t thresholds[NEVE_GENERATIONS],
                                      neve_eval_breaker *breaker)
{
    neve_collector_options collect_options = {.struct_size = sizeof collect_options,
                                              .breaker = breaker};
    memcpy(collect_options.thresholds, thresholds, sizeof collect_options.thresholds);
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect_options};
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    return runtime;
}

static neve_collector_stats stats_of(neve_runtime *runtime)
{
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    return stats;
}

static uint64_t collections_of(neve_runtime *runtime, int generation)
{
    return stats_of(runtime).generations[generation].collections;
}

static void poll(neve_runtime *runtime)
{
    neve_collector *collector = neve_runtime_collector(runtime);
    neve_poll(collector, neve_collector_breaker(collector));
}

static bool is_due(neve_runtime *runtime)
{
    neve_eval_breaker *breaker = neve_collector_breaker(neve_runtime_collector(runtime));
    return (neve_breaker_get(breaker) & NEVE_EVENT_COLLECT) != 0;
}

static int generation_of(neve_runtime *runtime, const void *object)
{
    return neve_collector_generation_of(neve_runtime_collector(runtime), object);
}

static void test_defaults(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector *collector = neve_runtime_collector(runtime);
    uint32_t thresholds[NEVE_GENERATIONS];
    neve_collector_get_thresholds(collector, thresholds);
    assert_int_equal(thresholds[0], 2000);
    assert_int_equal(thresholds[1], 10);
    assert_int_equal(thresholds[2], 10);
    assert_true(neve_collector_is_enabled(collector));
    assert_false(neve_collector_is_collecting(collector));
    assert_false(is_due(runtime));
    static const uint32_t other[NEVE_GENERATIONS] = {5, 0, 7};
    neve_collector_set_thresholds(collector, other);
    neve_collector_get_thresholds(collector, thresholds);
    assert_memory_equal(thresholds, other, sizeof other);
    assert_int_equal(stats_of(runtime).generations[2].threshold, 7);
    assert_int_equal(neve_collect(collector, -1, NULL), NEVE_EINVAL);
    assert_int_equal(neve_collect(collector, 3, NULL), NEVE_EINVAL);
    neve_runtime_destroy(runtime);
}

/* Allocations less deallocations count; leaves do not; only a safe point
 * collects. */
static void test_young_threshold(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {100, 10, 10};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    static neve_object *kept[400];
    for (int i = 0; i < 100; i++)
        kept[i] = &new_pair(runtime, &pair_type, '\0')->base;
    assert_int_equal(stats_of(runtime).generations[0].count, 100);
    for (int i = 0; i < 500; i++) { /* nothing by balance */
        neve_release(runtime, &new_pair(runtime, &pair_type, '\0')->base);
        if (i == 0) /* over the threshold for a moment: only asked for */
            neve_breaker_clear(neve_collector_breaker(neve_runtime_collector(runtime)),
                               NEVE_EVENT_COLLECT);
    }
    assert_int_equal(stats_of(runtime).generations[0].count, 100);
    for (int i = 0; i < 500; i++) /* leaves are not counted */
        neve_release(runtime, &new_leaf(runtime, '\0')->base);
    assert_int_equal(stats_of(runtime).generations[0].count, 100);
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 0);

    for (int i = 100; i < 400; i++) {
        kept[i] = &new_pair(runtime, &pair_type, '\0')->base;
        assert_true(is_due(runtime));
        assert_int_equal(collections_of(runtime, 0), 0); /* allocation never collects */
    }
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 1);
    assert_false(is_due(runtime));
    assert_int_equal(stats_of(runtime).generations[0].count, 0);
    assert_int_equal(stats_of(runtime).generations[1].count, 1);
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 1);
    for (int i = 0; i < 400; i++)
        neve_release(runtime, kept[i]);
    neve_runtime_destroy(runtime);
}

/* Crossed, but enough was freed since: the safe point does nothing. */
/* Counts are what the thresholds are compared with, and asking changes nothing. */
static void test_counts(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime_with((uint32_t[]){10, 5, 5}, NULL);
    neve_collector *collector = neve_runtime_collector(runtime);
    uint32_t counts[NEVE_GENERATIONS];
    neve_collector_get_counts(collector, counts);
    assert_int_equal(counts[0] + counts[1] + counts[2], 0);
    pair *held[7];
    for (int i = 0; i < 7; i++)
        held[i] = new_pair(runtime, &pair_type, '\0');
    neve_release(runtime, &held[6]->base);
    for (int i = 0; i < 2; i++) {
        neve_collector_get_counts(collector, counts);
        assert_int_equal(counts[0], 6);
        assert_int_equal(counts[1], 0);
    }
    collect(runtime, 0);
    neve_collector_get_counts(collector, counts);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 1);
    collect(runtime, 1);
    neve_collector_get_counts(collector, counts);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 1);
    for (int i = 0; i < 6; i++)
        neve_release(runtime, &held[i]->base);
    neve_runtime_destroy(runtime);
}

/* Taking events returns and clears those that were asked for, and leaves the others. */
static void test_taken_events(void **unused)
{
    (void)unused;
    neve_eval_breaker breaker = {0};
    const uint32_t signal = NEVE_EVENT_HOST, other = NEVE_EVENT_HOST << 1;
    assert_int_equal(neve_breaker_take(&breaker, signal | other), 0);
    neve_breaker_set(&breaker, NEVE_EVENT_COLLECT | signal);
    assert_int_equal(neve_breaker_take(&breaker, signal | other), signal);
    assert_int_equal(neve_breaker_get(&breaker), NEVE_EVENT_COLLECT);
    assert_int_equal(neve_breaker_take(&breaker, signal | other), 0);
    assert_int_equal(neve_breaker_take(&breaker, UINT32_MAX), NEVE_EVENT_COLLECT);
    assert_int_equal(neve_breaker_get(&breaker), 0);
}

static void test_threshold_uncrossed(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {10, 10, 10};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    neve_object *kept[11];
    for (int i = 0; i < 11; i++)
        kept[i] = &new_pair(runtime, &pair_type, '\0')->base;
    assert_true(is_due(runtime));
    neve_release(runtime, kept[10]);
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 0);
    assert_false(is_due(runtime));
    for (int i = 0; i < 10; i++)
        neve_release(runtime, kept[i]);
    neve_runtime_destroy(runtime);
}

static void test_zero_threshold_disables(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {0, 10, 10};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    for (int i = 0; i < 5000; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    assert_false(is_due(runtime));
    neve_collector_safepoint(neve_runtime_collector(runtime));
    assert_int_equal(collections_of(runtime, 0), 0);
    assert_int_equal(collect(runtime, 0).collected, 10000); /* explicit ones run */
    neve_runtime_destroy(runtime);
}

static void test_enable_and_disable(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {50, 10, 10};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    neve_collector *collector = neve_runtime_collector(runtime);
    neve_collector_disable(collector);
    assert_false(neve_collector_is_enabled(collector));
    for (int i = 0; i < 100; i++) {
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        poll(runtime);
    }
    neve_collector_safepoint(collector);
    assert_int_equal(collections_of(runtime, 0), 0);
    assert_int_equal(collect(runtime, 0).collected, 200);
    for (int i = 0; i < 100; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    neve_collector_enable(collector); /* what is due is asked for */
    assert_true(neve_collector_is_enabled(collector));
    assert_true(is_due(runtime));
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 2);
    assert_int_equal(live_objects(runtime), 0);
    /* Disabled after the event was set. */
    for (int i = 0; i < 100; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    neve_collector_disable(collector);
    poll(runtime);
    assert_int_equal(collections_of(runtime, 0), 2);
    neve_runtime_destroy(runtime);
}

/* The host's own events in the same word are left alone. */
static void test_shared_eval_breaker(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {20, 10, 10};
    neve_eval_breaker breaker = {.events = 0x80000004u};
    neve_runtime *runtime = new_runtime_with(thresholds, &breaker);
    neve_collector *collector = neve_runtime_collector(runtime);
    assert_ptr_equal(neve_collector_breaker(collector), &breaker);
    for (int i = 0; i < 30; i++) {
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        neve_breaker_set(&breaker, 1u << (i % 5 + 1));
        neve_poll(collector, &breaker);
    }
    assert_true(collections_of(runtime, 0) > 0);
    assert_int_equal(neve_breaker_get(&breaker) & ~NEVE_EVENT_COLLECT, 0x8000003eu);
    neve_breaker_clear(&breaker, 0x8000003eu);
    /* The event may be set by anybody: a safe point with nothing to do. */
    uint64_t before = collections_of(runtime, 0);
    neve_breaker_set(&breaker, NEVE_EVENT_COLLECT);
    collect(runtime, 2);
    neve_breaker_set(&breaker, NEVE_EVENT_COLLECT);
    neve_poll(collector, &breaker);
    assert_int_equal(neve_breaker_get(&breaker), 0);
    assert_int_equal(collections_of(runtime, 0), before);
    neve_runtime_destroy(runtime);
    assert_int_equal(neve_breaker_get(&breaker), 0);
}

static void test_survivors_move_up(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *p = new_pair(runtime, &pair_type, 'p');
    p->a = &p->base;
    neve_retain(&p->base);
    leaf *l = new_leaf(runtime, 'l');
    assert_int_equal(generation_of(runtime, p), 0);
    collect(runtime, 0);
    assert_int_equal(generation_of(runtime, p), 1);
    collect(runtime, 0); /* it is not taken in */
    assert_int_equal(generation_of(runtime, p), 1);
    pair *q = new_pair(runtime, &pair_type, 'q');
    collect(runtime, 1);
    assert_int_equal(generation_of(runtime, p), 2);
    assert_int_equal(generation_of(runtime, q), 2);
    pair *r = new_pair(runtime, &pair_type, 'r');
    collect(runtime, 2);
    assert_int_equal(generation_of(runtime, p), 2);
    assert_int_equal(generation_of(runtime, r), 2);
    assert_int_equal(generation_of(runtime, l), 0); /* leaves have no generation */

    neve_collector_stats stats = stats_of(runtime);
    assert_int_equal(stats.generations[0].objects, 0);
    assert_int_equal(stats.generations[1].objects, 0);
    assert_int_equal(stats.generations[2].objects, 3);
    /* An old cycle is garbage, younger collections leave it. */
    neve_release(runtime, &p->base);
    assert_int_equal(collect(runtime, 0).collected, 0);
    assert_int_equal(collect(runtime, 1).collected, 0);
    assert_int_equal(collect(runtime, 2).collected, 1);
    /* New objects in the memory of dead ones are young. */
    neve_release(runtime, &q->base);
    neve_release(runtime, &r->base);
    neve_release(runtime, &l->base);
    for (int i = 0; i < 1000; i++) {
        p = new_pair(runtime, &pair_type, 'p');
        assert_int_equal(generation_of(runtime, p), 0);
        neve_release(runtime, &p->base);
    }
    neve_runtime_destroy(runtime);
}

/* A cycle across generations goes when its oldest part is taken in. */
static void test_cycle_across_generations(void **unused)
{
    (void)unused;
    for (int size = 0; size < 2; size++) { /* small blocks, large blocks */
        neve_runtime *runtime = new_runtime(NULL);
        neve_type type = pair_type;
        type.size = size == 0 ? sizeof(pair) : 4000;
        pair *old = new_pair(runtime, &type, 'o');
        collect(runtime, 2);
        pair *middle = new_pair(runtime, &type, 'm');
        old->a = &middle->base;
        collect(runtime, 0);
        pair *young = new_pair(runtime, &type, 'y');
        middle->a = &young->base;
        young->a = &old->base;
        assert_int_equal(generation_of(runtime, old), 2);
        assert_int_equal(generation_of(runtime, middle), 1);
        assert_int_equal(generation_of(runtime, young), 0);
        assert_int_equal(stats_of(runtime).generations[0].objects, 1);
        assert_int_equal(stats_of(runtime).generations[1].objects, 1);
        assert_int_equal(stats_of(runtime).generations[2].objects, 1);
        assert_int_equal(collect(runtime, 0).collected, 0);
        assert_int_equal(collect(runtime, 1).collected, 0);
        assert_int_equal(collect(runtime, 2).collected, 3);
        neve_heap_stats heap;
        neve_heap_get_stats(neve_runtime_heap(runtime), &heap);
        assert_int_equal(heap.small_blocks[NEVE_DOMAIN_OBJECT], 0);
        neve_runtime_destroy(runtime);
    }
}

/* Every threshold-1 young collections the middle generation, and so on. */
static void test_older_thresholds(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {10, 3, 2};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    int last = 0;
    for (int i = 0; i < 1000; i++) {
        neve_object *made[11];
        for (int k = 0; k < 11; k++)
            made[k] = &new_pair(runtime, &pair_type, '\0')->base;
        poll(runtime);
        for (int k = 0; k < 11; k++)
            neve_release(runtime, made[k]);
        last++;
        neve_collector_stats stats = stats_of(runtime);
        uint64_t total = stats.generations[0].collections + stats.generations[1].collections +
                         stats.generations[2].collections;
        assert_int_equal(total, last);
    }
    /* 4 young ones and a middle one, 3 times over, then a full one (nothing is
     * long-lived, so the 25% rule is met). */
    assert_int_equal(collections_of(runtime, 2), 1000 / 16);
    assert_int_equal(collections_of(runtime, 1), 1000 / 16 * 3 + 1);
    assert_int_equal(collections_of(runtime, 0), 1000 - 1000 / 16 * 4 - 1);
    neve_runtime_destroy(runtime);
}

/* Full collections wait until the long-lived pending exceed a quarter of the
 * long-lived total. */
static void test_quarter_rule(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {10, 1, 1};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    enum { OLD = 4000 };
    static neve_object *old[OLD + 4000];
    neve_collector_disable(neve_runtime_collector(runtime));
    for (int i = 0; i < OLD; i++)
        old[i] = &new_pair(runtime, &pair_type, '\0')->base;
    collect(runtime, 2);
    assert_int_equal(stats_of(runtime).long_lived_total, OLD);
    assert_int_equal(stats_of(runtime).long_lived_pending, 0);
    neve_collector_enable(neve_runtime_collector(runtime));
    int count = OLD;
    while (collections_of(runtime, 2) == 1) {
        assert_true(count < OLD + 4000);
        old[count++] = &new_pair(runtime, &pair_type, '\0')->base;
        neve_collector_stats stats = stats_of(runtime);
        assert_true(stats.long_lived_pending <= (size_t)(count - OLD));
        poll(runtime);
    }
    /* A quarter of 4,000, and the few that were not promoted yet. */
    assert_in_range(count - OLD, OLD / 4, OLD / 4 + 60);
    assert_true(stats_of(runtime).long_lived_total >= (size_t)(OLD + OLD / 4));
    assert_int_equal(stats_of(runtime).long_lived_pending, 0);
    /* The figures can be restarted. */
    neve_collector_set_long_lived(neve_runtime_collector(runtime), 100, 99);
    assert_int_equal(stats_of(runtime).long_lived_total, 100);
    assert_int_equal(stats_of(runtime).long_lived_pending, 99);
    for (int i = 0; i < count; i++)
        neve_release(runtime, old[i]);
    neve_runtime_destroy(runtime);
}

static void test_statistics(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    for (int i = 0; i < 10; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    pair *kept = new_pair(runtime, &pair_type, 'k');
    assert_int_equal(stats_of(runtime).generations[0].objects, 21);
    neve_collection young = collect(runtime, 0);
    assert_int_equal(young.candidates, 21);
    assert_int_equal(young.collected, 20);
    assert_int_equal(young.marked, 0);
    assert_true(young.duration_ns >= young.nominate_ns + young.verify_ns);
    neve_collection full = collect(runtime, 2);
    neve_collector_stats stats = stats_of(runtime);
    assert_int_equal(stats.generations[0].collections, 1);
    assert_int_equal(stats.generations[0].collected, 20);
    assert_int_equal(stats.generations[0].time_ns, young.duration_ns);
    assert_int_equal(stats.generations[0].longest_pause_ns, young.duration_ns);
    assert_int_equal(stats.generations[1].collections, 0);
    assert_int_equal(stats.generations[2].collections, 1);
    assert_int_equal(stats.generations[2].time_ns, full.duration_ns);
    assert_int_equal(stats.generations[2].collected, 0);
    assert_int_equal(stats.generations[2].objects, 1);
    assert_int_equal(stats.long_lived_total, 1);
    assert_int_equal(stats.frozen, 0);
    assert_int_equal(stats.condemned, 0);
    assert_int_equal(stats.failed, 0);
    make_garbage_ring(runtime, &unclearable_pair_type, '\0', '\0');
    collect(runtime, 2);
    assert_int_equal(stats_of(runtime).generations[2].uncollectable, 2);
    neve_release(runtime, &kept->base);
    neve_runtime_destroy(runtime);
}

/* ---- listeners ---- */

typedef struct heard {
    int begun, ended, failed;
    neve_collection last;
    neve_runtime *runtime;
} heard;

static void hear_begin(void *ctx, const neve_collection *collection)
{
    heard *h = ctx;
    h->begun++;
    h->last = *collection;
    assert_true(neve_collector_is_collecting(neve_runtime_collector(h->runtime)));
}

static void hear_end(void *ctx, const neve_collection *collection)
{
    heard *h = ctx;
    h->ended++;
    assert_int_equal(h->last.generation, collection->generation);
    assert_int_equal(h->last.is_explicit, collection->is_explicit);
    assert_int_equal(h->last.start_ns, collection->start_ns);
    h->last = *collection;
}

static void hear_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    heard *h = ctx;
    (void)collection;
    assert_int_equal(status, NEVE_ENOMEM);
    h->failed++;
}

static void test_listener(void **unused)
{
    (void)unused;
    static const uint32_t thresholds[] = {10, 10, 10};
    neve_runtime *runtime = new_runtime_with(thresholds, NULL);
    neve_collector *collector = neve_runtime_collector(runtime);
    heard h = {.runtime = runtime};
    neve_listener listener = {
        .begin = hear_begin, .end = hear_end, .failed = hear_failed, .ctx = &h};
    neve_collector_set_listener(collector, &listener);
    memset(&listener, 0, sizeof listener); /* it was copied */
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    neve_collection result = collect(runtime, 1);
    assert_int_equal(h.begun, 1);
    assert_int_equal(h.ended, 1);
    assert_memory_equal(&h.last, &result, sizeof result);
    for (int i = 0; i < 6; i++)
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
    poll(runtime);
    assert_int_equal(h.ended, 2);
    assert_int_equal(h.last.generation, 0);
    assert_false(h.last.is_explicit);
    assert_int_equal(h.last.collected, 12);
    /* Any of the callbacks may be missing; NULL removes all. */
    listener.ctx = &h;
    listener.end = hear_end;
    neve_collector_set_listener(collector, &listener);
    h.last.generation = 0;
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    neve_collector_set_listener(collector, NULL);
    collect(runtime, 0);
    assert_int_equal(h.begun, 2);
    assert_int_equal(h.ended, 2);
    assert_int_equal(h.failed, 0);
    neve_runtime_destroy(runtime);
}

/* ---- listing ---- */

typedef struct seen {
    size_t count;
    const void *last;
    size_t stop_at;
} seen;

static int see(void *object, void *arg)
{
    seen *s = arg;
    assert_true((uintptr_t)object > (uintptr_t)s->last);
    s->last = object;
    return ++s->count == s->stop_at ? 17 : 0;
}

static void test_walk(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector *collector = neve_runtime_collector(runtime);
    enum { COUNT = 3000 };
    static neve_object *made[COUNT];
    for (int i = 0; i < COUNT; i++)
        made[i] = &new_pair(runtime, &pair_type, '\0')->base;
    seen s = {0};
    assert_int_equal(neve_collector_walk(collector, 2, see, &s), 0);
    assert_int_equal(s.count, 0); /* nothing is old yet */
    collect(runtime, 2);
    assert_int_equal(neve_collector_walk(collector, 2, see, &s), 0);
    assert_int_equal(s.count, COUNT);
    s = (seen){.stop_at = 10};
    assert_int_equal(neve_collector_walk(collector, 2, see, &s), 17);
    assert_int_equal(s.count, 10);
    for (int i = 0; i < COUNT; i += 2)
        neve_release(runtime, made[i]);
    s = (seen){0};
    assert_int_equal(neve_collector_walk(collector, 2, see, &s), 0);
    assert_int_equal(s.count, COUNT / 2);
    s = (seen){0};
    assert_int_equal(neve_collector_walk(collector, 3, see, &s), 0);
    assert_int_equal(s.count, 0);
    for (int i = 1; i < COUNT; i += 2)
        neve_release(runtime, made[i]);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_young_threshold),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_taken_events),
        cmocka_unit_test(test_threshold_uncrossed),
        cmocka_unit_test(test_zero_threshold_disables),
        cmocka_unit_test(test_enable_and_disable),
        cmocka_unit_test(test_shared_eval_breaker),
        cmocka_unit_test(test_survivors_move_up),
        cmocka_unit_test(test_cycle_across_generations),
        cmocka_unit_test(test_older_thresholds),
        cmocka_unit_test(test_quarter_rule),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_walk),
    };
    /* Tests here say themselves when to collect. */
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
