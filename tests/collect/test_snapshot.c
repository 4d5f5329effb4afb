/* SPDX-License-Identifier: MIT */
/*
 * The snapshot mode: what its child finds, what may happen while it works, and everything
 * that may go wrong with it. Nothing is timed.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "collect/snapshot_world.h"

/* ---- what it finds ---- */

static void test_garbage_is_found(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    for (int round = 0; round < 2; round++) {
        begin_snapshot(&w);
        await_report(&w);
        assert_int_equal(w.j.finalized, round * RINGS);
        bool seen[NV_CYCLE_END_MARKS + 1] = {false};
        uint64_t slices = cycle_stats(&w).slices;
        do {
            seen[w.c->cycle.phase] = true;
            check_runtime(w.runtime);
        } while (quantum(&w));
        assert_true(seen[NV_CYCLE_SNAPSHOT] && seen[NV_CYCLE_TAKE] && seen[NV_CYCLE_NUMBER] &&
                    seen[NV_CYCLE_VERIFY] && seen[NV_CYCLE_END_MARKS]);
        assert_false(seen[NV_CYCLE_WHITEN] || seen[NV_CYCLE_MARK]);
        assert_true(cycle_stats(&w).slices > slices);
        check_garbage_gone(&w);
        await_no_child(&w);
        neve_cycle_stats stats = cycle_stats(&w);
        assert_int_equal(stats.cycles, round + 1);
        assert_int_equal(stats.snapshots, round + 1);
        assert_int_equal(stats.snapshots_taken, round + 1);
        assert_int_equal(all_failures(&w), 0);
        assert_true(stats.fork_ns >= stats.longest_fork_ns && stats.longest_fork_ns > 0);
        assert_true(stats.child_ns > 0);
        /* The hidden ones and the weak references are suspects, and alive. */
        assert_int_equal(stats.suspects, HIDDEN + RINGS + (round == 0 ? GARBAGE : 0));
        assert_int_equal(stats.collected, GARBAGE);
    }
    /* (Marking was learned nothing of.) */
    assert_int_equal(w.c->cycle.ns_per_object, 0);
    end_world(&w);
}

static void test_permanent_objects(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    assert_int_equal(neve_collector_freeze(w.c), NEVE_OK);
    begin_snapshot(&w);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).suspects, 0);
    assert_int_equal(w.j.freed, 0);
    /* What hangs on a permanent object is reached through it. */
    pair *held = new_pair(w.runtime, &pair_type, '\0');
    ((pair *)w.root)->b = &held->base;
    (void)collect(w.runtime, 1);
    begin_snapshot(&w);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).suspects, 0);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 2);
    neve_clear_slot(w.runtime, &((pair *)w.root)->b);
    w.j.freed = 0;
    assert_int_equal(neve_collector_unfreeze(w.c), NEVE_OK);
    begin_snapshot(&w);
    end_cycle(&w);
    check_garbage_gone(&w);
    end_world(&w);
}

/* Over many chunks; some have suspects, some are given back before these are taken. */
static void test_many_chunks(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    int chunks = is_slow() ? 4 : 12;
    int n = chunks * 16000;
    neve_object *kept = NULL, *dropped = NULL;
    for (int i = 0; i < n; i++) {
        pair *p = new_pair(w.runtime, &pair_type, '\0');
        neve_object **list = i / 16000 % 2 == 0 ? &kept : &dropped;
        p->a = *list;
        *list = &p->base;
    }
    assert_int_equal(neve_root_add(w.runtime, &kept), NEVE_OK);
    (void)collect(w.runtime, 1);
    (void)collect(w.runtime, 1);
    begin_snapshot(&w);
    await_report(&w);
    /* All of `dropped` is a suspect, since no root leads there, and dies by its count. */
    neve_release(w.runtime, dropped);
    neve_heap_trim(neve_runtime_heap(w.runtime));
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    assert_int_equal(cycle_stats(&w).suspects, HIDDEN + RINGS + GARBAGE);
    assert_int_equal(w.j.freed, GARBAGE + n / 2);
    neve_root_remove(w.runtime, &kept);
    neve_release(w.runtime, kept);
    w.j.freed -= n;
    check_garbage_gone(&w);
    end_world(&w);
}

/* ---- what the program does meanwhile ---- */

