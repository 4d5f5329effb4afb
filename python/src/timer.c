/* SPDX-License-Identifier: MIT */
/*
 * The timer: bounds the age of garbage while nothing is allocated.
 *
 * A thread of its own looks every so many milliseconds whether a slice of the
 * incremental cycle has run since it looked last. If not, it asks the
 * interpreter for one by a pending call, which the main thread runs at its next
 * safe point: finalizers run where they would without the timer, and the thread
 * needs neither the GIL nor a thread state. At most one request is outstanding.
 * A main thread that waits in a system call runs the slice when it comes back.
 *
 * Starting and stopping happen under the GIL. The thread never takes the GIL, so
 * that it can be joined by whoever holds it.
 *
 * fork(): a thread that runs meanwhile makes Python 3.12 and later warn of the
 * fork of a process with threads. So os.fork() and its kin stop it before and
 * have it started again, in parent and child, by a pending call: that comes after
 * the interpreter has counted the threads. A fork in C code leaves the parent's
 * thread alone; its child starts a new one at its next slice.
 */
#include "neve_python.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 128 * 1024 };

static struct {
    uint32_t interval_ms; /* 0: no timer is wanted */
    bool is_running;      /* there is a thread to be joined */
    bool is_forking;      /* between the hooks around os.fork() */
    bool is_prepared;     /* the hooks of fork and exit are in place, for good */
    uint64_t slices;      /* that ran because the timer asked for them */
    PyInterpreterState *interp;
    pthread_t thread;
    long thread_id; /* the system's, once the thread has run */

    pthread_mutex_t lock; /* guards is_ending; never held while anything else is waited for */
    pthread_cond_t wake;
    bool is_ending;

    /* Held while the thread is in the interpreter's queue, and during any fork: the
     * child would find the lock of the queue taken by a thread that it does not have. */
    pthread_mutex_t asking;

    bool is_outstanding; /* a request waits in the interpreter's queue; atomic */
    uint64_t seen;       /* nvpy.slices when somebody looked last; atomic */
} timer;

/* ---- the thread ---- */

static int on_request(void *unused)
{
    (void)unused;
    __atomic_store_n(&timer.is_outstanding, false, __ATOMIC_RELEASE);
    /* Since the request was made the program may have uninstalled Neve or
     * switched off automatic collection. */
    if (timer.interval_ms == 0 || !nvpy_is_ours() || !PyGC_IsEnabled() ||
        nvpy_gc(nvpy.interp)->collecting)
        return 0;
    nvpy_takeover_step(nvpy.pause_us);
    timer.slices++;
    /* This slice was ours, and must not make the next tick pass. */
    __atomic_store_n(&timer.seen, __atomic_load_n(&nvpy.slices, __ATOMIC_ACQUIRE),
                     __ATOMIC_RELEASE);
    return 0;
}

static bool ask(void)
{
    pthread_mutex_lock(&timer.asking);
    int error = nvpy_compat_ask_main_thread(timer.interp, on_request);
    pthread_mutex_unlock(&timer.asking);
    return error == 0;
}

static void tick(void)
{
    uint64_t slices = __atomic_load_n(&nvpy.slices, __ATOMIC_ACQUIRE);
    if (__atomic_exchange_n(&timer.seen, slices, __ATOMIC_ACQ_REL) != slices)
        return;
    if (__atomic_exchange_n(&timer.is_outstanding, true, __ATOMIC_ACQ_REL))
        nvpy_compat_remind_main_thread(timer.interp);
    else if (!ask())
        /* The queue is full: at the next tick. */
        __atomic_store_n(&timer.is_outstanding, false, __ATOMIC_RELEASE);
}

static void *run(void *argument)
{
    const uint32_t interval_ms = (uint32_t)(uintptr_t)argument;
    pthread_mutex_lock(&timer.lock);
#ifdef __linux__
    timer.thread_id = syscall(SYS_gettid);
#endif
    while (!timer.is_ending) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(interval_ms / 1000);
        until.tv_nsec += (long)(interval_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        int error = 0;
        while (error == 0 && !timer.is_ending)
            error = pthread_cond_timedwait(&timer.wake, &timer.lock, &until);
        if (timer.is_ending)
            break;
        /* Without the lock: the interpreter's own is waited for inside. */
        pthread_mutex_unlock(&timer.lock);
        tick();
        pthread_mutex_lock(&timer.lock);
    }
    pthread_mutex_unlock(&timer.lock);
    return NULL;
}

static int init_locks(void)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (error == 0)
        error = pthread_cond_init(&timer.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error == 0)
        error = pthread_mutex_init(&timer.lock, NULL);
    return error != 0 ? error : pthread_mutex_init(&timer.asking, NULL);
}

/* Returns an errno. All signals are blocked in the thread: the program's
 * handlers run in its own. */
static int start_thread(void)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    /* What the system asks for at least includes thread-local storage. */
    long least = sysconf(_SC_THREAD_STACK_MIN);
    size_t stack_bytes = STACK_BYTES + (least > 0 ? (size_t)least : 0);
    error = pthread_attr_setstacksize(&attributes, (stack_bytes + 0xFFFF) & ~(size_t)0xFFFF);
    sigset_t all, before;
    sigfillset(&all);
    if (error == 0)
        error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error == 0) {
        timer.is_ending = false;
        error =
            pthread_create(&timer.thread, &attributes, run, (void *)(uintptr_t)timer.interval_ms);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        timer.is_running = true;
#ifdef __linux__
        pthread_setname_np(timer.thread, "neve-timer");
#endif
    }
    return error;
}

/* The system counts a thread for some microseconds more after it was joined, and
 * os.fork() warns of processes that have others, from 3.12 on. */
