/* SPDX-License-Identifier: MIT */
/*
 * A small program, again and again, with its allocation number n failing, for
 * every n until it runs through: each time a clear status, nothing lost,
 * nothing leaked, and all is well afterwards. The allocations are the blocks
 * and the tables of the heap, the collector's included (NEVE_FAIL_ALLOC_AT).
 *
 * Builds without NEVE_DEBUG cannot fail allocations on purpose; there the
 * program runs once.
 */
#include <stdio.h>

#include "heap/heap_internal.h"
#include "heap/memory.h"
#include "object/support.h"

enum { NODES = 60, REFS = 40 };

typedef struct program {
    journal j;
    neve_runtime *runtime;
    neve_object *root;
    neve_object *refs[REFS];
    int made, finalizable, callbacks, weakrefs;
    bool ran_through;               /* the allocation that was to fail was not reached */
    int refused;                    /* operations that reported want of memory */
    uint64_t collections, failures; /* as the listener heard of them */
} program;

static program *current;

static void count_end(void *ctx, const neve_collection *collection)
{
    (void)collection;
    ((program *)ctx)->collections++;
}

static void count_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    assert_int_equal(status, NEVE_ENOMEM);
    assert_int_equal(collection->collected, 0);
    ((program *)ctx)->failures++;
}

static void count_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    current->callbacks++;
}

static void expect(program *p, neve_status status)
{
    if (status == NEVE_OK)
        return;
    assert_int_equal(status, NEVE_ENOMEM);
    p->refused++;
}

/* A ring of `length` pairs behind the root's second slot or on its own, with
 * weak references to it; gives up where memory is refused. */
static void make_ring(program *p, int length, bool is_garbage)
{
    pair *first = NULL, *last = NULL;
    for (int i = 0; i < length; i++) {
        bool finalizable = i % 4 == 0;
        pair *made =
            (pair *)neve_object_new(p->runtime, finalizable ? &finalized_pair_type : &pair_type);
        if (made == NULL) {
            p->refused++;
            break;
        }
        p->made++;
        p->finalizable += finalizable;
        if (first == NULL)
            first = made;
        else
            last->a = &made->base;
        last = made;
        if (i % 8 == 0 && p->weakrefs < REFS) {
            neve_object *ref = neve_weakref_new(p->runtime, &made->base, count_call, NULL);
            if (ref == NULL)
                p->refused++;
            else
                p->refs[p->weakrefs++] = ref;
        }
    }
    if (first == NULL)
        return;
    last->a = neve_retain(&first->base);
    if (is_garbage || p->root == NULL) {
        neve_release(p->runtime, &first->base);
    } else {
        neve_clear_slot(p->runtime, &((pair *)p->root)->b);
        ((pair *)p->root)->b = &first->base;
    }
}

