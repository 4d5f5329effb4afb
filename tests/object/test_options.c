/* SPDX-License-Identifier: MIT */
/*
 * Options of a runtime, its heap and its collector: what is wrong is said, what an
 * older caller does not state takes its default, and the hook for want of memory may
 * take apart what the objects are held by.
 */
#include "object/support.h"

/* The message for these options, and that neither kind of creation takes them. */
static const char *refusal(const neve_heap_options *heap, const neve_collector_options *collect)
{
    static char message[256];
    strcpy(message, "none");
    neve_runtime_options options = {
        .struct_size = sizeof options, .heap = heap, .collect = collect};
    neve_runtime *runtime = (neve_runtime *)message;
    assert_int_equal(neve_runtime_options_check(&options, NULL, 0), NEVE_EINVAL);
    assert_int_equal(neve_runtime_options_check(&options, message, sizeof message), NEVE_EINVAL);
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_EINVAL);
    assert_null(runtime);
    return message;
}

static void test_bad_options_are_refused(void **state)
{
    (void)state;
    neve_heap_options heap = {.struct_size = sizeof heap, .object_starts = 0x11};
    assert_string_equal(refusal(&heap, NULL),
                        "object_starts is 0x11: an object begins at most 3 granules into its "
                        "block, bits 0 to 3");
    heap.object_starts = 0;
    neve_large_allocator large = {.struct_size = sizeof large};
    heap.large = &large;
    assert_non_null(strstr(refusal(&heap, NULL), "large lacks its function malloc"));
    large.struct_size = 0;
    assert_non_null(strstr(refusal(&heap, NULL), "set it to sizeof(neve_large_allocator)"));
    heap = (neve_heap_options){.struct_size = 0};
    assert_non_null(strstr(refusal(&heap, NULL), "set it to sizeof(neve_heap_options)"));
    heap.struct_size = sizeof heap + 8;
    assert_non_null(strstr(refusal(&heap, NULL), "older than the headers"));

    neve_collector_options collect = {.struct_size = sizeof collect, .mode = (neve_mode)3};
    assert_string_equal(refusal(NULL, &collect), "mode is 3: there are the modes 0 to 2");
    collect.mode = NEVE_MODE_INCREMENTAL;
    collect.pause_us = NEVE_MAX_PAUSE_US + 1;
    assert_non_null(strstr(refusal(NULL, &collect), "pause_us is 60000001: at most 60000000"));
    collect.pause_us = 0;
    collect.breaker = (neve_eval_breaker *)((uintptr_t)&large + 1);
    assert_non_null(strstr(refusal(NULL, &collect), "breaker is not aligned"));

    neve_runtime_options options = {.struct_size = 3};
    char message[40];
    assert_int_equal(neve_runtime_options_check(&options, message, sizeof message), NEVE_EINVAL);
    assert_string_equal(message, "neve_runtime_options.struct_size is 3: "); /* cut to fit */
}

static void test_a_pause_is_bounded_later_too(void **state)
{
    (void)state;
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(NULL, &runtime), NEVE_OK);
    neve_collector *collector = neve_runtime_collector(runtime);
    assert_int_equal(neve_collector_set_pause_us(collector, NEVE_MAX_PAUSE_US), NEVE_OK);
    assert_int_equal(neve_collector_set_pause_us(collector, NEVE_MAX_PAUSE_US + 1), NEVE_EINVAL);
    assert_int_equal(neve_collector_set_pause_us(collector, 0), NEVE_OK);
    neve_runtime_destroy(runtime);
}

static void test_good_options_are_taken(void **state)
{
    (void)state;
    char message[64] = "untouched";
    neve_eval_breaker breaker = {0};
    neve_heap_options heap = {.struct_size = sizeof heap, .object_starts = 1, .retain_bytes = 1};
    neve_collector_options collect = {.struct_size = sizeof collect,
                                      .mode = NEVE_MODE_INCREMENTAL,
                                      .pause_us = NEVE_MAX_PAUSE_US,
                                      .breaker = &breaker,
                                      .thresholds = {100, 0, 7}};
    neve_runtime_options options = {
        .struct_size = sizeof options, .heap = &heap, .collect = &collect};
    assert_int_equal(neve_runtime_options_check(&options, message, sizeof message), NEVE_OK);
    assert_int_equal(neve_runtime_options_check(NULL, message, sizeof message), NEVE_OK);
    assert_int_equal(neve_heap_options_check(NULL, message, sizeof message), NEVE_OK);
    assert_string_equal(message, "untouched");
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    neve_collector *collector = neve_runtime_collector(runtime);
    assert_int_equal(neve_collector_mode(collector), NEVE_MODE_INCREMENTAL);
    assert_ptr_equal(neve_collector_breaker(collector), &breaker);
    uint32_t thresholds[NEVE_GENERATIONS];
    neve_collector_get_thresholds(collector, thresholds);
    assert_int_equal(thresholds[0], 100);
    assert_int_equal(thresholds[2], 7);
    neve_runtime_destroy(runtime);
}

