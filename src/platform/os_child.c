/* SPDX-License-Identifier: MIT */
/*
 * platform/os.h for Linux: a child that works on a copy of the memory.
 *
 * It is made by the system call clone, not by fork(): a signal at its end and the
 * handlers of pthread_atfork() would make it the program's business. Whoever waits
 * for "any child" is not given one whose end sends no signal, but with __WALL.
 *
 * It needs no stack of its own: the one that it was made on is copied with the rest
 * of the memory.
 *
 * Of the table of open files it gets no copy (CLONE_FILES): a copy would keep
 * sockets and pipes open that the program closes, from the first moment on, before
 * the child could do anything about it. So it must never open or close one.
 */
#include "os.h"

#include <unistd.h>

int nv_os_process(void)
{
    return (int)getpid();
}

#ifdef __linux__

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Only in the child: whose child it is. */
static pid_t parent;

_Noreturn static void leave(int status)
{
    /* Not _exit(): tools that stand between the program and the system do work there. */
    for (;;)
        syscall(SYS_exit_group, status);
}

/* The signal at a parent's death comes when the thread ends that made the child: the
 * process may go on without it. */
static void on_parent_death(int number)
{
    (void)number;
    if (getppid() != parent)
        leave(1);
}

/* All signals are blocked here, as they were in the thread that made the child. */
_Noreturn static void live(void (*run)(void *arg), void *arg, unsigned limit_s, const char *name)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL);
    action.sa_handler = on_parent_death;
    sigaction(SIGHUP, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0);
    if (getppid() != parent)
        leave(1);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    /* A crash of a child that nobody waits for is no reason for a core file. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 10);
    /* Should it hang, or should its parent run another program by now. */
    alarm(limit_s);
    sigset_t open;
    sigemptyset(&open);
    sigaddset(&open, SIGALRM);
    sigaddset(&open, SIGHUP);
    sigprocmask(SIG_UNBLOCK, &open, NULL);
    run(arg);
    leave(0);
}

static long clone_self(void)
{
    /* No signal at its end: the low byte of the flags is 0. */
#if defined(__s390__) || defined(__CRIS__)
    return syscall(SYS_clone, 0, CLONE_FILES, 0, 0, 0);
#else
    return syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
#endif
}

int nv_os_child_begin(void (*run)(void *arg), void *arg, unsigned limit_s, const char *name)
{
    /* No handler may run in the child, where it would act on a copy of the program. */
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return 0;
    pid_t self = getpid();
    long child = clone_self();
    if (child == 0) {
        parent = self;
        live(run, arg, limit_s, name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return child > 0 ? (int)child : 0;
}

nv_os_child_state nv_os_child_reap(int child)
{
    pid_t found;
    do
        found = wait4(child, NULL, WNOHANG | __WALL, NULL);
    while (found < 0 && errno == EINTR);
    return found == 0 ? NV_OS_CHILD_RUNS : NV_OS_CHILD_ENDED;
}

void nv_os_child_end(int child, bool waits)
{
    /* A number that somebody else has reaped may be another process's by now. */
    if (nv_os_child_reap(child) == NV_OS_CHILD_ENDED || kill(child, SIGKILL) != 0)
        return;
    while (waits && wait4(child, NULL, __WALL, NULL) < 0 && errno == EINTR)
        continue;
}

#else

int nv_os_child_begin(void (*run)(void *arg), void *arg, unsigned limit_s, const char *name)
{
    (void)run;
    (void)arg;
    (void)limit_s;
    (void)name;
    return 0;
}

nv_os_child_state nv_os_child_reap(int child)
{
    (void)child;
    return NV_OS_CHILD_ENDED;
}

void nv_os_child_end(int child, bool waits)
{
    (void)child;
    (void)waits;
}

#endif
