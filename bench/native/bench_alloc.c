/* SPDX-License-Identifier: MIT */
/*
 * Allocation: Neve's heap against what a C program would use instead, glibc's
 * malloc, mimalloc, jemalloc and tcmalloc, on the same work in the same run.
 *
 * How it is kept fair:
 *   - Every allocator is called through two function pointers, malloc's and
 *     free's signatures. For the peers these are their own functions; for Neve
 *     a wrapper that adds the heap and the domain, as an embedder would write.
 *   - Peers are preloaded (LD_PRELOAD), as programs use them: jemalloc's
 *     thread-local storage does not fit into a process that is running already.
 *     A peer that is not installed is a column of dashes.
 *   - Each measurement is a fresh process, pinned to one CPU, and the
 *     allocators take turns: A B C A B C. Medians, CPU time.
 *   - The program does with each block what runtimes that count references do:
 *     it writes the block's first word after allocating and changes it once
 *     more before freeing. Random numbers and loops are the same for all and
 *     included in the figures.
 *
 * The last rows are Neve's own: what freeing costs when objects have bits in
 * the side tables that must be cleared (invariant 5). They look into the heap
 * and so need the internal header; everything else uses the public one.
 */
#include "bench_common.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <malloc.h>

#include "neve/heap.h"

#include "heap/heap_internal.h"

enum { MAX_RUNS = 51, MAX_VALUES = 4 };

typedef struct allocator {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    size_t (*trim)(void); /* gives back what it can; NULL: cannot */
} allocator;

/* ---- the contestants ---- */

typedef struct contestant {
    const char *name;
    const char *library; /* NULL: in this program already */
    const char *mark;    /* in the path of the object that then defines malloc */
} contestant;

static const contestant contestants[] = {
    {"neve", NULL, NULL},
    {"glibc", NULL, NULL},
    {"mimalloc", "libmimalloc.so.2", "mimalloc"},
    {"jemalloc", "libjemalloc.so.2", "jemalloc"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "tcmalloc"},
};
enum { NEVE = 0, GLIBC = 1, CONTESTANTS = sizeof contestants / sizeof contestants[0] };

static neve_heap *heap; /* of the measuring process */

static void *neve_malloc(size_t size)
{
    return neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size);
}

static void neve_free(void *block)
{
    neve_heap_free(heap, block);
}

static size_t neve_trim(void)
{
    return neve_heap_trim(heap);
}

static size_t glibc_trim(void)
{
    malloc_trim(0);
    return 0;
}

/* A peer's function by name, or NULL. ISO C has no cast from object pointers to
 * function pointers; POSIX guarantees that the bits are the same. */
static void *symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

