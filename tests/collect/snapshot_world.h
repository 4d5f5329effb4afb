/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the snapshot mode share: a heap with garbage, cycles by quanta, and
 * a gate. A child that is to be at work at some moment waits at it in shared memory,
 * in a traversal, as one that hangs would.
 */
#ifndef NEVE_TESTS_SNAPSHOT_WORLD_H
#define NEVE_TESTS_SNAPSHOT_WORLD_H

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/collect_internal.h"
#include "collect/has_children.h"
#include "object/support.h"
#include "platform/os.h"

/* ---- a container whose traversal waits in a child, while the gate is shut ---- */

typedef struct gate {
    int is_shut;
    int signals; /* handlers that ran, in any process */
    int waiting; /* traversals that have come to the gate */
} gate;

static gate *the_gate;
static pid_t test_process;

static void gated_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    if (getpid() != test_process)
        __atomic_store_n(&the_gate->waiting, 1, __ATOMIC_RELEASE);
    while (getpid() != test_process && __atomic_load_n(&the_gate->is_shut, __ATOMIC_ACQUIRE) != 0)
        sched_yield();
    pair_traverse(object, visit, arg, cursor);
}

static const neve_type gated_type = {
    .name = "gated",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = gated_traverse,
    .clear = pair_clear,
    .dealloc = pair_dealloc,
};

static void set_gate(bool is_shut)
{
    __atomic_store_n(&the_gate->is_shut, is_shut, __ATOMIC_RELEASE);
}

/* ---- a world: live objects, known to the roots or not, and old garbage ---- */

enum { LIVE = 400, HIDDEN = 50, RINGS = 60, RING = 5 };
enum { GARBAGE = RINGS * RING };

typedef struct world {
    journal j;
    neve_runtime *runtime;
    neve_collector *c;
    neve_object *root;           /* a gated object that leads to LIVE pairs, a list */
    neve_object *hidden[HIDDEN]; /* held from here; the collector knows no root of them */
    neve_object *refs[RINGS];    /* weak, to one of each ring */
} world;

static void make_world(world *w)
{
    memset(w, 0, sizeof *w);
    test_process = getpid();
    memset(the_gate, 0, sizeof *the_gate);
    neve_collector_options how = {.struct_size = sizeof how, .mode = NEVE_MODE_SNAPSHOT};
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &how};
    assert_int_equal(neve_runtime_create(&options, &w->runtime), NEVE_OK);
    neve_runtime_set_data(w->runtime, &w->j);
    w->c = neve_runtime_collector(w->runtime);
    w->c->snapshot.least = 1;
    pair *last = new_pair(w->runtime, &gated_type, '\0');
    w->root = &last->base;
    for (int i = 1; i < LIVE; i++) {
        pair *p = new_pair(w->runtime, &pair_type, '\0');
        last->a = &p->base;
        last = p;
    }
    for (int i = 0; i < HIDDEN; i++)
        w->hidden[i] = &new_pair(w->runtime, &pair_type, '\0')->base;
    assert_int_equal(neve_root_add(w->runtime, &w->root), NEVE_OK);
    neve_object *rings[RINGS];
    for (int r = 0; r < RINGS; r++) {
        pair *first = new_pair(w->runtime, &finalized_pair_type, '\0');
        last = first;
        for (int i = 1; i < RING; i++) {
            pair *p = new_pair(w->runtime, &pair_type, '\0');
            last->a = &p->base;
            last = p;
        }
        last->a = neve_retain(&first->base);
        last->b = neve_retain(r % 2 == 0 ? w->root : w->hidden[r % HIDDEN]);
        rings[r] = &first->base;
        w->refs[r] = neve_weakref_new(w->runtime, rings[r], NULL, NULL);
        assert_non_null(w->refs[r]);
    }
    (void)collect(w->runtime, 1);
    (void)collect(w->runtime, 1);
    for (int r = 0; r < RINGS; r++)
        neve_release(w->runtime, rings[r]);
    assert_int_equal(w->j.freed, 0);
}

static neve_cycle_stats cycle_stats(const world *w)
{
    neve_collector_stats stats;
    neve_collector_get_stats(w->c, &stats);
    return stats.cycle;
}

static UNUSED uint64_t failures(const world *w, neve_snapshot_failure why)
{
    return cycle_stats(w).snapshot_failures[why];
}

static UNUSED uint64_t all_failures(const world *w)
{
    uint64_t sum = 0;
    for (int why = 0; why < NEVE_SNAPSHOT_FAILURES; why++)
        sum += cycle_stats(w).snapshot_failures[why];
    return sum;
}