static void test_reused_addresses(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    static uintptr_t before[GARBAGE];
    int n = 0;
    w.c->snapshot.held_back = 1000;
    begin_snapshot(&w);
    await_report(&w);
    for (int r = 0; r < RINGS; r++) {
        pair *first = (pair *)neve_weakref_get(w.runtime, w.refs[r]);
        assert_non_null(first);
        const pair *p = first;
        for (int i = 0; i < RING; i++, p = (const pair *)p->a)
            before[n++] = (uintptr_t)p;
        neve_clear_slot(w.runtime, &first->a);
        neve_release(w.runtime, &first->base);
    }
    assert_int_equal(w.j.freed, GARBAGE);
    /* Others there: some stay, some are garbage, some are freed again. */
    enum { MADE = 2000 };
    static neve_object *made[MADE];
    int reused = 0;
    for (int i = 0; i < MADE; i++) {
        pair *p = new_pair(w.runtime, &pair_type, '\0');
        for (int k = 0; k < GARBAGE; k++)
            reused += before[k] == (uintptr_t)p;
        p->a = i % 3 == 1 ? neve_retain(&p->base) : neve_retain(w.root);
        made[i] = &p->base;
    }
    assert_true(reused > GARBAGE / 2);
    (void)collect(w.runtime, 1);
    (void)collect(w.runtime, 1);
    for (int i = 0; i < MADE; i++)
        if (i % 3 != 0)
            neve_release(w.runtime, made[i]);
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    w.c->snapshot.held_back = 0;
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    assert_int_equal(cycle_stats(&w).abandoned, 0);
    /* Those at addresses that were reported were suspects, and are alive. */
    assert_true(cycle_stats(&w).suspects > HIDDEN + RINGS);
    for (int i = 0; i < MADE; i += 3) {
        assert_int_equal(neve_count(made[i]), 1);
        assert_ptr_equal(((pair *)made[i])->a, w.root);
        neve_release(w.runtime, made[i]);
    }
    begin_snapshot(&w);
    end_cycle(&w);
    w.j.freed -= MADE;
    /* (The program took the rings apart itself.) */
    assert_int_equal(w.j.finalized, RINGS);
    check_garbage_gone(&w);
    end_world(&w);
}

static void test_revived_while_it_works(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_snapshot(&w);
    neve_object *revived[RINGS];
    for (int r = 0; r < RINGS; r++)
        revived[r] = neve_weakref_get(w.runtime, w.refs[r]);
    end_cycle(&w);
    assert_int_equal(w.j.freed + w.j.finalized, 0);
    for (int r = 0; r < RINGS; r++)
        neve_release(w.runtime, revived[r]);
    begin_snapshot(&w);
    end_cycle(&w);
    check_garbage_gone(&w);
    end_world(&w);
}

/* The only reference to what the child will reach moves to where it will not look. */
static void test_references_that_move(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_snapshot(&w);
    pair *root = (pair *)w.root, *hidden = (pair *)w.hidden[0];
    hidden->b = root->a;
    root->a = NULL;
    root->b = neve_retain(w.hidden[1]);
    end_cycle(&w);
    assert_int_equal(w.j.freed, GARBAGE);
    root->a = hidden->b;
    hidden->b = NULL;
    neve_clear_slot(w.runtime, &root->b);
    check_garbage_gone(&w);
    end_world(&w);
}

static void test_collections_while_it_works(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    for (int round = 0; round < 20; round++) {
        make_garbage_ring(w.runtime, &pair_type, '\0', '\0');
        assert_int_equal(neve_collect_due(w.c, round % 3, NULL), NEVE_OK);
        assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    }
    assert_int_equal(w.j.freed, 40);
    set_gate(false);
    end_cycle(&w);
    w.j.freed -= 40;
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    check_garbage_gone(&w);
    end_world(&w);
}

/* ---- what gives it up ---- */

static void then_collect(world *w)
{
    (void)collect(w->runtime, 2);
}

static void then_freeze(world *w)
{
    assert_int_equal(neve_collector_freeze(w->c), NEVE_OK);
    assert_int_equal(neve_collector_unfreeze(w->c), NEVE_OK);
}

static void then_change_mode(world *w)
{
    assert_int_equal(neve_collector_set_mode(w->c, NEVE_MODE_INCREMENTAL), NEVE_OK);
    assert_true(has_no_child());
    assert_int_equal(neve_collector_set_mode(w->c, NEVE_MODE_SNAPSHOT), NEVE_OK);
}

