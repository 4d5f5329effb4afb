/* SPDX-License-Identifier: MIT */
/*
 * What the native benchmarks share: clocks, random numbers, medians, what the
 * machine is, resident memory, and running one measurement in a process of its
 * own, so that no allocator or heap inherits the state another has left.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* CPU time of the process with all its threads: on a shared machine it repeats
 * far better than the wall clock, and nothing measured with it sleeps. */
static inline double bench_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* xorshift64* (Vigna 2016); the state is never 0. */
static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* Memory for the benchmark itself, touched, that no measured allocator sees. */
static inline void *bench_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

/* Anonymous resident memory; reads /proc without allocating. */
static inline size_t bench_resident_bytes(void)
{
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    if (length < 0)
        return 0;
    text[length] = '\0';
    const char *field = strstr(text, "RssAnon:");
    return field == NULL ? 0 : (size_t)strtoul(field + 8, NULL, 10) * 1024;
}

static inline int bench_compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median; `values` are sorted on return. NAN of none. */
static inline double bench_median(double *values, size_t count)
{
    if (count == 0)
        return (double)NAN;
    qsort(values, count, sizeof *values, bench_compare_doubles);
    return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The first line of a file that begins with `key`, from behind its colon. */
static inline void bench_file_field(const char *path, const char *key, char *value, size_t size)
{
    char line[512];
    snprintf(value, size, "unknown");
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    fclose(file);
}

typedef struct bench_machine {
    char cpu[128], kernel[160], date[24];
    long cpus;
} bench_machine;

static inline void bench_machine_get(bench_machine *machine)
{
    struct utsname name;
    time_t now = time(NULL);
    struct tm calendar;
    bench_file_field("/proc/cpuinfo", "model name", machine->cpu, sizeof machine->cpu);
    machine->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%s %s %s", name.sysname, name.release,
                 name.machine);
    else
        snprintf(machine->kernel, sizeof machine->kernel, "unknown");
    gmtime_r(&now, &calendar);
    strftime(machine->date, sizeof machine->date, "%Y-%m-%d", &calendar);
}

/* A string for JSON, quotes included; control characters become spaces. */
static inline void bench_print_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc((unsigned char)*text < 32 ? ' ' : *text, out);
    }
    fputc('"', out);
}

/* JSON has no NAN: what was not measured is null. */
static inline void bench_print_json_number(FILE *out, double number)
{
    if (isfinite(number))
        fprintf(out, "%.4g", number);
    else
        fputs("null", out);
}

/* The last CPU that the process may use; interrupts favour the first. */
static inline int bench_default_cpu(void)
{
    cpu_set_t set;
    int last = -1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int i = 0; i < CPU_SETSIZE; i++) {
            if (CPU_ISSET((size_t)i, &set))
                last = i;
        }
    }
    return last;
}

/* Runs this program again with other arguments (NULL-terminated, without the
 * name), pinned to `cpu` unless that is negative and with `preload` in
 * LD_PRELOAD unless that is NULL; its standard output, terminated, goes to
 * `output`. True if it exited with status 0. */
static inline bool bench_run_self(const char *const *arguments, const char *preload, int cpu,
                                  char *output, size_t size)
{
    const char *argv[16] = {"bench"};
    int ends[2], status = -1;
    for (size_t i = 0; i < 14 && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    output[0] = '\0';
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t child = fork();
    if (child < 0)
        return false;
    if (child == 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cpu >= 0) {
            CPU_SET((size_t)cpu, &set);
            (void)sched_setaffinity(0, sizeof set, &set);
        }
        dup2(ends[1], STDOUT_FILENO);
        if (preload != NULL) {
            setenv("LD_PRELOAD", preload, 1);
            /* The loader complains about a library that is not installed. */
            int nowhere = open("/dev/null", O_WRONLY);
            if (nowhere >= 0)
                dup2(nowhere, STDERR_FILENO);
        } else {
            unsetenv("LD_PRELOAD");
        }
        execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (;;) {
        ssize_t n = read(ends[0], output + used, size - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    output[used] = '\0';
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