/* Returns false when even the runtime could not be made. */
static bool run(program *p, uint64_t fail_at)
{
    char text[32];
    memset(p, 0, sizeof *p);
    current = p;
    snprintf(text, sizeof text, "%llu", (unsigned long long)fail_at);
    setenv("NEVE_FAIL_ALLOC_AT", text, 1);
    neve_status status = neve_runtime_create(NULL, &p->runtime);
    setenv("NEVE_FAIL_ALLOC_AT", "0", 1);
    if (status != NEVE_OK) {
        assert_int_equal(status, NEVE_ENOMEM);
        assert_null(p->runtime);
        return false;
    }
    neve_runtime_set_data(p->runtime, &p->j);
    neve_collector *collector = neve_runtime_collector(p->runtime);
    neve_listener listener = {.end = count_end, .failed = count_failed, .ctx = p};
    neve_collector_set_listener(collector, &listener);
    static const uint32_t thresholds[NEVE_GENERATIONS] = {30, 2, 2};
    neve_collector_set_thresholds(collector, thresholds);

    p->root = neve_object_new(p->runtime, &pair_type);
    if (p->root == NULL)
        p->refused++;
    else
        p->made++;
    bool is_root = false;
    status = neve_root_add(p->runtime, &p->root);
    expect(p, status);
    is_root = status == NEVE_OK;
    for (int generation = 0; generation < NEVE_GENERATIONS; generation++) {
        make_ring(p, NODES, false);
        make_ring(p, NODES / 2, true);
        int freed = p->j.freed, finalized = p->j.finalized, callbacks = p->callbacks;
        status = neve_collect(collector, generation, NULL);
        expect(p, status);
        if (status != NEVE_OK) { /* nothing happened */
            assert_int_equal(p->j.freed, freed);
            assert_int_equal(p->j.finalized, finalized);
            assert_int_equal(p->callbacks, callbacks);
        }
        /* A large object, and one that grows the large objects' tables. */
        static neve_type large;
        large = pair_type;
        large.size = 5000;
        pair *ring = (pair *)neve_object_new(p->runtime, &large);
        if (ring == NULL) {
            p->refused++;
        } else {
            p->made++;
            ring->a = &ring->base;
        }
        neve_poll(collector, neve_collector_breaker(collector));
        expect(p, neve_collect(collector, 2, NULL));
    }
    expect(p, neve_collector_freeze(collector));
    make_ring(p, NODES / 4, true);
    expect(p, neve_collect(collector, 2, NULL));
    expect(p, neve_collector_unfreeze(collector));
    char message[256];
    expect(p, neve_collector_check(collector, message, sizeof message));

    /* Now with memory: all of it is still there and goes as it must. */
    p->ran_through = neve_runtime_heap(p->runtime)->fail_in != 0;
    assert_int_equal(neve_heap_fail_alloc_at(neve_runtime_heap(p->runtime), 0),
                     NEVE_DEBUG > 0 ? NEVE_OK : NEVE_EUNSUPPORTED);
    check_runtime(p->runtime);
    if (is_root)
        neve_root_remove(p->runtime, &p->root);
    neve_clear_slot(p->runtime, &p->root);
    while (collect(p->runtime, 2).collected > 0)
        continue;
    assert_int_equal(p->j.freed, p->made);
    assert_int_equal(p->j.finalized, p->finalizable);
    assert_int_equal(p->callbacks, p->weakrefs);
    for (int i = 0; i < p->weakrefs; i++) {
        assert_null(neve_weakref_get(p->runtime, p->refs[i]));
        neve_release(p->runtime, p->refs[i]);
    }
    assert_int_equal(live_objects(p->runtime), 0);
    neve_collector_stats stats;
    neve_collector_get_stats(collector, &stats);
    assert_true(stats.failed >= p->failures);
    assert_true(p->failures <= (uint64_t)p->refused + 1); /* the safe point reports none */
    check_runtime(p->runtime);
    neve_runtime_destroy(p->runtime);
    if (p->ran_through)
        assert_true(p->refused == 0 && p->failures == 0);
    return true;
}

static size_t mapped_pages(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%lu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages;
}

static void test_every_allocation_fails_once(void **unused)
{
    (void)unused;
    static program p;
    assert_true(run(&p, 0)); /* without failures, and what the C library maps once */
    assert_int_equal(p.refused, 0);
    if (NEVE_DEBUG == 0) {
        print_message("# builds without NEVE_DEBUG cannot fail allocations on purpose\n");
        return;
    }
    size_t mapped = mapped_pages();
    uint64_t n = 0, refused = 0, failures = 0;
    do {
        bool created = run(&p, ++n);
        refused += !created || p.refused > 0;
        failures += p.failures;
    } while (!p.ran_through);
    /* Most of the program's allocations are objects, some tables. */
    assert_true(refused > 200);
    assert_true(failures > 3);
    if (!IS_SANITIZED && !is_emulated())
        assert_true(mapped_pages() < mapped + 64);
    print_message("%llu programs, %llu told of it, %llu collections given up\n",
                  (unsigned long long)n, (unsigned long long)refused, (unsigned long long)failures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
