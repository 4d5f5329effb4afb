/* SPDX-License-Identifier: MIT */
/*
 * neve model: the service on libneve, with the collector as it is. Requests follow one another at once:
 * nothing in a generation's cost depends on how long the service waits between them, but for what its
 * caches hold, and for that each request reads some memory.
 */
#include "model.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the service's objects ---- */

typedef struct node {
    neve_object base;
    neve_object *references[];
} node;

typedef struct node_type {
    neve_type base;
    size_t references;
} node_type;

/* What requests keep is held by shelves, which are roots and there from the beginning. */
enum { SHELF_LENGTH = 512 };

typedef struct shelf {
    neve_var_object base;
    neve_object *slots[];
} shelf;

struct model_population {
    node_type type; /* first, so that its address is that of a type */
    neve_runtime *runtime;
    neve_object **objects; /* borrowed */
    size_t count;
    neve_object **shelves;
    uint64_t random;
};

static void visit_all(neve_object **slots, size_t count, neve_visit_fn visit, void *arg)
{
    for (size_t i = 0; i < count; i++)
        if (slots[i] != NULL && visit(slots[i], arg) != 0)
            return;
}

static void clear_all(neve_runtime *runtime, neve_object **slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        neve_clear_slot(runtime, &slots[i]);
}

static size_t references_of(const neve_object *object)
{
    return ((const node_type *)(const void *)neve_type_of(object))->references;
}

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    visit_all(((node *)object)->references, references_of(object), visit, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    clear_all(runtime, ((node *)object)->references, references_of(object));
}

static void shelf_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    visit_all(((shelf *)object)->slots, SHELF_LENGTH, visit, arg);
}

static void shelf_clear(neve_runtime *runtime, neve_object *object)
{
    clear_all(runtime, ((shelf *)object)->slots, SHELF_LENGTH);
}

static const neve_type shelf_type = {.name = "shelf",
                                     .size = sizeof(shelf),
                                     .item_size = sizeof(neve_object *),
                                     .flags = NEVE_TYPE_CONTAINER,
                                     .traverse = shelf_traverse,
                                     .clear = shelf_clear};

/* xorshift64* (Vigna 2016); the state is never 0. */
static size_t random_below(uint64_t *state, size_t limit)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (size_t)((x * UINT64_C(2685821657736338717) >> 16) % limit);
}

/* One object more, which refers to random ones that were kept before. */
static bool keep(model_population *p)
{
    node *made = (node *)neve_object_new(p->runtime, &p->type.base);
    if (made == NULL)
        return false;
    for (size_t i = 0; i < p->type.references && p->count > 0; i++)
        made->references[i] = neve_retain(p->objects[random_below(&p->random, p->count)]);
    p->objects[p->count] = &made->base;
    ((shelf *)p->shelves[p->count / SHELF_LENGTH])->slots[p->count % SHELF_LENGTH] = &made->base;
    p->count++;
    return true;
}

static bool make_shelves(model_population *p, size_t count)
{
    p->shelves = calloc(count, sizeof *p->shelves);
    if (p->shelves == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        p->shelves[i] = neve_object_new_var(p->runtime, &shelf_type, SHELF_LENGTH);
        if (p->shelves[i] == NULL || neve_root_add(p->runtime, &p->shelves[i]) != NEVE_OK)
            return false;
    }
    return true;
}

model_population *model_populate(const model_service *service, neve_mode mode, size_t count,
                                 size_t room)
{
    model_population *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->type = (node_type){.base = {.name = "kept",
                                   .size = model_block_bytes(service),
                                   .flags = NEVE_TYPE_CONTAINER,
                                   .traverse = node_traverse,
                                   .clear = node_clear},
                          .references = service->references};
    p->random = 42;
    neve_collector_options collect = {
        .struct_size = sizeof collect, .mode = mode, .pause_us = (uint32_t)service->pause_us};
    for (int i = 0; i < NEVE_GENERATIONS; i++)
        collect.thresholds[i] = service->thresholds[i];
    const neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect};
    p->objects = calloc(count + room + 1, sizeof *p->objects);
    bool is_made = p->objects != NULL && neve_runtime_create(&options, &p->runtime) == NEVE_OK;
    if (is_made) {
        neve_collector *collector = neve_runtime_collector(p->runtime);
        neve_collector_disable(collector);
        /* They are old from the beginning: no young collection looks at them. */
        is_made = make_shelves(p, (count + room) / SHELF_LENGTH + 1) &&
                  neve_collect(collector, 2, NULL) == NEVE_OK;
    }
    while (is_made && p->count < count)
        is_made = keep(p);
    if (!is_made) {
        model_population_destroy(p);
        return NULL;
    }
    return p;
}

neve_runtime *model_population_runtime(model_population *population)
{
    return population->runtime;
}

void model_population_destroy(model_population *p)
{
    neve_runtime_destroy(p->runtime);
    free(p->objects);
    free(p->shelves);
    free(p);
}

/* ---- the collections, as a listener sees them ---- */

static double thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

typedef struct recorder {
    model_timeline timeline;
    model_population *population;
    double begin_ns;
    size_t live;
    bool has_failed, is_new;
} recorder;

static void record_begin(void *ctx, const neve_collection *collection)
{
    (void)collection;
    ((recorder *)ctx)->begin_ns = thread_cpu_ns();
}