/* Of an older caller: what lies behind the size that he states is not looked at. */
static void test_older_callers(void **state)
{
    (void)state;
    neve_heap_options heap;
    memset(&heap, 0xff, sizeof heap);
    heap.struct_size = offsetof(neve_heap_options, on_corruption);
    heap.large = NULL;
    neve_collector_options collect;
    memset(&collect, 0xff, sizeof collect);
    collect.struct_size = offsetof(neve_collector_options, pause_us);
    collect.mode = NEVE_MODE_GENERATIONAL;
    neve_runtime_options options;
    memset(&options, 0xff, sizeof options);
    options.struct_size = offsetof(neve_runtime_options, on_leak);
    options.heap = &heap;
    options.collect = &collect;
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    uint32_t thresholds[NEVE_GENERATIONS];
    neve_collector_get_thresholds(neve_runtime_collector(runtime), thresholds);
    assert_int_equal(thresholds[0], 2000);
    (void)neve_handle_new(runtime, NULL, NULL); /* would be reported */
    neve_runtime_destroy(runtime);
}

/* ---- the hook for want of memory, among objects ---- */

typedef struct shortage {
    neve_runtime *runtime;
    neve_object *cache; /* a list that the program can do without */
    neve_object *watched;
    neve_object *made[64]; /* weak references that the hook makes, in the room of others */
    int made_count, asked;
} shortage;

static bool give_up_cache(void *ctx, size_t bytes, unsigned attempt)
{
    shortage *s = ctx;
    assert_true(bytes > 0); /* also for a table that is empty so far */
    s->asked++;
    if (attempt > 1)
        return false;
    neve_object *weakref = neve_weakref_new(s->runtime, s->watched, NULL, NULL);
    if (weakref != NULL)
        s->made[s->made_count++] = weakref;
    (void)neve_collect(neve_runtime_collector(s->runtime), 0, NULL);
    neve_clear_slot(s->runtime, &s->cache);
    return true;
}

/* Every allocation of this work fails once, and is asked for: the work is done all the
 * same, whatever the hook did to the tables that were about to grow. */
static void test_hook_among_objects(void **state)
{
    (void)state;
    bool has_ended = false;
    int asked = 0;
    for (uint64_t n = 1; !has_ended; n++) {
        shortage s = {.runtime = NULL};
        neve_heap_options heap = {.struct_size = sizeof heap,
                                  .on_out_of_memory = give_up_cache,
                                  .on_out_of_memory_ctx = &s};
        neve_runtime_options options = {.struct_size = sizeof options, .heap = &heap};
        assert_int_equal(neve_runtime_create(&options, &s.runtime), NEVE_OK);
        s.watched = &new_pair(s.runtime, &pair_type, 'w')->base;
        for (int i = 0; i < 40; i++) {
            pair *link = new_pair(s.runtime, &pair_type, 'c');
            link->a = s.cache;
            s.cache = &link->base;
            neve_release(s.runtime, neve_weakref_new(s.runtime, &link->base, NULL, NULL));
        }
        if (neve_heap_fail_alloc_at(neve_runtime_heap(s.runtime), n) != NEVE_OK) {
            neve_release(s.runtime, s.cache);
            neve_release(s.runtime, s.watched);
            neve_runtime_destroy(s.runtime);
            skip();
        }
        neve_object *pairs[30], *weakrefs[30], *roots[30];
        neve_scope scope;
        neve_scope_open(s.runtime, &scope);
        for (int i = 0; i < 30; i++) {
            pairs[i] = neve_object_new(s.runtime, &pair_type);
            assert_non_null(pairs[i]);
            weakrefs[i] = neve_weakref_new(s.runtime, pairs[i], NULL, NULL);
            assert_non_null(weakrefs[i]);
            roots[i] = pairs[i];
            assert_int_equal(neve_root_add(s.runtime, &roots[i]), NEVE_OK);
            assert_ptr_equal(neve_scope_keep(s.runtime, neve_retain(pairs[i])), pairs[i]);
        }
        has_ended = s.asked == 0;
        asked += s.asked;
        neve_heap_fail_alloc_at(neve_runtime_heap(s.runtime), 0);
        check_runtime(s.runtime);
        for (int i = 0; i < 30; i++) {
            neve_object *got = neve_weakref_get(s.runtime, weakrefs[i]);
            assert_ptr_equal(got, pairs[i]);
            neve_release(s.runtime, got);
            neve_root_remove(s.runtime, &roots[i]);
        }
        neve_scope_close(s.runtime, &scope);
        for (int i = 0; i < 30; i++) {
            neve_release(s.runtime, pairs[i]);
            assert_null(neve_weakref_get(s.runtime, weakrefs[i]));
            neve_release(s.runtime, weakrefs[i]);
        }
        for (int i = 0; i < s.made_count; i++)
            neve_release(s.runtime, s.made[i]);
        neve_release(s.runtime, s.watched);
        neve_release(s.runtime, s.cache);
        assert_int_equal(live_objects(s.runtime), 0);
        neve_runtime_destroy(s.runtime);
    }
    assert_true(asked >= 60); /* at the least one for each object */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_options_are_refused),
        cmocka_unit_test(test_a_pause_is_bounded_later_too),
        cmocka_unit_test(test_good_options_are_taken),
        cmocka_unit_test(test_older_callers),
        cmocka_unit_test(test_hook_among_objects),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
