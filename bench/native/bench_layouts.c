/* SPDX-License-Identifier: MIT */
/*
 * Where a cycle collector keeps its state, and what that costs a forked child: the experiment that led to
 * gc.freeze, with the layouts that it compared. 16,000 containers and 640,000 strings are made in turn, a
 * child is forked and does one full collection, and its private dirty memory is compared before and after.
 *
 * The models are self-contained: containers in an order of their own creation, each with a reference to a
 * random earlier one, and a collection by trial deletion as CPython does it. Three passes over the list of heads: copy
 * the counts, subtract the references among the objects, relink what is held from outside (everything is).
 * "side tables" is no model, but libneve.
 */
#include "bench_common.h"

#include "neve.h"

enum { CONTAINERS = 16000, STRINGS_EACH = 40, STRING_BYTES = 64, BODY_BYTES = 32 };

typedef struct head {
    struct head *next, *prev;
    intptr_t refs;
} head;

typedef struct body {
    intptr_t count;
    struct body *refers_to;
    char rest[BODY_BYTES - sizeof(intptr_t) - sizeof(void *)]; /* its type, and so on */
} body;

/* Where head and body lie apart each knows the other. */
typedef struct dense_head {
    head base;
    body *of;
} dense_head;
typedef struct pointing_body {
    head *where;
    body base;
} pointing_body;

typedef enum layout {
    IN_FRONT,   /* a head in front of each container, strings in between */
    ELSEWHERE,  /* a pointer to a head in a dense array */
    FROZEN,     /* in front, and the containers left to themselves before the fork */
    OWN_PAGES,  /* in front, and containers in pages without strings */
    SIDE_TABLE, /* libneve */
    COUNTED,    /* in front; instead of collecting the child touches every count */
    LAYOUTS,
} layout;

static const char *const names[] = {
    [IN_FRONT] = "heads in front",          [ELSEWHERE] = "heads elsewhere, dense",
    [FROZEN] = "heads in front, frozen",    [OWN_PAGES] = "heads in front, own pages",
    [SIDE_TABLE] = "side tables (libneve)", [COUNTED] = "(a walk that touches every count)",
};

typedef struct world {
    layout how;
    body *containers[CONTAINERS];
    intptr_t *strings[CONTAINERS * STRINGS_EACH];
    head list;
    size_t container_bytes; /* of one, with all that the collector wants of it */
    neve_runtime *runtime;
} world;

/* ---- building ---- */

typedef struct region {
    char *at;
} region;