static void then_drain(world *w)
{
    neve_collector_drain(w->c);
    assert_true(has_no_child());
}

static void then_end_snapshot(world *w)
{
    neve_collector_end_snapshot(w->c);
    assert_true(has_no_child());
    neve_collector_end_snapshot(w->c);
    /* The cycle goes on, with another. */
    assert_int_equal(cycle_stats(w).abandoned, 0);
    set_gate(false);
    end_cycle(w);
}

static void test_given_up(void **unused)
{
    (void)unused;
    static world w;
    static void (*const acts[])(world *) = {then_collect, then_freeze, then_change_mode, then_drain,
                                            then_end_snapshot};
    for (size_t a = 0; a < sizeof acts / sizeof *acts; a++) {
        make_world(&w);
        begin_hanging(&w);
        pid_t child = w.c->snapshot.child;
        acts[a](&w);
        assert_true(w.c->snapshot.child != child || acts[a] == then_collect);
        assert_int_equal(failures(&w, NEVE_SNAPSHOT_ABANDONED), 1);
        /* The next one is made all the same, when the last child is gone. */
        set_gate(false);
        await_no_child(&w);
        begin_snapshot(&w);
        end_cycle(&w);
        assert_int_equal(all_failures(&w), 1);
        check_garbage_gone(&w);
        end_world(&w);
    }
}

/* Suspects that have come back and are being taken are not needed any more either. */
static void test_given_up_when_it_is_ready(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_snapshot(&w);
    await_report(&w);
    assert_true(quantum(&w));
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_TAKE);
    neve_collector_end_snapshot(w.c);
    assert_true(has_no_child());
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_TAKE);
    (void)collect(w.runtime, 2);
    assert_int_equal(failures(&w, NEVE_SNAPSHOT_ABANDONED), 1);
    assert_null(w.c->snapshot.report);
    check_garbage_gone(&w);
    end_world(&w);
}

static void test_destroyed(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    if (IS_SANITIZED) /* so that no leak is hidden by what is still referred to */
        memset(w.hidden, 0, sizeof w.hidden);
    neve_runtime_destroy(w.runtime);
    assert_true(has_no_child());
}

/* ---- what goes wrong ---- */

/* The cycle has gone on in slices, and the next ones do so from the beginning: `skipped`
 * of them. */
static void check_fallback(world *w, neve_snapshot_failure why, unsigned skipped)
{
    assert_int_equal(w->c->cycle.phase, NV_CYCLE_WHITEN);
    assert_int_equal(failures(w, why), all_failures(w));
    assert_null(w->c->snapshot.report);
    assert_int_equal(w->c->snapshot.skip, skipped);
    uint64_t begun = cycle_stats(w).snapshots;
    set_gate(false);
    end_cycle(w);
    for (unsigned i = 0; i < skipped; i++) {
        begin_cycle(w);
        assert_int_equal(w->c->cycle.phase, NV_CYCLE_WHITEN);
        end_cycle(w);
    }
    assert_int_equal(cycle_stats(w).snapshots, begun);
    check_garbage_gone(w);
}

static void test_killed(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    assert_int_equal(kill(w.c->snapshot.child, SIGKILL), 0);
    while (w.c->cycle.phase == NV_CYCLE_SNAPSHOT)
        assert_true(quantum(&w));
    assert_true(has_no_child());
    check_fallback(&w, NEVE_SNAPSHOT_DIED, 1);
    begin_snapshot(&w);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    assert_int_equal(w.c->snapshot.failures, 0);
    end_world(&w);
}

/* Somebody else waits for children of every kind. */
static void test_reaped_by_others(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    pid_t child = w.c->snapshot.child;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(-1, NULL, __WALL), child);
    assert_true(quantum(&w));
    check_fallback(&w, NEVE_SNAPSHOT_DIED, 1);
    end_world(&w);
}

static void test_late_by_the_clock(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    w.c->snapshot.end_ns = 1;
    assert_true(quantum(&w));
    check_fallback(&w, NEVE_SNAPSHOT_LATE, 1);
    await_no_child(&w);
    end_world(&w);
}