static void await_unlisted(void)
{
#ifdef __linux__
    for (int i = 0; i < 10000 && timer.thread_id != 0 &&
                    syscall(SYS_tgkill, (long)getpid(), timer.thread_id, 0) == 0;
         i++)
        sched_yield();
    timer.thread_id = 0;
#endif
}

static void stop_thread(void)
{
    if (!timer.is_running)
        return;
    pthread_mutex_lock(&timer.lock);
    timer.is_ending = true;
    pthread_cond_signal(&timer.wake);
    pthread_mutex_unlock(&timer.lock);
    pthread_join(timer.thread, NULL);
    timer.is_running = false;
    await_unlisted();
}

/* Starts the thread if one is wanted; if there can be none, says so once. */
static void start_if_wanted(void)
{
    if (timer.interval_ms == 0 || timer.is_running || timer.is_forking)
        return;
    int error = start_thread();
    if (error != 0) {
        timer.interval_ms = 0;
        PySys_FormatStderr("neve: going on without a timer: cannot start a thread: %s\n",
                           strerror(error));
    }
}

/* ---- fork and exit ---- */

static int on_restart(void *unused)
{
    (void)unused;
    start_if_wanted();
    return 0;
}

static PyObject *before_fork(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    timer.is_forking = true;
    stop_thread();
    Py_RETURN_NONE;
}

static PyObject *after_fork(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    timer.is_forking = false;
    if (timer.interval_ms != 0)
        /* If the queue is full, the next slice starts it. */
        nvpy_compat_ask_main_thread(timer.interp, on_restart);
    Py_RETURN_NONE;
}

static void before_any_fork(void)
{
    pthread_mutex_lock(&timer.asking);
}

static void after_any_fork_parent(void)
{
    pthread_mutex_unlock(&timer.asking);
}

/* In the child of any fork; after os.fork() there was no thread. Only plain
 * memory may be touched here. */
static void after_any_fork_child(void)
{
    timer.is_running = false;
    /* The request stays in the child's copy of the queue, but whether anything
     * there says so depends on the thread that forked: better two than none. */
    timer.is_outstanding = false;
    if (timer.is_prepared)
        init_locks();
}

static PyObject *at_exit(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    nvpy_timer_stop();
    Py_RETURN_NONE;
}

static PyMethodDef hooks[] = {
    {"neve_timer_before_fork", before_fork, METH_NOARGS, "Stops Neve's timer for a fork."},
    {"neve_timer_after_fork", after_fork, METH_NOARGS, "Has Neve's timer started again."},
    {"neve_timer_at_exit", at_exit, METH_NOARGS, "Ends Neve's timer."},
};
enum { BEFORE_FORK, AFTER_FORK, AT_EXIT, HOOKS };

/* Puts the hooks in place, once in the life of the process; false with an
 * exception set. */
static bool prepare(void)
{
    if (timer.is_prepared)
        return true;
    int error = init_locks();
    if (error == 0)
        error = pthread_atfork(before_any_fork, after_any_fork_parent, after_any_fork_child);
    if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    PyObject *functions[HOOKS] = {NULL};
    bool is_made = true;
    for (int i = 0; i < HOOKS; i++)
        is_made = is_made && (functions[i] = PyCFunction_New(&hooks[i], NULL)) != NULL;
    PyObject *os = is_made ? PyImport_ImportModule("os") : NULL;
    PyObject *atexit = os != NULL ? PyImport_ImportModule("atexit") : NULL;
    PyObject *function = atexit != NULL ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *words =
        function != NULL
            ? Py_BuildValue("{s:O,s:O,s:O}", "before", functions[BEFORE_FORK], "after_in_parent",
                            functions[AFTER_FORK], "after_in_child", functions[AFTER_FORK])
            : NULL;
    PyObject *empty = words != NULL ? PyTuple_New(0) : NULL;
    PyObject *ended =
        empty != NULL ? PyObject_CallMethod(atexit, "register", "O", functions[AT_EXIT]) : NULL;
    PyObject *forked = ended != NULL ? PyObject_Call(function, empty, words) : NULL;
    timer.is_prepared = forked != NULL;
    Py_XDECREF(forked);
    Py_XDECREF(ended);
    Py_XDECREF(empty);
    Py_XDECREF(words);
    Py_XDECREF(function);
    Py_XDECREF(atexit);
    Py_XDECREF(os);
    for (int i = 0; i < HOOKS; i++)
        Py_XDECREF(functions[i]);
    return timer.is_prepared;
}

/* ---- for the others ---- */

void nvpy_timer_start(uint32_t interval_ms)
{
    timer.slices = 0;
    if (interval_ms == 0)
        return;
    if (!prepare()) {
        /* Out of memory, or a module that is not as it should be: no reason to
         * go without the rest of Neve. */
        PyErr_Clear();
        PySys_FormatStderr("neve: going on without a timer: its hooks cannot be set\n");
        return;
    }
    timer.interval_ms = interval_ms;
    timer.interp = nvpy.interp;
    start_if_wanted();
}

void nvpy_timer_stop(void)
{
    timer.interval_ms = 0;
    stop_thread();
}

void nvpy_timer_note_slice(void)
{
    __atomic_add_fetch(&nvpy.slices, 1, __ATOMIC_ACQ_REL);
    if (timer.interval_ms != 0 && !timer.is_running)
        start_if_wanted();
}

PyObject *nvpy_timer_stats(void)
{
    return Py_BuildValue("{s:O,s:K}", "is_running", timer.is_running ? Py_True : Py_False, "slices",
                         (unsigned long long)timer.slices);
}