static size_t rounded(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static void *region_take(region *r, size_t bytes)
{
    void *block = r->at;
    r->at += rounded(bytes);
    return block;
}

static body *body_of(const world *w, head *h)
{
    return w->how == ELSEWHERE ? ((dense_head *)h)->of : (body *)(void *)(h + 1);
}

static head *head_of(const world *w, body *b)
{
    if (w->how == ELSEWHERE)
        return ((pointing_body *)(void *)((char *)b - offsetof(pointing_body, base)))->where;
    return (head *)(void *)b - 1;
}

static void link_head(world *w, head *h)
{
    h->next = &w->list;
    h->prev = w->list.prev;
    w->list.prev->next = h;
    w->list.prev = h;
}

static void build_model(world *w)
{
    enum { ROOM = 64 << 20 };
    region mixed = {bench_map(ROOM)}, apart = {bench_map(ROOM / 8)};
    uint64_t random = 42;
    w->list.next = w->list.prev = &w->list;
    for (size_t i = 0; i < CONTAINERS; i++) {
        region *from = w->how == OWN_PAGES ? &apart : &mixed;
        body *b;
        if (w->how == ELSEWHERE) {
            dense_head *h = region_take(&apart, sizeof *h);
            pointing_body *pointing = region_take(from, sizeof *pointing);
            b = &pointing->base;
            h->of = b;
            pointing->where = &h->base;
            w->container_bytes = rounded(sizeof *h) + rounded(sizeof *pointing);
        } else {
            head *h = region_take(from, sizeof *h + sizeof *b);
            b = (body *)(void *)(h + 1);
            w->container_bytes = rounded(sizeof *h + sizeof *b);
        }
        b->count = 1; /* from outside */
        if (i > 0) {
            b->refers_to = w->containers[bench_random(&random) % i];
            b->refers_to->count++;
        }
        if (w->how != FROZEN)
            link_head(w, head_of(w, b));
        w->containers[i] = b;
        for (size_t k = 0; k < STRINGS_EACH; k++) {
            intptr_t *string = region_take(&mixed, STRING_BYTES);
            *string = 1;
            w->strings[i * STRINGS_EACH + k] = string;
        }
    }
}

typedef struct node {
    neve_object base;
    neve_object *refers_to;
    char rest[BODY_BYTES - sizeof(neve_object) - sizeof(void *)];
} node;

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    if (((node *)object)->refers_to != NULL)
        (void)visit(((node *)object)->refers_to, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    neve_clear_slot(runtime, &((node *)object)->refers_to);
}

static const neve_type node_type = {.name = "node",
                                    .size = sizeof(node),
                                    .flags = NEVE_TYPE_CONTAINER,
                                    .traverse = node_traverse,
                                    .clear = node_clear};
static const neve_type string_type = {.name = "string", .size = STRING_BYTES};

static void build_neve(world *w)
{
    static neve_object *made[CONTAINERS];
    uint64_t random = 42;
    if (neve_runtime_create(NULL, &w->runtime) != NEVE_OK)
        exit(1);
    for (size_t i = 0; i < CONTAINERS; i++) {
        node *n = (node *)neve_object_new(w->runtime, &node_type);
        if (n == NULL)
            exit(1);
        made[i] = &n->base;
        if (i > 0)
            n->refers_to = neve_retain(made[bench_random(&random) % i]);
        for (size_t k = 0; k < STRINGS_EACH; k++) {
            if (neve_object_new(w->runtime, &string_type) == NULL)
                exit(1);
        }
    }
    /* As the models': everything is old, and has been collected once. */
    if (neve_collect(neve_runtime_collector(w->runtime), 2, NULL) != NEVE_OK)
        exit(1);
    neve_runtime_before_fork(w->runtime);
    w->container_bytes = rounded(sizeof(node));
}

/* ---- the child's work ---- */

/* Trial deletion over the list; returns how many containers are held from outside. */
static size_t collect_model(world *w)
{
    size_t held = 0;
    for (head *h = w->list.next; h != &w->list; h = h->next)
        h->refs = body_of(w, h)->count;
    for (head *h = w->list.next; h != &w->list; h = h->next) {
        body *referent = body_of(w, h)->refers_to;
        if (referent != NULL)
            head_of(w, referent)->refs--;
    }
    head *next;
    head reached = {.next = &reached, .prev = &reached};
    for (head *h = w->list.next; h != &w->list; h = next) {
        next = h->next;
        if (h->refs == 0)
            continue;
        held++;
        h->next = &reached;
        h->prev = reached.prev;
        reached.prev->next = h;
        reached.prev = h;
    }
    return held;
}

static void touch_counts(world *w)
{
    for (size_t i = 0; i < CONTAINERS; i++) {
        *(volatile intptr_t *)&w->containers[i]->count += 1;
        *(volatile intptr_t *)&w->containers[i]->count -= 1;
    }
    for (size_t i = 0; i < CONTAINERS * STRINGS_EACH; i++) {
        *(volatile intptr_t *)w->strings[i] += 1;
        *(volatile intptr_t *)w->strings[i] -= 1;
    }
}

static double private_dirty_kb(void)
{
    char field[128];
    bench_file_field("/proc/self/smaps_rollup", "Private_Dirty", field, sizeof field);
    return strtod(field, NULL);
}

/* In the child: how much it dirtied, and for how long it worked. */
static void work(world *w, int to)
{
    if (w->runtime != NULL)
        neve_runtime_after_fork_child(w->runtime);
    (void)private_dirty_kb(); /* what reading it dirties, it has dirtied now */
    double result[2], before = private_dirty_kb(), began = bench_cpu_ns();
    if (w->how == COUNTED)
        touch_counts(w);
    else if (w->how != SIDE_TABLE)
        (void)collect_model(w);
    else if (neve_collect(neve_runtime_collector(w->runtime), 2, NULL) != NEVE_OK)
        _exit(1);
    result[1] = bench_cpu_ns() - began;
    result[0] = private_dirty_kb() - before;
    _exit(write(to, result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
}

/* One layout, in this process, which is another for each: prints "dirty time bytes". */
static int measure_here(layout how)
{
    static world w;
    int ends[2], status;
    double result[2] = {0};
    w.how = how;
    if (how == SIDE_TABLE)
        build_neve(&w);
    else
        build_model(&w);
    if (how != SIDE_TABLE && how != FROZEN && collect_model(&w) != CONTAINERS)
        return 1; /* all are held from outside: the model is wrong */
    if (pipe2(ends, O_CLOEXEC) != 0)
        return 1;
    /* That collection unlinked the list, and the child's has to find it linked. */
    w.list.next = w.list.prev = &w.list;
    for (size_t i = 0; how != SIDE_TABLE && how != FROZEN && i < CONTAINERS; i++)
        link_head(&w, head_of(&w, w.containers[i]));
    pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0)
        work(&w, ends[1]);
    close(ends[1]);
    bool done = read(ends[0], result, sizeof result) == (ssize_t)sizeof result;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    printf("%.0f %.0f %zu\n", result[0], result[1], w.container_bytes);
    return done && status == 0 ? 0 : 1;
}

/* ---- the table ---- */

#define RUNS 5

int main(int argc, char **argv)
{
    bool as_json = false;
    double dirty[LAYOUTS], time_ns[LAYOUTS], bytes[LAYOUTS];
    if (argc == 3 && strcmp(argv[1], "--layout") == 0)
        return measure_here((layout)strtol(argv[2], NULL, 10));
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf(
                "usage: bench_layouts [--json]\n\n"
                "What a full collection in a forked child dirties, by where the collector's state\n"
                "lies: 16,000 containers among 640,000 strings. Medians of 5 runs.\n");
            return 0;
        }
        if (strcmp(argv[i], "--json") != 0) {
            fprintf(stderr, "bench_layouts: unknown option '%s' (see --help)\n", argv[i]);
            return 2;
        }
        as_json = true;
    }
    for (int how = 0; how < LAYOUTS; how++) {
        double all[3][RUNS];
        for (int run = 0; run < RUNS; run++) {
            char word[16], output[256];
            snprintf(word, sizeof word, "%d", how);
            const char *arguments[] = {"--layout", word, NULL};
            if (!bench_run_self(arguments, NULL, -1, output, sizeof output) ||
                sscanf(output, "%lf %lf %lf", &all[0][run], &all[1][run], &all[2][run]) != 3) {
                fprintf(stderr, "bench_layouts: measuring '%s' failed\n", names[how]);
                return 1;
            }
        }
        dirty[how] = bench_median(all[0], RUNS);
        time_ns[how] = bench_median(all[1], RUNS);
        bytes[how] = bench_median(all[2], RUNS);
    }
    bench_machine machine;
    bench_machine_get(&machine);
    if (as_json)
        printf("[");
    else
        printf(
            "%s, %ld CPUs, %s, %s\n16,000 containers among 640,000 strings of 64 bytes; one full "
            "collection in a forked child; medians of %d\n\n%-34s %16s %18s %10s\n",
            machine.cpu, machine.cpus, machine.kernel, machine.date, RUNS, "layout",
            "private dirty kB", "bytes a container", "CPU ms");
    for (int how = 0; how < LAYOUTS; how++) {
        if (as_json)
            printf("%s{\"layout\": \"%s\", \"dirty_kb\": %.0f, \"bytes\": %.0f, \"cpu_ms\": %.3f}",
                   how == 0 ? "" : ", ", names[how], dirty[how], bytes[how], time_ns[how] / 1e6);
        else
            printf("%-34s %16.0f %18.0f %10.2f\n", names[how], dirty[how], bytes[how],
                   time_ns[how] / 1e6);
    }
    if (as_json)
        printf("]\n");
    return 0;
}
