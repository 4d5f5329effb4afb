/* SPDX-License-Identifier: MIT */
/*
 * Several heaps in several threads at once, each in its own lock domain, and
 * one heap that goes from thread to thread. Nothing is global, so the thread
 * sanitizer has nothing to say.
 */
#include "heap_support.h"

#include <pthread.h>

enum { THREADS = 4 };

typedef struct worker {
    pthread_t thread;
    uint64_t seed;
    neve_heap *heap;        /* NULL: makes its own */
    pthread_mutex_t *mutex; /* guards a heap that is shared */
    char error[300];        /* empty: all was well */
} worker;

/* cmocka's assertions belong to the main thread: findings go to `error`. */
static void worker_fail(worker *w, const char *what, const char *more)
{
    snprintf(w->error, sizeof w->error, "%s: %s", what, more);
}

static void *live_alone(void *arg)
{
    worker *w = arg;
    for (int life = 0; life < 3 && w->error[0] == '\0'; life++) {
        neve_heap *heap = NULL;
        shadow s;
        if (neve_heap_create(NULL, &heap) != NEVE_OK ||
            !shadow_create(&s, heap, 400, w->seed * 10 + (uint64_t)life)) {
            worker_fail(w, "no heap", "");
            return NULL;
        }
        bool is_fine = true;
        for (size_t step = 0; is_fine && step < affordable(20000); step++)
            is_fine = shadow_step(&s);
        is_fine = is_fine && shadow_verify(&s) && shadow_check_heap(&s) && shadow_check_stats(&s);
        if (life != 1)
            is_fine = is_fine && shadow_free_all(&s);
        if (!is_fine)
            worker_fail(w, "thread with a heap of its own", s.error);
        shadow_destroy(&s);
        neve_heap_destroy(heap);
    }
    return NULL;
}

static void *live_in_turns(void *arg)
{
    worker *w = arg;
    shadow s;
    if (!shadow_create(&s, w->heap, 200, w->seed)) {
        worker_fail(w, "no memory", "");
        return NULL;
    }
    bool is_fine = true;
    for (int turn = 0; is_fine && turn < 200; turn++) {
        pthread_mutex_lock(w->mutex);
        for (int step = 0; is_fine && step < 50; step++)
            is_fine = shadow_step(&s);
        pthread_mutex_unlock(w->mutex);
    }
    pthread_mutex_lock(w->mutex);
    is_fine = is_fine && shadow_verify(&s) && shadow_check_heap(&s) && shadow_free_all(&s);
    pthread_mutex_unlock(w->mutex);
    if (!is_fine)
        worker_fail(w, "thread with a shared heap", s.error);
    shadow_destroy(&s);
    return NULL;
}

static void run_workers(worker *workers, void *(*body)(void *))
{
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (size_t i = 0; i < THREADS; i++) {
        if (workers[i].error[0] != '\0')
            fail_msg("thread %zu: %s", i, workers[i].error);
    }
}

static void heaps_of_their_own(void **state)
{
    (void)state;
    worker workers[THREADS];
    memset(workers, 0, sizeof workers);
    for (size_t i = 0; i < THREADS; i++)
        workers[i].seed = i + 1;
    run_workers(workers, live_alone);
}

static void one_heap_under_one_lock(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    worker workers[THREADS];
    memset(workers, 0, sizeof workers);
    neve_heap *heap = heap_create_default();
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].seed = i + 1;
        workers[i].heap = heap;
        workers[i].mutex = &mutex;
    }
    run_workers(workers, live_in_turns);
    assert_heap_sound(heap);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
    neve_heap_destroy(heap);
    pthread_mutex_destroy(&mutex);
}

static void *free_and_destroy(void *arg)
{
    worker *w = arg;
    shadow s;
    if (!shadow_create(&s, w->heap, 300, 5)) {
        worker_fail(w, "no memory", "");
        return NULL;
    }
    for (int step = 0; step < 3000; step++) {
        if (!shadow_step(&s)) {
            worker_fail(w, "thread with an inherited heap", s.error);
            break;
        }
    }
    shadow_destroy(&s);
    neve_heap_destroy(w->heap);
    return NULL;
}

static void a_heap_outlives_its_thread(void **state)
{
    (void)state;
    worker w;
    memset(&w, 0, sizeof w);
    w.heap = heap_create_default();
    for (int i = 0; i < 1000; i++)
        assert_non_null(neve_heap_alloc(w.heap, NEVE_DOMAIN_OBJECT, 100));
    assert_int_equal(pthread_create(&w.thread, NULL, free_and_destroy, &w), 0);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_string_equal(w.error, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heaps_of_their_own),
        cmocka_unit_test(one_heap_under_one_lock),
        cmocka_unit_test(a_heap_outlives_its_thread),
    };
    return cmocka_run_group_tests_name("heap threads", tests, NULL, NULL);
}
