/* SPDX-License-Identifier: MIT */
/*
 * The child of a fork: objects of the parent live on there, are released and
 * collected there, and the parent sees nothing of it.
 *
 * A child must not use cmocka's assertions (they would jump into the parent's
 * runner): it exits with the number of the check that failed, or 0.
 */
#include "object/support.h"

#include <sys/wait.h>
#include <unistd.h>

#define CHECK(number, x)                                                                           \
    do {                                                                                           \
        if (!(x))                                                                                  \
            return number;                                                                         \
    } while (0)

enum { LIVE = 2000 };
static neve_object *live[LIVE];

static void run_in_child(neve_runtime *runtime, int (*work)(neve_runtime *runtime))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        neve_runtime_after_fork_child(runtime);
        _exit(work(runtime));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int allocate_collect_and_free(neve_runtime *runtime)
{
    char message[256];
    neve_collector *collector = neve_runtime_collector(runtime);
    journal *j = journal_of(runtime);
    neve_collection result;
    /* The rings of the parent are garbage here too. */
    CHECK(1, neve_collect(collector, 2, &result) == NEVE_OK && result.collected == 20);
    CHECK(2, j->finalized == 20 && j->freed == 20);
    CHECK(3, neve_heap_check(neve_runtime_heap(runtime), message, sizeof message) == NEVE_OK);
    /* New objects that refer to old ones, and garbage of both. */
    for (int round = 0; round < 20; round++) {
        pair *kept[100];
        for (int i = 0; i < 100; i++) {
            kept[i] = (pair *)neve_object_new(runtime, &finalized_pair_type);
            CHECK(4, kept[i] != NULL);
            kept[i]->a = neve_retain(live[(round * 100 + i) % LIVE]);
            if (i > 0)
                kept[i]->b = neve_retain(&kept[i - 1]->base);
        }
        kept[0]->b = neve_retain(&kept[99]->base);
        for (int i = 0; i < 100; i++)
            neve_release(runtime, &kept[i]->base);
        CHECK(5, neve_collect(collector, round % 3, &result) == NEVE_OK);
        CHECK(6, result.collected == 100);
    }
    CHECK(7, neve_collector_check(collector, message, sizeof message) == NEVE_OK);
    /* What the parent made dies here by count, and its blocks are used again. */
    int freed = j->freed;
    for (int i = 0; i < LIVE; i++)
        neve_release(runtime, live[i]);
    CHECK(8, j->freed == freed + LIVE);
    CHECK(9, live_objects(runtime) == 0);
    CHECK(10, neve_collector_check(collector, message, sizeof message) == NEVE_OK);
    neve_runtime_destroy(runtime);
    return 0;
}

static int fork_again(neve_runtime *runtime)
{
    pair *mine = (pair *)neve_object_new(runtime, &pair_type);
    CHECK(20, mine != NULL);
    mine->a = neve_retain(live[0]);
    pid_t child = fork();
    CHECK(21, child >= 0);
    if (child == 0) {
        neve_runtime_after_fork_child(runtime);
        neve_release(runtime, &mine->base);
        journal_reset(journal_of(runtime));
        _exit(allocate_collect_and_free(runtime));
    }
    int status;
    CHECK(22, waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(23, WEXITSTATUS(status) == 0);
    neve_release(runtime, &mine->base);
    journal_reset(journal_of(runtime));
    return allocate_collect_and_free(runtime);
}

static neve_runtime *make_parent(journal *j)
{
    neve_runtime *runtime = new_runtime(j);
    for (int i = 0; i < LIVE; i++) {
        live[i] = &new_pair(runtime, &pair_type, '\0')->base;
        if (i % 200 == 0)
            make_garbage_ring(runtime, &finalized_pair_type, '\0', '\0');
    }
    return runtime;
}

static void check_parent(neve_runtime *runtime, journal *j)
{
    assert_int_equal(j->freed, 0);
    for (int i = 0; i < LIVE; i++)
        assert_int_equal(neve_count(live[i]), 1);
    assert_int_equal(collect(runtime, 2).collected, 20);
    for (int i = 0; i < LIVE; i++)
        neve_release(runtime, live[i]);
    assert_int_equal(live_objects(runtime), 0);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

static void test_child(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = make_parent(&j);
    run_in_child(runtime, allocate_collect_and_free);
    check_parent(runtime, &j);
}

static void test_child_of_child(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = make_parent(&j);
    run_in_child(runtime, fork_again);
    check_parent(runtime, &j);
}

static int collect_frozen(neve_runtime *runtime)
{
    neve_collection result;
    neve_collector *collector = neve_runtime_collector(runtime);
    make_garbage_ring(runtime, &pair_type, '\0', '\0');
    CHECK(30, neve_collect(collector, 2, &result) == NEVE_OK && result.collected == 2);
    CHECK(31, neve_collector_frozen_count(collector) == LIVE);
    neve_release(runtime, live[7]);
    CHECK(32, neve_collector_frozen_count(collector) == LIVE - 1);
    return 0;
}

static void test_frozen_parent(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = make_parent(&j);
    assert_int_equal(collect(runtime, 2).collected, 20);
    assert_int_equal(neve_collector_freeze(neve_runtime_collector(runtime)), NEVE_OK);
    run_in_child(runtime, collect_frozen);
    assert_int_equal(neve_collector_unfreeze(neve_runtime_collector(runtime)), NEVE_OK);
    for (int i = 0; i < LIVE; i++)
        neve_release(runtime, live[i]);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_child_of_child),
        cmocka_unit_test(test_frozen_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