static void test_late_by_the_growth_of_the_heap(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    w.c->cycle.promoted = w.c->snapshot.promoted + w.c->cycle.goal;
    assert_true(quantum(&w));
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    w.c->cycle.promoted++;
    assert_true(quantum(&w));
    check_fallback(&w, NEVE_SNAPSHOT_LATE, 1);
    await_no_child(&w);
    end_world(&w);
}

/* A child that was ended and is not gone yet: no second one beside it, for half of the
 * time that the cycle has. */
static void test_one_at_a_time(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    pid_t child = w.c->snapshot.child;
    nv_snapshot_abandon(w.c); /* kills it ... */
    await_no_child(&w);
    w.c->snapshot.child = nv_os_child_begin((void (*)(void *))(void (*)(void))pause, NULL, 60, "x");
    w.c->snapshot.owner = getpid();
    assert_true(w.c->snapshot.child > 0 && w.c->snapshot.child != child);
    assert_true(quantum(&w)); /* ... and here is one that takes its time to go */
    w.c->cycle.promoted = w.c->cycle.goal / 2;
    assert_true(quantum(&w));
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    assert_null(w.c->snapshot.report);
    w.c->cycle.promoted++;
    assert_true(quantum(&w));
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_WHITEN);
    assert_int_equal(cycle_stats(&w).snapshots, 1);
    set_gate(false);
    end_cycle(&w);
    /* In the next cycle it goes, and one is made. */
    begin_cycle(&w);
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    assert_null(w.c->snapshot.report);
    assert_int_equal(kill(w.c->snapshot.child, SIGKILL), 0);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    check_garbage_gone(&w);
    end_world(&w);
}

/* Each failure doubles the number of cycles that do not try. */
static int fail_again_and_again(world *w)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    test_process = getpid();
    CHECK(1, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(2, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    uint64_t tries = 0;
    /* At the cycles 1, 3, 6, 11, 20, 37, 70, and every 33rd from then on. */
    unsigned next = 1, gap = 1;
    for (unsigned i = 1; i <= 110; i++) {
        begin_cycle(w);
        if (i == next) {
            tries++;
            next += gap + 1;
            gap = gap < 32 ? gap * 2 : gap;
        }
        CHECK(3, w->c->cycle.phase == NV_CYCLE_WHITEN);
        CHECK(4, failures(w, NEVE_SNAPSHOT_REFUSED) == tries);
        while (quantum(w))
            continue;
        CHECK(5, w->j.freed == GARBAGE);
    }
    CHECK(6, cycle_stats(w).snapshots == tries && tries == 8);
    CHECK(7, cycle_stats(w).cycles == 110 && cycle_stats(w).snapshots_taken == 0);
    return 0;
}

static void test_refused_by_a_filter(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    in_process(fail_again_and_again, &w);
    end_world(&w);
}

/* No more processes for this user. The superuser gives up being one. */
static int run_out_of_processes(world *w)
{
    test_process = getpid();
    if (getuid() == 0)
        CHECK(1, setresuid(54321, 54321, 54321) == 0);
    struct rlimit none = {1, 1};
    CHECK(2, setrlimit(RLIMIT_NPROC, &none) == 0);
    begin_cycle(w);
    CHECK(3, w->c->cycle.phase == NV_CYCLE_WHITEN);
    CHECK(4, failures(w, NEVE_SNAPSHOT_REFUSED) == 1);
    while (quantum(w))
        continue;
    CHECK(5, w->j.freed == GARBAGE);
    return 0;
}

static void test_refused_by_a_limit(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    in_process(run_out_of_processes, &w);
    end_world(&w);
}

static void test_no_memory_to_share(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    neve_heap *heap = neve_runtime_heap(w.runtime);
    if (neve_heap_fail_alloc_at(heap, 0) != NEVE_OK) {
        end_world(&w);
        skip(); /* a build without failure injection */
    }
    size_t bytes = heap->table_bytes;
    /* The first quantum by hand: the collection before it maps tables as well. */
    set_gate(true);
    begin_snapshot(&w);
    assert_true(heap->table_bytes > bytes);
    neve_collector_end_snapshot(w.c);
    assert_int_equal(heap->table_bytes, bytes);
    assert_int_equal(neve_heap_fail_alloc_at(heap, 1), NEVE_OK);
    assert_true(quantum(&w));
    assert_int_equal(failures(&w, NEVE_SNAPSHOT_REFUSED), 1);
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_WHITEN);
    assert_int_equal(neve_heap_fail_alloc_at(heap, 0), NEVE_OK);
    assert_true(has_no_child());
    set_gate(false);
    end_cycle(&w);
    check_garbage_gone(&w);
    end_world(&w);
}

