/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the heap share beside the shadow: assertions on statuses,
 * children that report over a pipe, a corruption hook that jumps out.
 *
 * A child must not use cmocka's assertions (they would jump into the parent's
 * runner): it returns NULL, or what went wrong as made by CHECK or `complain`.
 */
#ifndef TESTS_HEAP_SUPPORT_H
#define TESTS_HEAP_SUPPORT_H

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory.h"
#include "shadow.h"

/* cmocka 1.1.5 reports a skipped test to TAP as "not ok ... # SKIP", which
 * harnesses count as a failure; so a test that cannot run says so and returns. */
#define SKIP_BECAUSE(reason)                                                                       \
    do {                                                                                           \
        print_message("# skipped %s: %s\n", __func__, reason);                                     \
        return;                                                                                    \
    } while (0)

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        neve_status status_ = (expression);                                                        \
        if (status_ != NEVE_OK)                                                                    \
            fail_msg("%s: %s", #expression, neve_status_name(status_));                            \
    } while (0)

/* An operation of the shadow; on failure its finding is printed. */
#define assert_shadow(s, expression)                                                               \
    do {                                                                                           \
        if (!(expression))                                                                         \
            fail_msg("%s: %s", #expression, (s)->error);                                           \
    } while (0)

#define assert_heap_sound(heap)                                                                    \
    do {                                                                                           \
        char message_[160];                                                                        \
        if (neve_heap_check(heap, message_, sizeof message_) != NEVE_OK)                           \
            fail_msg("neve_heap_check: %s", message_);                                             \
    } while (0)

static inline neve_heap *heap_create_default(void)
{
    neve_heap *heap = NULL;
    assert_ok(neve_heap_create(NULL, &heap));
    assert_non_null(heap);
    return heap;
}

static inline neve_heap_stats heap_stats(const neve_heap *heap)
{
    neve_heap_stats stats;
    neve_heap_get_stats(heap, &stats);
    return stats;
}

static inline size_t stats_blocks(const neve_heap_stats *stats)
{
    size_t sum = stats->large_blocks;
    for (size_t d = 0; d < NEVE_DOMAINS; d++)
        sum += stats->small_blocks[d];
    return sum;
}

/* ---- children ---- */

typedef const char *(*child_body)(void *arg);

__attribute__((format(printf, 2, 3))) static inline const char *complain(int line,
                                                                         const char *format, ...)
{
    static char text[400];
    int used = snprintf(text, sizeof text, "line %d: ", line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    va_end(arguments);
    return text;
}

/* For children: leaves the function with a complaint. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return complain(__LINE__, __VA_ARGS__);                                                \
    } while (0)

#define CHECK_HEAP(heap)                                                                           \
    do {                                                                                           \
        char message_[160];                                                                        \
        CHECK(neve_heap_check(heap, message_, sizeof message_) == NEVE_OK, "neve_heap_check: %s",  \
              message_);                                                                           \
    } while (0)

#define CHECK_SHADOW(s, expression) CHECK(expression, "%s: %s", #expression, (s)->error)

/* What became of a child: its wait status, and what it wrote. */
typedef struct child_result {
    int wait_status;
    char report[600]; /* what the body returned; for child_run_raw its stderr */
} child_result;

/* Runs `body` in a child. With `catch_stderr` the report is what the child
 * wrote to standard error, otherwise what the body returned. */
static inline void child_run(child_body body, void *arg, bool catch_stderr, child_result *result)
{
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        close(ends[0]);
        static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT};
        for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
            signal(fatal[i], SIG_DFL); /* not cmocka's handlers */
        alarm(200);
        if (catch_stderr)
            dup2(ends[1], STDERR_FILENO);
        const char *report = body(arg);
        if (report == NULL)
            _exit(0);
        size_t length = strlen(report);
        _exit(write(ends[1], report, length) == (ssize_t)length ? 1 : 2);
    }
    close(ends[1]);
    size_t used = 0;
    for (;;) {
        char rest[256];
        bool fits = used < sizeof result->report - 1;
        ssize_t n = fits ? read(ends[0], result->report + used, sizeof result->report - 1 - used)
                         : read(ends[0], rest, sizeof rest);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += fits ? (size_t)n : 0;
    }
    result->report[used] = '\0';
    close(ends[0]);
    while (waitpid(child, &result->wait_status, 0) < 0 && errno == EINTR)
        continue;
}

/* NULL if the body returned NULL in the child, otherwise what went wrong. */
static inline const char *child_verdict(child_body body, void *arg)
{
    static char text[700];
    child_result result;
    child_run(body, arg, false, &result);
    if (WIFEXITED(result.wait_status) && WEXITSTATUS(result.wait_status) == 0)
        return NULL;
    if (WIFSIGNALED(result.wait_status))
        snprintf(text, sizeof text, "child died of signal %d", WTERMSIG(result.wait_status));
    else
        snprintf(text, sizeof text, "in a child: %s", result.report);
    return text;
}

static inline void assert_child(child_body body, void *arg)
{
    const char *verdict = child_verdict(body, arg);
    if (verdict != NULL)
        fail_msg("%s", verdict);
}

/* ---- the corruption hook ---- */

/* Set `trap_is_set` around the call that must report, with setjmp(trap). */
typedef struct corruption_trap {
    jmp_buf target;
    bool is_set;
    unsigned calls;
    char message[200];
} corruption_trap;

static inline void corruption_trap_hook(void *ctx, const char *message)
{
    corruption_trap *trap = ctx;
    trap->calls++;
    snprintf(trap->message, sizeof trap->message, "%s", message == NULL ? "" : message);
    if (trap->is_set) {
        trap->is_set = false;
        longjmp(trap->target, 1);
    }
}

/* Frees `block` with neve_heap_free; true if the hook was called (and left). */
static inline bool free_is_reported(neve_heap *heap, corruption_trap *trap, void *block)
{
    trap->calls = 0;
    if (setjmp(trap->target) == 0) {
        trap->is_set = true;
        neve_heap_free(heap, block);
        trap->is_set = false;
        return false;
    }
    return true;
}

static inline neve_heap *heap_create_trapped(corruption_trap *trap)
{
    neve_heap_options options = {.struct_size = sizeof options};
    options.on_corruption = corruption_trap_hook;
    options.on_corruption_ctx = trap;
    memset(trap, 0, sizeof *trap);
    neve_heap *heap = NULL;
    if (neve_heap_create(&options, &heap) != NEVE_OK)
        abort();
    return heap;
}

#endif