static bool quantum(world *w)
{
    return neve_step(w->c, 0, NULL);
}

/* Begins a cycle and does its first quantum, in which the child is made. */
static void begin_cycle(world *w)
{
    w->c->cycle.changes = 1; /* even if nothing was promoted since the last */
    w->c->is_stressed = true;
    assert_true(neve_step(w->c, 0, NULL));
    w->c->is_stressed = false;
    neve_breaker_clear(neve_collector_breaker(w->c), NEVE_EVENT_COLLECT);
}

static UNUSED void begin_snapshot(world *w)
{
    begin_cycle(w);
    /* The child of the last cycle may be on its way out still. */
    while (w->c->cycle.phase == NV_CYCLE_SNAPSHOT && w->c->snapshot.report == NULL) {
        sched_yield();
        assert_true(quantum(w));
    }
    assert_int_equal(w->c->cycle.phase, NV_CYCLE_SNAPSHOT);
    assert_true(w->c->snapshot.child > 0 && w->c->snapshot.report != NULL);
}

/* With a child that is at work until the gate is opened. */
static UNUSED void begin_hanging(world *w)
{
    set_gate(true);
    begin_snapshot(w);
    for (int i = 0; i < 3; i++) {
        assert_true(quantum(w));
        assert_int_equal(w->c->cycle.phase, NV_CYCLE_SNAPSHOT);
    }
    /* It is what it was made to be by now. */
    while (__atomic_load_n(&the_gate->waiting, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
}

static UNUSED void end_cycle(world *w)
{
    uint64_t before = cycle_stats(w).cycles;
    while (quantum(w))
        sched_yield();
    assert_false(cycle_stats(w).is_running);
    assert_int_equal(cycle_stats(w).cycles, before + 1);
}

static UNUSED void await_report(world *w)
{
    while (__atomic_load_n((const uint32_t *)(void *)w->c->snapshot.report, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
}

static UNUSED void check_garbage_gone(world *w)
{
    assert_int_equal(w->j.freed, GARBAGE);
    assert_int_equal(w->j.finalized, RINGS);
    for (int r = 0; r < RINGS; r++)
        assert_null(neve_weakref_get(w->runtime, w->refs[r]));
    for (int i = 0; i < HIDDEN; i++)
        assert_int_equal(neve_count(w->hidden[i]), 1);
    assert_int_equal(neve_count(w->root), 1);
    assert_int_equal(live_objects(w->runtime), LIVE + HIDDEN + RINGS);
    check_runtime(w->runtime);
}

/* No child of any kind, running or not, in whoever asks. */
static UNUSED bool has_no_child(void)
{
    return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD;
}

static UNUSED void await_no_child(world *w)
{
    while (w->c->snapshot.child != 0) {
        nv_snapshot_reap(w->c, false);
        sched_yield();
    }
    assert_true(has_no_child());
}

static void end_world(world *w)
{
    set_gate(false);
    neve_root_remove(w->runtime, &w->root);
    neve_release(w->runtime, w->root);
    for (int i = 0; i < HIDDEN; i++)
        neve_release(w->runtime, w->hidden[i]);
    for (int r = 0; r < RINGS; r++)
        neve_release(w->runtime, w->refs[r]);
    (void)collect(w->runtime, 2);
    assert_int_equal(live_objects(w->runtime), 0);
    neve_runtime_destroy(w->runtime);
    assert_true(has_no_child());
}

/* Runs `work` in a process of its own, which may change what cannot be changed back. */
static UNUSED void in_process(int (*work)(world *w), world *w)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(work(w));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the process ended with status %#x", (unsigned)status);
}

#define CHECK(number, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return (number);                                                                       \
    } while (0)

static void test_no_children_here(void **unused)
{
    (void)unused;
    skip();
}

/* Runs them all; what `main` returns. */
static int run_snapshot_tests(const struct CMUnitTest *tests, size_t n)
{
    setenv("NEVE_GC_STRESS", "0", 1);
    static const struct CMUnitTest none[] = {cmocka_unit_test(test_no_children_here)};
    if (!has_children())
        return cmocka_run_group_tests(none, NULL, NULL);
    the_gate = nv_os_map_shared(nv_os_page_bytes());
    if (the_gate == NULL)
        return 1;
    return _cmocka_run_group_tests("snapshot", tests, n, NULL, NULL);
}

#endif
