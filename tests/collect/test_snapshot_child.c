/* SPDX-License-Identifier: MIT */
/*
 * The child of a snapshot, as the program may notice it, which is hardly at all: waiting,
 * signals, files, handlers of forks; and who ends when. Nothing is timed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "collect/snapshot_world.h"

/* ---- what the program notices ---- */

static void count_signal(int number)
{
    (void)number;
    __atomic_add_fetch(&the_gate->signals, 1, __ATOMIC_ACQ_REL);
}

static void test_waiting_does_not_see_it(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    struct sigaction action = {.sa_handler = count_signal}, before;
    assert_int_equal(sigaction(SIGCHLD, &action, &before), 0);
    begin_hanging(&w);
    assert_true(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    assert_true(wait(NULL) == -1 && errno == ECHILD);
    siginfo_t info;
    assert_true(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == -1 && errno == ECHILD);
    assert_true(waitpid(0, NULL, WNOHANG) == -1 && errno == ECHILD); /* of this group */
    /* A child of the program's own is what it gets, alive or dead as ours may be. */
    for (int round = 0; round < 2; round++) {
        fflush(NULL);
        pid_t own = fork();
        if (own == 0)
            _exit(7);
        int status;
        assert_int_equal(wait(&status), own);
        assert_int_equal(WEXITSTATUS(status), 7);
        if (round == 0)
            assert_int_equal(kill(w.c->snapshot.child, SIGKILL), 0);
    }
    assert_int_equal(the_gate->signals, 2);
    while (w.c->cycle.phase == NV_CYCLE_SNAPSHOT)
        assert_true(quantum(&w));
    set_gate(false);
    end_cycle(&w);
    w.c->snapshot.skip = 0;
    begin_snapshot(&w);
    end_cycle(&w);
    await_no_child(&w);
    assert_int_equal(the_gate->signals, 2);
    assert_int_equal(sigaction(SIGCHLD, &before, NULL), 0);
    check_garbage_gone(&w);
    end_world(&w);
}

/* Handlers of the program's would act on a copy of it. */
static void test_signals_do_not_reach_it(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGQUIT, SIGPIPE, SIGTSTP};
    enum { NUMBERS = sizeof numbers / sizeof *numbers };
    struct sigaction action = {.sa_handler = count_signal}, before[NUMBERS];
    for (int i = 0; i < NUMBERS; i++)
        assert_int_equal(sigaction(numbers[i], &action, &before[i]), 0);
    sigset_t mask, mask_after;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    begin_hanging(&w);
    for (int i = 0; i < NUMBERS; i++)
        assert_int_equal(kill(w.c->snapshot.child, numbers[i]), 0);
    set_gate(false);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    assert_int_equal(the_gate->signals, 0);
    /* Ours reach us. */
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask_after), 0);
    for (int number = 1; number < NSIG; number++)
        assert_int_equal(sigismember(&mask, number), sigismember(&mask_after, number));
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(the_gate->signals, 1);
    for (int i = 0; i < NUMBERS; i++)
        assert_int_equal(sigaction(numbers[i], &before[i], NULL), 0);
    end_world(&w);
}

/* What the program closes is closed, though the child is at work. */
static void test_files_are_not_kept_open(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    begin_hanging(&w);
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* the end of the file */
    assert_int_equal(close(ends[0]), 0);
    set_gate(false);
    end_cycle(&w);
    end_world(&w);
}

static void at_fork(void)
{
    __atomic_add_fetch(&the_gate->signals, 1, __ATOMIC_ACQ_REL);
}

static void test_no_handler_of_forks_runs(void **unused)
{
    (void)unused;
    static world w;
    assert_int_equal(pthread_atfork(at_fork, at_fork, at_fork), 0);
    make_world(&w);
    begin_snapshot(&w);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    assert_int_equal(the_gate->signals, 0);
    end_world(&w);
}

/* Its name and its priority, as others see it. */
static void test_how_it_looks(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    int own = getpriority(PRIO_PROCESS, 0);
    begin_hanging(&w);
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", w.c->snapshot.child);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0 && read(file, name, sizeof name - 1) > 0);
    close(file);
    assert_string_equal(name, "neve-snapshot\n");
    int priority = getpriority(PRIO_PROCESS, (id_t)w.c->snapshot.child);
    assert_int_equal(priority, own + 10 < 19 ? own + 10 : 19);
    set_gate(false);
    end_cycle(&w);
    end_world(&w);
}

/* ---- who dies first ---- */

static pid_t *orphan; /* shared */

static int leave_a_child(world *w)
{
    /* (The child was made by this process, whose traversals do not wait.) */
    test_process = getpid();
    begin_hanging(w);
    *orphan = w->c->snapshot.child;
    return 0;
}

static void test_it_dies_with_its_parent(void **unused)
{
    (void)unused;
    static world w;
    orphan = nv_os_map_shared(4096);
    assert_non_null(orphan);
    make_world(&w);
    /* So that it is given to us to wait for. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    in_process(leave_a_child, &w);
    int status;
    assert_int_equal(waitpid(*orphan, &status, __WALL), *orphan);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
    nv_os_unmap(orphan, 4096);
    end_world(&w);
}

static void *begin_in_thread(void *arg)
{
    begin_hanging(arg);
    return NULL;
}

/* The end of a thread is not that of the process. */
static void test_it_outlives_the_thread_that_made_it(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, begin_in_thread, &w), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 100; i++) {
        sched_yield();
        assert_true(quantum(&w));
    }
    assert_int_equal(w.c->cycle.phase, NV_CYCLE_SNAPSHOT);
    set_gate(false);
    end_cycle(&w);
    assert_int_equal(cycle_stats(&w).snapshots_taken, 1);
    check_garbage_gone(&w);
    end_world(&w);
}

static void wait_for_ever(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}

/* Nobody has to end it. */
static void test_its_own_limit(void **unused)
{
    (void)unused;
    int child = nv_os_child_begin(wait_for_ever, NULL, 1, "neve-test");
    assert_true(child > 0);
    int status;
    assert_int_equal(waitpid(child, &status, __WALL), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    assert_int_equal(nv_os_child_reap(child), NV_OS_CHILD_ENDED);
    nv_os_child_end(child, true); /* nobody's any more: nothing happens */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_does_not_see_it),
        cmocka_unit_test(test_signals_do_not_reach_it),
        cmocka_unit_test(test_files_are_not_kept_open),
        cmocka_unit_test(test_how_it_looks),
        cmocka_unit_test(test_it_dies_with_its_parent),
        cmocka_unit_test(test_it_outlives_the_thread_that_made_it),
        cmocka_unit_test(test_its_own_limit),
        cmocka_unit_test(test_no_handler_of_forks_runs), /* last: they stay */
    };
    return run_snapshot_tests(tests, sizeof tests / sizeof *tests);
}