static void record_end(void *ctx, const neve_collection *collection)
{
    recorder *r = ctx;
    model_collection seen = {
        .kept = r->population->count - r->live,
        .objects = (double)(collection->marked + collection->candidates),
        .ns = thread_cpu_ns() - r->begin_ns,
        .generation = collection->generation,
        .ends_cycle = collection->ended_cycle,
    };
    r->is_new = true;
    if (!model_timeline_add(&r->timeline, seen))
        r->has_failed = true;
}

static void record_failure(void *ctx, const neve_collection *collection, neve_status status)
{
    (void)collection;
    (void)status;
    ((recorder *)ctx)->has_failed = true;
}

/* ---- the requests ---- */

/* While a child marks, requests come so far apart at most: it needs time, of which they leave none. */
#define CHILD_WAIT_NS 2000000.0

typedef struct run_job {
    const model_service *service;
    neve_mode mode;
    bool has_collector;
} run_job;

static uint64_t read_memory(const char *memory, size_t bytes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i += 64)
        sum += *(const volatile unsigned char *)(memory + i);
    return sum;
}

static bool is_marking_elsewhere(neve_collector *collector)
{
    neve_collector_stats stats;
    neve_collector_get_stats(collector, &stats);
    uint64_t ended = stats.cycle.snapshots_taken;
    for (int i = 0; i < NEVE_SNAPSHOT_FAILURES; i++)
        ended += stats.cycle.snapshot_failures[i];
    return stats.cycle.snapshots > ended;
}

static void wait_for_child(const model_service *service)
{
    double ns = 1e9 / service->rate;
    struct timespec pause = {.tv_nsec = (long)(ns < CHILD_WAIT_NS ? ns : CHILD_WAIT_NS)};
    (void)nanosleep(&pause, NULL);
}

static bool serve(const run_job *job, recorder *r, model_loop *loop)
{
    const model_service *service = job->service;
    model_population *p = r->population;
    neve_collector *collector = neve_runtime_collector(p->runtime);
    const neve_eval_breaker *breaker = neve_collector_breaker(collector);
    char *memory = malloc(service->work_bytes * MODEL_WORK_PARTS + 1);
    bool is_waiting = false;
    if (memory == NULL)
        return false;
    memset(memory, 1, service->work_bytes * MODEL_WORK_PARTS);
    for (size_t request = 0; request < service->requests && !r->has_failed; request++) {
        double cpu_ns = thread_cpu_ns(), wall_s = nvcli_wall_s();
        (void)read_memory(memory + request % MODEL_WORK_PARTS * service->work_bytes,
                          service->work_bytes);
        for (size_t i = 0; i < service->kept; i++) {
            if (!keep(p))
                return false;
            neve_poll(collector, breaker);
        }
        double request_cpu_ns = thread_cpu_ns() - cpu_ns;
        double request_wall_ns = (nvcli_wall_s() - wall_s) * 1e9;
        if (loop->longest_cpu_ns < request_cpu_ns)
            loop->longest_cpu_ns = request_cpu_ns;
        if (loop->longest_wall_ns < request_wall_ns)
            loop->longest_wall_ns = request_wall_ns;
        if (job->mode == NEVE_MODE_SNAPSHOT && r->is_new)
            is_waiting = is_marking_elsewhere(collector);
        r->is_new = false;
        if (is_waiting)
            wait_for_child(service);
    }
    free(memory);
    return !r->has_failed;
}

static bool run_here(void *arg, int to)
{
    const run_job *job = arg;
    const model_service *service = job->service;
    model_loop loop = {0};
    recorder r = {.live = service->live};
    r.population =
        model_populate(service, job->mode, service->live, service->requests * service->kept);
    if (r.population == NULL)
        return false;
    neve_collector *collector = neve_runtime_collector(r.population->runtime);
    /* What there is gets old before the first request. */
    if (neve_collect(collector, 2, NULL) != NEVE_OK)
        return false;
    const neve_listener listener = {
        .begin = record_begin, .end = record_end, .failed = record_failure, .ctx = &r};
    neve_collector_set_listener(collector, &listener);
    if (job->has_collector)
        neve_collector_enable(collector);
    if (!serve(job, &r, &loop))
        return false;
    neve_collector_set_listener(collector, NULL);
    neve_collector_stats stats;
    neve_collector_get_stats(collector, &stats);
    loop.snapshots = stats.cycle.snapshots;
    loop.snapshots_taken = stats.cycle.snapshots_taken;
    loop.late_slices = stats.cycle.late_slices;
    loop.longest_fork_ns = stats.cycle.longest_fork_ns;
    neve_collector_end_snapshot(collector);
    size_t count = r.timeline.count;
    return nvcli_write_all(to, &loop, sizeof loop) && nvcli_write_all(to, &count, sizeof count) &&
           nvcli_write_all(to, r.timeline.items, count * sizeof *r.timeline.items);
}

bool model_run(const model_service *service, neve_mode mode, bool has_collector,
               model_timeline *timeline, model_loop *loop)
{
    run_job job = {.service = service, .mode = mode, .has_collector = has_collector};
    nvcli_child child;
    size_t count = 0;
    *timeline = (model_timeline){0};
    if (nvcli_child_begin(&child, run_here, &job) != 0)
        return false;
    bool is_read = nvcli_read_all(child.from, loop, sizeof *loop) &&
                   nvcli_read_all(child.from, &count, sizeof count);
    if (is_read && count > 0) {
        timeline->items = calloc(count, sizeof *timeline->items);
        timeline->count = timeline->capacity = count;
        is_read = timeline->items != NULL &&
                  nvcli_read_all(child.from, timeline->items, count * sizeof *timeline->items);
    }
    return nvcli_child_end(&child) && is_read;
}
