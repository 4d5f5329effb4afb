/* SPDX-License-Identifier: MIT */
/*
 * Nothing is global: runtimes of different threads do not meet, and one
 * runtime may be used by many threads, one at a time. The thread sanitizer
 * watches.
 *
 * Threads must not use cmocka's assertions: they count what went wrong.
 */
#include "object/support.h"

#include <pthread.h>

enum { THREADS = 4 };

static void forget_arg(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    ++*(int *)(uintptr_t)((pair *)arg)->store;
}

/* Objects, cycles, weak references and collections. Returns what went wrong. */
static int churn(neve_runtime *runtime, int rounds)
{
    int wrong = 0, called = 0;
    neve_collector *collector = neve_runtime_collector(runtime);
    neve_eval_breaker *breaker = neve_collector_breaker(collector);
    pair *counter = (pair *)neve_object_new(runtime, &pair_type);
    counter->store = (neve_object **)(uintptr_t)&called;
    for (int round = 0; round < rounds; round++) {
        pair *a = (pair *)neve_object_new(runtime, &finalized_pair_type);
        pair *b = (pair *)neve_object_new(runtime, &pair_type);
        neve_object *weakref = neve_weakref_new(runtime, &a->base, forget_arg, &counter->base);
        wrong += a == NULL || b == NULL || weakref == NULL;
        a->a = &b->base;
        if (round % 2 == 0)
            b->a = neve_retain(&a->base);
        neve_release(runtime, &a->base);
        neve_poll(collector, breaker);
        if (round % 500 == 0)
            wrong += neve_collect(collector, round / 500 % 3, NULL) != NEVE_OK;
        if (round % 2 != 0)
            wrong += neve_weakref_get(runtime, weakref) != NULL;
        else
            counter->a = neve_retain(&counter->base), neve_clear_slot(runtime, &counter->a);
        neve_release(runtime, weakref);
    }
    wrong += neve_collect(collector, 2, NULL) != NEVE_OK;
    wrong += called < rounds / 2;
    neve_release(runtime, &counter->base);
    wrong += live_objects(runtime) != 0;
    return wrong;
}

static int rounds(void)
{
    return is_slow() ? 2000 : 20000;
}

static void *own_runtime(void *result)
{
    journal j;
    neve_runtime *runtime;
    journal_reset(&j);
    if (neve_runtime_create(NULL, &runtime) != NEVE_OK) {
        *(int *)result = -1;
        return NULL;
    }
    neve_runtime_set_data(runtime, &j);
    *(int *)result = churn(runtime, rounds());
    *(int *)result += j.finalized != rounds();
    neve_runtime_destroy(runtime);
    return NULL;
}

static void test_a_runtime_for_each_thread(void **unused)
{
    (void)unused;
    pthread_t threads[THREADS];
    int wrong[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, own_runtime, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(wrong[i], 0);
    }
}

typedef struct shared {
    pthread_mutex_t lock;
    neve_runtime *runtime;
    int wrong;
} shared;

static void *with_lock(void *arg)
{
    shared *s = arg;
    for (int i = 0; i < 20; i++) {
        pthread_mutex_lock(&s->lock);
        s->wrong += churn(s->runtime, rounds() / 100);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static void test_one_runtime_under_a_lock(void **unused)
{
    (void)unused;
    shared s = {.lock = PTHREAD_MUTEX_INITIALIZER, .runtime = new_runtime(NULL)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, with_lock, &s), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(s.wrong, 0);
    check_runtime(s.runtime);
    neve_runtime_destroy(s.runtime);
}

/* Any thread may set events, Neve's own included, while another one polls. */
typedef struct signaller {
    neve_eval_breaker *breaker;
    bool stop;
} signaller;

static void *set_events(void *arg)
{
    signaller *s = arg;
    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
        neve_breaker_set(s->breaker, 4);
        neve_breaker_set(s->breaker, NEVE_EVENT_COLLECT);
        neve_breaker_clear(s->breaker, 4);
        sched_yield();
    }
    return NULL;
}

static void test_events_from_another_thread(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    signaller s = {.breaker = neve_collector_breaker(neve_runtime_collector(runtime))};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, set_events, &s), 0);
    int wrong = churn(runtime, rounds());
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(neve_breaker_get(s.breaker) & 4, 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_runtime_for_each_thread),
        cmocka_unit_test(test_one_runtime_under_a_lock),
        cmocka_unit_test(test_events_from_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