/* The child finds no room for its own tables: what it cannot note is a suspect. */
static void test_no_memory_in_the_child(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    neve_heap *heap = neve_runtime_heap(w.runtime);
    for (uint64_t n = 2; n < 5; n++) {
        if (neve_heap_fail_alloc_at(heap, n) != NEVE_OK) {
            end_world(&w);
            skip(); /* a build without failure injection */
        }
        begin_cycle(&w); /* the copy has what is left of the count */
        (void)neve_heap_fail_alloc_at(heap, 0);
        end_cycle(&w);
    }
    check_garbage_gone(&w);
    end_world(&w);
}

/* ---- forks of the host ---- */

static int live_on_after_fork(world *w)
{
    pid_t child = w->c->snapshot.child;
    neve_runtime_after_fork_child(w->runtime);
    CHECK(1, !cycle_stats(w).is_running && failures(w, NEVE_SNAPSHOT_FORKED) == 1);
    CHECK(2, w->c->snapshot.child == 0 && w->c->snapshot.report == NULL);
    CHECK(3, kill(child, 0) == 0); /* it goes on, for the parent */
    test_process = getpid();
    w->c->snapshot.skip = 100; /* our own would wait at the gate */
    begin_cycle(w);
    while (quantum(w))
        continue;
    CHECK(4, w->j.freed == GARBAGE);
    neve_runtime_destroy(w->runtime);
    CHECK(5, kill(child, 0) == 0);
    return 0;
}

/* As one that the collector is not told of. */
static int live_on_after_unseen_fork(world *w)
{
    pid_t child = w->c->snapshot.child;
    neve_heap_after_fork_child(neve_runtime_heap(w->runtime));
    test_process = getpid();
    CHECK(1, w->c->cycle.phase == NV_CYCLE_SNAPSHOT);
    while (quantum(w))
        continue;
    CHECK(2, cycle_stats(w).cycles == 1 && failures(w, NEVE_SNAPSHOT_FORKED) == 1);
    CHECK(3, w->j.freed == GARBAGE);
    CHECK(4, kill(child, 0) == 0);
    return 0;
}

static int destroy_after_unseen_fork(world *w)
{
    pid_t child = w->c->snapshot.child;
    test_process = getpid();
    neve_runtime_destroy(w->runtime);
    CHECK(1, kill(child, 0) == 0);
    return 0;
}

static void test_forks_meanwhile(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    begin_hanging(&w);
    in_process(live_on_after_fork, &w);
    in_process(live_on_after_unseen_fork, &w);
    in_process(destroy_after_unseen_fork, &w);
    assert_true(quantum(&w));
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    set_gate(false);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    check_garbage_gone(&w);
    end_world(&w);
}

static void test_small_heaps_are_marked_in_slices(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    w.c->snapshot.least = w.c->heap->old_objects + 1;
    begin_cycle(&w);
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_WHITEN);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots, 0);
    check_garbage_gone(&w);
    w.c->snapshot.least = w.c->heap->old_objects;
    begin_snapshot(&w);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_is_found),
        cmocka_unit_test(test_permanent_objects),
        cmocka_unit_test(test_many_chunks),
        cmocka_unit_test(test_reused_addresses),
        cmocka_unit_test(test_revived_while_it_works),
        cmocka_unit_test(test_references_that_move),
        cmocka_unit_test(test_collections_while_it_works),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_given_up_when_it_is_ready),
        cmocka_unit_test(test_destroyed),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_reaped_by_others),
        cmocka_unit_test(test_late_by_the_clock),
        cmocka_unit_test(test_late_by_the_growth_of_the_heap),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_refused_by_a_filter),
        cmocka_unit_test(test_refused_by_a_limit),
        cmocka_unit_test(test_no_memory_to_share),
        cmocka_unit_test(test_no_memory_in_the_child),
        cmocka_unit_test(test_forks_meanwhile),
        cmocka_unit_test(test_small_heaps_are_marked_in_slices),
    };
    return run_snapshot_tests(tests, sizeof tests / sizeof *tests);
}
