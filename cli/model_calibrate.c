/* SPDX-License-Identifier: MIT */
/*
 * neve model: what this machine takes for a reference in each of its caches, for an object in the
 * collector while all of it lies in the first, and for a fork. The least of several rounds counts: other
 * work of the machine can only add to it.
 */
#include "model.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 64, ROUNDS = 7 };
/* A set for memory is four times the last cache, within these. */
#define MEMORY_LEAST ((size_t)32 << 20)
#define MEMORY_MOST ((size_t)256 << 20)
/* Objects that are collected for it, whatever size --l1 gives to the first cache. */
enum { CALIBRATED_LEAST = 64, CALIBRATED_MOST = 65536 };

/* Links the lines of `memory` into one cycle in random order (Sattolo's algorithm). */
static void link_lines(char *memory, size_t lines)
{
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < lines; i++)
        *(size_t *)(void *)(memory + i * LINE_BYTES) = i;
    for (size_t i = lines - 1; i > 0; i--) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t *a = (size_t *)(void *)(memory + i * LINE_BYTES);
        size_t *b = (size_t *)(void *)(memory + random % i * LINE_BYTES);
        size_t swapped = *a;
        *a = *b;
        *b = swapped;
    }
    for (size_t i = 0; i < lines; i++) {
        size_t *line = (size_t *)(void *)(memory + i * LINE_BYTES);
        *(void **)(void *)line = memory + *line * LINE_BYTES;
    }
}

/* Nanoseconds for each of `steps` loads that each depend on the one before. */
static double chase_ns(char *memory, size_t lines, size_t steps)
{
    void *at = memory;
    (void)lines;
    double begin_s = nvcli_wall_s();
    for (size_t i = 0; i < steps; i++)
        at = *(void *volatile *)at;
    return (nvcli_wall_s() - begin_s) * 1e9 / (double)steps;
}

/* The same of loads whose addresses are known beforehand. */
static double scatter_ns(char *memory, size_t lines, size_t steps)
{
    uint64_t random = 1234567;
    double begin_s = nvcli_wall_s();
    for (size_t i = 0; i < steps; i++) {
        /* A linear congruential generator, whose upper half is scaled to a line. */
        random = random * UINT64_C(6364136223846793005) + 1;
        size_t line = (size_t)((random >> 32) * lines >> 32);
        (void)*(const volatile char *)(memory + line * LINE_BYTES);
    }
    return (nvcli_wall_s() - begin_s) * 1e9 / (double)steps;
}

static double least_ns(double (*measure)(char *, size_t, size_t), char *memory, size_t lines,
                       size_t steps)
{
    double best_ns = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double ns = measure(memory, lines, steps);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return best_ns;
}

/* Of a set of so many bytes. */
static bool calibrate_level(model_level *level, size_t bytes)
{
    size_t lines = bytes / LINE_BYTES, steps = lines < 200000 ? 200000 : 400000;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    link_lines(memory, lines); /* which warms the caches, too */
    level->ns = least_ns(chase_ns, memory, lines, steps);
    level->apart_ns = least_ns(scatter_ns, memory, lines, steps);
    munmap(memory, bytes);
    return true;
}

bool model_calibrate_latencies(model_machine *machine)
{
    size_t last = machine->levels[MODEL_LEVELS - 2].bytes;
    for (size_t i = 0; i < MODEL_LEVELS; i++) {
        size_t bytes = machine->levels[i].bytes / 2;
        if (i + 1 == MODEL_LEVELS) {
            bytes = last > MEMORY_MOST / 4 ? MEMORY_MOST : last * 4;
            bytes = bytes < MEMORY_LEAST ? MEMORY_LEAST : bytes;
        }
        if (bytes > MEMORY_MOST)
            bytes = MEMORY_MOST;
        if (!calibrate_level(&machine->levels[i], bytes))
            return false;
    }
    return true;
}

/* ---- the collector ---- */

/* The least time of a collection of `count` objects; negative: no memory. */
static double collection_ns(const model_service *service, size_t count, int generation)
{
    enum { REPEATED = 20 };
    double best_ns = 1e18;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        model_population *p = model_populate(service, NEVE_MODE_GENERATIONAL, count, 0);
        if (p == NULL)
            return -1;
        neve_collector *collector = neve_runtime_collector(model_population_runtime(p));
        /* The old stay what they are; the young are young only once. */
        for (int i = 0; i < (generation == 2 ? REPEATED : 1); i++) {
            neve_collection done;
            if (neve_collect(collector, generation, &done) != NEVE_OK)
                return -1;
            double ns = (double)done.duration_ns;
            best_ns = ns < best_ns ? ns : best_ns;
        }
        model_population_destroy(p);
    }
    return best_ns;
}

static bool calibrate_cost(const model_service *service, size_t count, int generation,
                           model_cost *cost)
{
    /* On a machine so busy that few objects took as long as many, once more. */
    enum { ATTEMPTS = 10 };
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double few_ns = collection_ns(service, count / 4, generation);
        double many_ns = collection_ns(service, count, generation);
        if (few_ns < 0 || many_ns < 0)
            return false;
        cost->object_ns = (many_ns - few_ns) / (double)(count - count / 4);
        cost->fixed_ns = few_ns - cost->object_ns * (double)(count / 4);
        if (cost->fixed_ns < 0)
            cost->fixed_ns = 0;
        if (cost->object_ns > 0)
            return true;
    }
    return false;
}

/* ---- fork ---- */

static double fork_ns(void)
{
    double best_ns = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double begin_s = nvcli_cpu_s();
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        double ns = (nvcli_cpu_s() - begin_s) * 1e9;
        if (child < 0 || waitpid(child, NULL, 0) != child)
            return -1;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return best_ns;
}

static bool calibrate_fork(model_machine *machine)
{
    const size_t mib = 32, bytes = mib << 20;
    double before_ns = fork_ns();
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    memset(memory, 1, bytes);
    double after_ns = fork_ns();
    munmap(memory, bytes);
    if (before_ns < 0 || after_ns < 0)
        return false;
    machine->fork_fixed_ns = before_ns;
    machine->fork_ns_per_mib = after_ns > before_ns ? (after_ns - before_ns) / (double)mib : 0;
    return true;
}

bool model_calibrate_collector(const model_service *service, model_machine *machine)
{
    /* As many as fit into half of the first cache, so that its tables do, too. */
    size_t count = machine->levels[0].bytes / 2 / model_block_bytes(service);
    if (count < CALIBRATED_LEAST)
        count = CALIBRATED_LEAST;
    if (count > CALIBRATED_MOST)
        count = CALIBRATED_MOST;
    return calibrate_cost(service, count, 0, &machine->verify) &&
           calibrate_cost(service, count, 2, &machine->mark) && calibrate_fork(machine);
}