#define FUNCTION(type, name, symbol_name)                                                          \
    type name;                                                                                     \
    void *name##_symbol = symbol(symbol_name);                                                     \
    memcpy(&name, &name##_symbol, sizeof name)

typedef void (*mi_collect_function)(bool force);
typedef int (*mallctl_function)(const char *name, void *old, size_t *old_size, void *new,
                                size_t new_size);
typedef void (*release_function)(void);

static size_t mimalloc_trim(void)
{
    FUNCTION(mi_collect_function, collect, "mi_collect");
    collect(true);
    return 0;
}

static size_t jemalloc_trim(void)
{
    FUNCTION(mallctl_function, control, "mallctl");
    control("thread.tcache.flush", NULL, NULL, NULL, 0);
    control("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096: MALLCTL_ARENAS_ALL */
    return 0;
}

static size_t tcmalloc_trim(void)
{
    FUNCTION(release_function, release, "MallocExtension_ReleaseFreeMemory");
    release();
    return 0;
}

static bool allocator_open(size_t which, allocator *a)
{
    static size_t (*const trims[])(void) = {neve_trim, glibc_trim, mimalloc_trim, jemalloc_trim,
                                            tcmalloc_trim};
    static const char *const trim_symbols[] = {"malloc", "malloc", "mi_collect", "mallctl",
                                               "MallocExtension_ReleaseFreeMemory"};
    a->trim = symbol(trim_symbols[which]) == NULL ? NULL : trims[which];
    if (which == NEVE) {
        a->malloc = neve_malloc;
        a->free = neve_free;
        return neve_heap_create(NULL, &heap) == NEVE_OK;
    }
    void *malloc_symbol = symbol("malloc"), *free_symbol = symbol("free");
    memcpy(&a->malloc, &malloc_symbol, sizeof a->malloc);
    memcpy(&a->free, &free_symbol, sizeof a->free);
    if (contestants[which].library == NULL)
        return true;
    Dl_info info;
    return malloc_symbol != NULL && dladdr(malloc_symbol, &info) != 0 &&
           strstr(info.dli_fname, contestants[which].mark) != NULL;
}

static void allocator_print_version(size_t which)
{
    typedef int (*number_function)(void);
    typedef const char *(*text_function)(int *, int *, const char **);
    if (which == NEVE) {
        printf("%s", neve_version());
    } else if (which == GLIBC) {
        printf("%s", gnu_get_libc_version());
    } else if (symbol("mi_version") != NULL) {
        FUNCTION(number_function, version, "mi_version");
        printf("%d.%d.%d", version() / 100, version() / 10 % 10, version() % 10);
    } else if (symbol("mallctl") != NULL) {
        FUNCTION(mallctl_function, control, "mallctl");
        const char *text = "unknown";
        size_t size = sizeof text;
        control("version", (void *)&text, &size, NULL, 0);
        printf("%.*s", (int)strcspn(text, "-"), text);
    } else if (symbol("tc_version") != NULL) {
        FUNCTION(text_function, version, "tc_version");
        int major, minor;
        const char *patch;
        const char *text = version(&major, &minor, &patch); /* "gperftools 2.10" */
        printf("%s", text + strcspn(text, "0123456789"));
    }
}

/* ---- the work ---- */

/* What a measurement gets, and where it leaves what it found. */
typedef struct job {
    allocator a;
    size_t live;  /* blocks that live at once in the larger workloads */
    size_t scale; /* operations are divided by it */
    double values[MAX_VALUES];
} job;

static void *make(const allocator *a, size_t size)
{
    uint64_t *block = a->malloc(size);
    if (block == NULL) {
        fprintf(stderr, "bench_alloc: out of memory\n");
        exit(1);
    }
    *block = 1;
    return block;
}

static void drop(const allocator *a, void *block)
{
    --*(uint64_t *)block;
    a->free(block);
}

enum { SIZES = 1 << 16 };

/* A table of random sizes, in multiples of nothing in particular. */
static uint16_t *sizes_between(size_t smallest, size_t largest)
{
    uint64_t random = 88172645463325252u;
    uint16_t *sizes = bench_map(SIZES * sizeof *sizes);
    for (size_t i = 0; i < SIZES; i++)
        sizes[i] = (uint16_t)(smallest + (bench_random(&random) >> 20) % (largest - smallest + 1));
    return sizes;
}

static uint32_t *shuffled_order(size_t count)
{
    uint64_t random = 1234567;
    uint32_t *order = bench_map(count * sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t j = (bench_random(&random) >> 16) % i;
        uint32_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
    return order;
}

/* One block at a time. */
static void lifo_64(job *j)
{
    size_t pairs = 40000000 / j->scale;
    for (size_t i = 0; i < 1000; i++) /* warm */
        drop(&j->a, make(&j->a, 64));
    double start = bench_cpu_ns();
    for (size_t i = 0; i < pairs; i++)
        drop(&j->a, make(&j->a, 64));
    j->values[0] = (bench_cpu_ns() - start) / (double)pairs;
}

/* Sixteen blocks of mixed sizes up, then down again, as nested calls do. */
static void lifo_mix(job *j)
{
    enum { DEPTH = 16 };
    const uint16_t *sizes = sizes_between(16, 512);
    size_t rounds = 1500000 / j->scale, at = 0;
    void *stack[DEPTH];
    double start = 0;
    for (size_t round = 0; round < rounds + SIZES / DEPTH; round++) {
        if (round == SIZES / DEPTH) /* all of the table was seen once: warm */
            start = bench_cpu_ns();
        for (size_t i = 0; i < DEPTH; i++)
            stack[i] = make(&j->a, sizes[at++ % SIZES]);
        for (size_t i = DEPTH; i-- > 0;)
            drop(&j->a, stack[i]);
    }
    j->values[0] = (bench_cpu_ns() - start) / (double)(rounds * DEPTH);
}

/* A queue of 100,000. */
static void fifo(job *j)
{
    enum { LENGTH = 100000 };
    size_t pairs = 15000000 / j->scale;
    void **queue = bench_map(LENGTH * sizeof *queue);
    for (size_t i = 0; i < LENGTH; i++)
        queue[i] = make(&j->a, 64);
    double start = bench_cpu_ns();
    for (size_t i = 0, at = 0; i < pairs; i++) {
        drop(&j->a, queue[at]);
        queue[at] = make(&j->a, 64);
        if (++at == LENGTH)
            at = 0;
    }
    j->values[0] = (bench_cpu_ns() - start) / (double)pairs;
}

/* Any of a million live blocks goes, another of another size comes. */
static void replace(job *j, size_t smallest, size_t largest)
{
    const uint16_t *sizes = sizes_between(smallest, largest);
    size_t pairs = 5000000 / j->scale;
    void **blocks = bench_map(j->live * sizeof *blocks);
    uint64_t random = 42;
    for (size_t i = 0; i < j->live; i++)
        blocks[i] = make(&j->a, sizes[i % SIZES]);
    /* Twice over, so that what is measured is not a fresh heap. */
    for (size_t i = 0; i < 2 * j->live; i++) {
        size_t k = (bench_random(&random) >> 20) % j->live;
        drop(&j->a, blocks[k]);
        blocks[k] = make(&j->a, sizes[(i * 7) % SIZES]);
    }
    double start = bench_cpu_ns();
    for (size_t i = 0; i < pairs; i++) {
        size_t k = (bench_random(&random) >> 20) % j->live;
        drop(&j->a, blocks[k]);
        blocks[k] = make(&j->a, sizes[i % SIZES]);
    }
    j->values[0] = (bench_cpu_ns() - start) / (double)pairs;
}

static void replace_small(job *j)
{
    replace(j, 16, 128);
}

static void replace_mix(job *j)
{
    replace(j, 16, 512);
}

/* A million blocks come, in a process that had none, then all go. What the
 * system takes for the memory's first touch is part of it, for all alike. */
static void burst(job *j, bool is_shuffled)
{
    const uint16_t *sizes = sizes_between(16, 512);
    const uint32_t *order = is_shuffled ? shuffled_order(j->live) : NULL;
    void **blocks = bench_map(j->live * sizeof *blocks);
    double start = bench_cpu_ns();
    for (size_t i = 0; i < j->live; i++)
        blocks[i] = make(&j->a, sizes[i % SIZES]);
    double full = bench_cpu_ns();
    if (is_shuffled) {
        for (size_t i = 0; i < j->live; i++)
            drop(&j->a, blocks[order[i]]);
    } else {
        for (size_t i = 0; i < j->live; i++)
            drop(&j->a, blocks[i]);
    }
    double end = bench_cpu_ns();
    j->values[0] = (end - start) / (double)j->live;
    j->values[1] = (end - full) / (double)j->live;
}

static void burst_ordered(job *j)
{
    burst(j, false);
}

static void burst_shuffled(job *j)
{
    burst(j, true);
}

/* 264 MB in a million blocks, written from end to end, then freed in shuffled
 * order: memory at the peak over the sizes rounded up to 16 bytes; what stays
 * in MB; what stays after the allocator was asked to give back what it can. */
static void memory(job *j)
{
    const uint16_t *sizes = sizes_between(16, 512);
    const uint32_t *order = shuffled_order(j->live);
    void **blocks = bench_map(j->live * sizeof *blocks);
    size_t before = bench_resident_bytes(), rounded = 0;
    for (size_t i = 0; i < j->live; i++) {
        blocks[i] = make(&j->a, sizes[i % SIZES]);
        memset(blocks[i], 1, sizes[i % SIZES]);
        rounded += (sizes[i % SIZES] + (size_t)15) & ~(size_t)15;
    }
    size_t peak = bench_resident_bytes();
    for (size_t i = 0; i < j->live; i++) {
        drop(&j->a, blocks[order[i]]);
        if (i % (j->live / 16) == 0) {
            size_t now = bench_resident_bytes();
            peak = now > peak ? now : peak;
        }
    }
    size_t left = bench_resident_bytes();
    if (j->a.trim != NULL)
        j->a.trim();
    size_t trimmed = bench_resident_bytes();
    j->values[0] = (double)(peak - before) / (double)rounded;
    j->values[1] = left > before ? (double)(left - before) / 1e6 : 0;
    j->values[2] = j->a.trim == NULL  ? (double)NAN
                   : trimmed > before ? (double)(trimmed - before) / 1e6
                                      : 0;
}

/* Freeing objects in shuffled order, in ns each: all of them young; one in 32
 * old, so that most pools hold an old object among young ones; all of them old.
 * No memory goes back to the system, which would hide the difference. Freeing
 * has few loads to wait for, but every instruction more in it is a miss of the
 * program's own that overlaps less: so it is measured with blocks in the cache
 * of the second level and with blocks outside. */
static void clear_bits(job *j, size_t objects, size_t rounds)
{
    enum { KINDS = 3 };
    const uint16_t *sizes = sizes_between(16, 512);
    const uint32_t *order = shuffled_order(objects);
    void **blocks = bench_map(objects * sizeof *blocks);
    neve_heap_options options = {.struct_size = sizeof options};
    neve_heap *heaps[KINDS];
    options.retain_bytes = SIZE_MAX;
    for (size_t kind = 0; kind < KINDS; kind++) {
        if (neve_heap_create(&options, &heaps[kind]) != NEVE_OK)
            exit(1);
    }
    for (size_t i = 0; i < (rounds + 1) * KINDS; i++) {
        size_t kind = i % KINDS; /* in turn */
        heap = heaps[kind];
        for (size_t k = 0; k < objects; k++)
            blocks[k] = make(&j->a, sizes[k % SIZES]);
        for (size_t k = 0; kind != 0 && k < objects; k += kind == 1 ? 32 : 1)
            nv_state_set(heap, blocks[k], NV_STATE_OLD);
        for (size_t k = 0; k < objects; k++) /* the same caches for all three */
            ++*(uint64_t *)blocks[k];
        double start = bench_cpu_ns();
        for (size_t k = 0; k < objects; k++)
            drop(&j->a, blocks[order[k]]);
        if (i >= KINDS) /* the first round is for warming up */
            j->values[kind] += (bench_cpu_ns() - start) / (double)(objects * rounds);
    }
}

static void clear_bits_near(job *j)
{
    clear_bits(j, 1000, 4000 / j->scale);
}

static void clear_bits_far(job *j)
{
    clear_bits(j, 50000, 80 / j->scale);
}

typedef struct workload {
    const char *name;
    void (*run)(job *j);
    bool is_neves_own;
    const char *titles[MAX_VALUES]; /* of the values that it yields */
    const char *units[MAX_VALUES];
} workload;

static const workload workloads[] = {
    {"lifo-64", lifo_64, false, {"one block of 64 B at a time"}, {"ns/pair"}},
    {"lifo-16-512", lifo_mix, false, {"16 deep, 16-512 B"}, {"ns/pair"}},
    {"fifo-100k", fifo, false, {"queue of 100k, 64 B"}, {"ns/pair"}},
    {"replace-16-128", replace_small, false, {"random in 1M live, 16-128 B"}, {"ns/pair"}},
    {"replace-16-512", replace_mix, false, {"random in 1M live, 16-512 B"}, {"ns/pair"}},
    {"burst-ordered",
     burst_ordered,
     false,
     {"1M blocks, freed in order", "... of which freeing"},
     {"ns/pair", "ns/free"}},
    {"burst-shuffled",
     burst_shuffled,
     false,
     {"1M blocks, freed shuffled", "... of which freeing"},
     {"ns/pair", "ns/free"}},
    {"memory",
     memory,
     false,
     {"peak memory over rounded sizes", "stays after freeing 264 MB",
      "stays after its own trim as well"},
     {"ratio", "MB", "MB"}},
    {"clear-bits",
     clear_bits_near,
     true,
     {"free of 1k objects, all young", "... one in 32 old", "... all old"},
     {"ns/free", "ns/free", "ns/free"}},
    {"clear-bits-50k",
     clear_bits_far,
     true,
     {"free of 50k objects, all young", "... one in 32 old", "... all old"},
     {"ns/free", "ns/free", "ns/free"}},
};
enum { WORKLOADS = sizeof workloads / sizeof workloads[0] };

/* ---- the measuring process ---- */

static const workload *workload_find(const char *name)
{
    for (size_t i = 0; i < WORKLOADS; i++) {
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    }
    return NULL;
}

/* `bench --child CONTESTANT WORKLOAD LIVE SCALE`; the values go to standard output. */
static int child_main(char **arguments)
{
    static job j; /* zero */
    size_t which = (size_t)strtoul(arguments[0], NULL, 10);
    if (which >= CONTESTANTS || !allocator_open(which, &j.a))
        return 3; /* not installed */
    if (strcmp(arguments[1], "version") == 0) {
        allocator_print_version(which);
        return 0;
    }
    const workload *w = workload_find(arguments[1]);
    j.live = (size_t)strtoul(arguments[2], NULL, 10);
    j.scale = (size_t)strtoul(arguments[3], NULL, 10);
    if (w == NULL || j.live == 0 || j.scale == 0)
        return 2;
    w->run(&j);
    for (size_t v = 0; v < MAX_VALUES && w->titles[v] != NULL; v++)
        printf("%.6g ", j.values[v]);
    return 0;
}

/* ---- the measured ---- */

typedef struct settings {
    size_t runs, live, scale;
    int cpu;
    const char *only; /* a workload, or NULL */
    bool as_json;
} settings;

static char versions[CONTESTANTS][64]; /* empty: not installed */
static double samples[WORKLOADS][CONTESTANTS][MAX_VALUES][MAX_RUNS];
static size_t sample_counts[WORKLOADS][CONTESTANTS];
static double medians[WORKLOADS][CONTESTANTS][MAX_VALUES];

static bool takes_part(size_t w, size_t c)
{
    return versions[c][0] != '\0' && (c == NEVE || !workloads[w].is_neves_own);
}

static bool run_child(const settings *s, size_t c, const char *what, char *output, size_t size)
{
    char which[24], live[24], scale[24];
    snprintf(which, sizeof which, "%zu", c);
    snprintf(live, sizeof live, "%zu", s->live);
    snprintf(scale, sizeof scale, "%zu", s->scale);
    const char *const arguments[] = {"--child", which, what, live, scale, NULL};
    return bench_run_self(arguments, contestants[c].library, s->cpu, output, size);
}

/* False if a contestant that is there fails. */
static bool measure(const settings *s)
{
    char output[256];
    for (size_t c = 0; c < CONTESTANTS; c++) {
        if (run_child(s, c, "version", output, sizeof output))
            snprintf(versions[c], sizeof versions[c], "%.60s", output);
    }
    for (size_t run = 0; run < s->runs; run++) {
        for (size_t w = 0; w < WORKLOADS; w++) {
            if (s->only != NULL && strcmp(s->only, workloads[w].name) != 0)
                continue;
            for (size_t c = 0; c < CONTESTANTS; c++) {
                if (!takes_part(w, c))
                    continue;
                if (!run_child(s, c, workloads[w].name, output, sizeof output)) {
                    fprintf(stderr, "bench_alloc: %s failed in %s\n", contestants[c].name,
                            workloads[w].name);
                    return false;
                }
                char *at = output;
                for (size_t v = 0; v < MAX_VALUES && workloads[w].titles[v] != NULL; v++)
                    samples[w][c][v][sample_counts[w][c]] = strtod(at, &at);
                sample_counts[w][c]++;
            }
        }
    }
    for (size_t w = 0; w < WORKLOADS; w++) {
        for (size_t c = 0; c < CONTESTANTS; c++) {
            for (size_t v = 0; v < MAX_VALUES; v++)
                medians[w][c][v] = workloads[w].titles[v] == NULL
                                       ? (double)NAN
                                       : bench_median(samples[w][c][v], sample_counts[w][c]);
        }
    }
    return true;
}

/* The smallest of the peers' figures; NAN without peers. */
static double best_peer(const double figures[CONTESTANTS])
{
    double best = (double)NAN;
    for (size_t c = NEVE + 1; c < CONTESTANTS; c++)
        best = fmin(best, figures[c]); /* ignores NAN */
    return best;
}

/* Over the workloads that are timed in pairs and all have run. */
static void geometric_means(double means[CONTESTANTS])
{
    for (size_t c = 0; c < CONTESTANTS; c++) {
        double sum = 0, count = 0;
        for (size_t w = 0; w < WORKLOADS; w++) {
            if (strcmp(workloads[w].units[0], "ns/pair") == 0 && sample_counts[w][c] != 0) {
                sum += log(medians[w][c][0]);
                count++;
            }
        }
        means[c] = count == 0 ? (double)NAN : exp(sum / count);
    }
}

static void print_figure(double figure)
{
    if (isfinite(figure))
        printf(" %9.*f", figure < 0.1 ? 3 : figure < 10 ? 2 : 1, figure);
    else
        printf(" %9s", "-");
}

static void print_row(const char *title, const char *unit, const double figures[CONTESTANTS])
{
    printf("%-34s %-8s", title, unit);
    for (size_t c = 0; c < CONTESTANTS; c++)
        print_figure(figures[c]);
    print_figure(figures[NEVE] / best_peer(figures));
    print_figure(figures[NEVE] / figures[GLIBC]);
    printf("\n");
}

static void print_table(const settings *s)
{
    bench_machine machine;
    bench_machine_get(&machine);
    printf("Allocation: medians of %zu runs in turn, %s, %ld CPUs, %s, %s%s\n\n", s->runs,
           machine.cpu, machine.cpus, machine.kernel, machine.date,
           s->scale > 1 ? " (quick: a fifth of the blocks and of the work)" : "");
    printf("%-34s %-8s", "", "");
    for (size_t c = 0; c < CONTESTANTS; c++)
        printf(" %9s", contestants[c].name);
    printf(" %9s %9s\n%-34s %-8s", "/ best", "/ glibc", "", "");
    for (size_t c = 0; c < CONTESTANTS; c++)
        printf(" %9s", versions[c][0] != '\0' ? versions[c] : "missing");
    printf("\n");
    double figures[CONTESTANTS];
    for (size_t w = 0; w < WORKLOADS; w++) {
        if (sample_counts[w][NEVE] == 0)
            continue;
        for (size_t v = 0; v < MAX_VALUES && workloads[w].titles[v] != NULL; v++) {
            for (size_t c = 0; c < CONTESTANTS; c++)
                figures[c] = medians[w][c][v];
            print_row(workloads[w].titles[v], workloads[w].units[v], figures);
        }
        bool is_last_pair = strcmp(workloads[w].units[0], "ns/pair") == 0 &&
                            strcmp(workloads[w + 1 < WORKLOADS ? w + 1 : w].units[0], "ns/pair");
        if (is_last_pair && s->only == NULL) {
            geometric_means(figures);
            print_row("geometric mean", "ns/pair", figures);
        }
    }
    for (size_t c = 0; c < CONTESTANTS; c++) {
        if (versions[c][0] == '\0')
            printf("\n%s is not installed (%s)", contestants[c].name, contestants[c].library);
    }
    printf("\n");
}

static void print_json_figures(const double figures[CONTESTANTS])
{
    for (size_t c = 0; c < CONTESTANTS; c++) {
        printf("%s\"%s\": ", c == 0 ? "" : ", ", contestants[c].name);
        bench_print_json_number(stdout, figures[c]);
    }
    printf(", \"neve_over_best_peer\": ");
    bench_print_json_number(stdout, figures[NEVE] / best_peer(figures));
    printf(", \"neve_over_glibc\": ");
    bench_print_json_number(stdout, figures[NEVE] / figures[GLIBC]);
}

static void print_json(const settings *s)
{
    bench_machine machine;
    bench_machine_get(&machine);
    printf("{\"benchmark\": \"alloc\", \"date\": \"%s\", \"cpu\": ", machine.date);
    bench_print_json_string(stdout, machine.cpu);
    printf(", \"cpus\": %ld, \"kernel\": ", machine.cpus);
    bench_print_json_string(stdout, machine.kernel);
    printf(", \"runs\": %zu, \"live_blocks\": %zu, \"scale\": %zu,\n \"versions\": {", s->runs,
           s->live, s->scale);
    for (size_t c = 0; c < CONTESTANTS; c++) {
        printf("%s\"%s\": ", c == 0 ? "" : ", ", contestants[c].name);
        if (versions[c][0] != '\0')
            bench_print_json_string(stdout, versions[c]);
        else
            printf("null");
    }
    printf("},\n \"results\": [");
    double figures[CONTESTANTS];
    const char *separator = "";
    for (size_t w = 0; w < WORKLOADS; w++) {
        if (sample_counts[w][NEVE] == 0)
            continue;
        for (size_t v = 0; v < MAX_VALUES && workloads[w].titles[v] != NULL; v++) {
            for (size_t c = 0; c < CONTESTANTS; c++)
                figures[c] = medians[w][c][v];
            printf("%s\n  {\"workload\": \"%s\", \"title\": \"%s\", \"unit\": \"%s\", ", separator,
                   workloads[w].name, workloads[w].titles[v], workloads[w].units[v]);
            print_json_figures(figures);
            printf("}");
            separator = ",";
        }
    }
    printf("],\n \"geometric_mean_ns\": {");
    geometric_means(figures);
    print_json_figures(figures);
    printf("}}\n");
}

/* ---- the command line ---- */

static void print_help(FILE *out)
{
    fprintf(out, "usage: bench_alloc [--runs N] [--quick] [--workload NAME] [--cpu N] [--json]\n"
                 "\n"
                 "Neve's heap against glibc's malloc, mimalloc, jemalloc and tcmalloc.\n"
                 "\n"
                 "  --runs N         how often each is measured; medians are shown (default 5)\n"
                 "  --quick          a fifth of the work, 3 runs\n"
                 "  --workload NAME  one of:");
    for (size_t w = 0; w < WORKLOADS; w++)
        fprintf(out, "%s %s", w % 4 == 3 ? "\n                  " : "", workloads[w].name);
    fprintf(out, "\n"
                 "  --cpu N          run on this CPU (default: the last allowed; -1: on any)\n"
                 "  --json           figures for machines instead of a table\n"
                 "  --help           this text\n");
}

static int usage_error(const char *what, const char *argument)
{
    fprintf(stderr, "bench_alloc: %s '%s' (see --help)\n", what, argument);
    return 2;
}

int main(int argc, char **argv)
{
    settings s = {.runs = 0, .live = 1000000, .scale = 1, .cpu = bench_default_cpu()};
    if (argc == 6 && strcmp(argv[1], "--child") == 0)
        return child_main(argv + 2);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end = NULL;
        if (strcmp(argv[i], "--help") == 0) {
            print_help(stdout);
            return 0;
        } else if (strcmp(argv[i], "--json") == 0) {
            s.as_json = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            s.scale = 5;
            s.live = 200000;
        } else if (strcmp(argv[i], "--runs") == 0) {
            s.runs = (size_t)strtoul(value, &end, 10);
            if (*value == '\0' || *end != '\0' || s.runs == 0 || s.runs > MAX_RUNS)
                return usage_error("--runs needs a number from 1 to 51, not", value);
            i++;
        } else if (strcmp(argv[i], "--cpu") == 0) {
            s.cpu = (int)strtol(value, &end, 10);
            if (*value == '\0' || *end != '\0')
                return usage_error("--cpu needs a number, not", value);
            i++;
        } else if (strcmp(argv[i], "--workload") == 0) {
            if (workload_find(value) == NULL)
                return usage_error("unknown workload", value);
            s.only = value;
            i++;
        } else {
            return usage_error("unknown option", argv[i]);
        }
    }
    if (s.runs == 0)
        s.runs = s.scale > 1 ? 3 : 5;
    if (!measure(&s))
        return 1;
    if (s.as_json)
        print_json(&s);
    else
        print_table(&s);
    return 0;
}
