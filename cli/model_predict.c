/* SPDX-License-Identifier: MIT */
/*
 * neve model: the collections that a service will see. docs/model-service.md derives the rules.
 *
 * All objects survive, which is the worst case. A set of objects that is larger than a cache misses it at
 * every reference: it is walked from end to end, and what comes first is gone when it comes again.
 */
#include "model.h"

#include "cli.h"

#include <stdlib.h>

#define MIB 1048576.0

/* The rules of pacing, as docs/collector.md has them; a snapshot is taken from so many objects on. */
#define ROOM_LEAST 8192.0
#define ROOM_MOST 65536.0
#define GOAL_MIN 4096.0
#define SNAPSHOT_LEAST 100000.0
/* Which young sets the generational mode verifies where nobody dies: so many in a row, then one of
 * so many, and all once the heap has grown by more than a part, or by so many bytes. */
#define VAIN_LEAST 8u
#define PASS_PERIOD 4u
#define PASS_GROWTH (1.0 / 16)
#define PASS_GROWTH_LEAST (2 * MIB)
/* Where a child marks, so much of the cycle is left to the program: measured (docs/collector.md). */
#define LEFT_BY_CHILD 0.1
/* A run holds each object in an array, and on a shelf. */
#define HOLDER_BYTES (2.0 * sizeof(void *))

static double most(double a, double b)
{
    return a > b ? a : b;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

size_t model_block_bytes(const model_service *service)
{
    size_t bytes = sizeof(neve_object) + service->references * sizeof(void *);
    if (bytes < service->size)
        bytes = service->size;
    return (bytes + NEVE_GRANULE - 1) / NEVE_GRANULE * NEVE_GRANULE;
}

/* The level that a set of so many bytes fits into. */
static const model_level *level_of(const model_machine *machine, double bytes)
{
    size_t i = 0;
    while (i + 1 < MODEL_LEVELS && bytes > (double)machine->levels[i].bytes)
        i++;
    return &machine->levels[i];
}

void model_estimate(const model_service *service, double objects[NEVE_GENERATIONS],
                    double ns[NEVE_GENERATIONS])
{
    /* At 1 GHz a cycle is a nanosecond. */
    static const double near_cycles = 4, far_cycles = 30;
    double t0 = service->thresholds[0], t1 = service->thresholds[1], t2 = service->thresholds[2];
    double references = (double)service->references, old = t0 * t1 * t2;
    objects[0] = t0;
    objects[1] = t0 * (1 + t1);
    objects[2] = t0 * (1 + t1) * t2 + (double)service->live;
    ns[0] = objects[0] * references * near_cycles;
    ns[1] = objects[1] * references * near_cycles;
    ns[2] = (old + (double)service->live) * references * far_cycles +
            t0 * t2 * references * near_cycles;
}

/* Where the references of a collection lead to: `objects` in all, of which the near ones were written,
 * or collected, lately. */
typedef struct reach {
    const model_level *near, *far;
    double near_references, far_references;
} reach;

static reach reach_of(const model_service *service, const model_machine *machine, int generation,
                      double objects, double near_objects)
{
    double bytes = (double)model_block_bytes(service), references = (double)service->references;
    double near = generation < 2 ? 0 : near_objects;
    return (reach){.near = level_of(machine, near * bytes),
                   .far = level_of(machine, objects * bytes),
                   .near_references = near * references,
                   .far_references = (objects - near) * references};
}

double model_latencies_ns(const model_service *service, const model_machine *machine,
                          int generation, double objects, double near_objects)
{
    reach r = reach_of(service, machine, generation, objects, near_objects);
    return r.near_references * r.near->ns + r.far_references * r.far->ns;
}

/* The collector's work on the objects, and what the caches beyond the first add to that: it goes along a
 * vector, or a stack, so that its loads do not wait for one another. Where the work is not known, latencies
 * are all that there is. */
static double cost_ns(const model_service *service, const model_machine *machine, int generation,
                      double objects, double near_objects)
{
    const model_cost *cost = generation < 2 ? &machine->verify : &machine->mark;
    if (!(cost->object_ns > 0))
        return model_latencies_ns(service, machine, generation, objects, near_objects);
    reach r = reach_of(service, machine, generation, objects, near_objects);
    double l1_ns = machine->levels[0].apart_ns;
    return cost->fixed_ns + objects * cost->object_ns +
           r.near_references * (r.near->apart_ns - l1_ns) +
           r.far_references * (r.far->apart_ns - l1_ns);
}

/* ---- the generational mode: the rules are exact ---- */

typedef struct generations {
    double young, middle, old, total, pending; /* objects; the latter two of the 25% rule */
    uint32_t counts[NEVE_GENERATIONS];
    unsigned verified, turn; /* young sets; those that might have been passed on since */
    double unverified;       /* objects of the middle generation, and those verified in between */
} generations;

/* Whether the young set goes to the middle generation without a look at it. */
static bool passes_on(const model_service *service, generations *g)
{
    double block = (double)model_block_bytes(service);
    double held = (g->old + g->middle - g->unverified) * block;
    if (g->verified < VAIN_LEAST ||
        (g->unverified + g->young) * block > most(held * PASS_GROWTH, PASS_GROWTH_LEAST))
        return false;
    return ++g->turn % PASS_PERIOD != 0;
}

/* The next collection: one more than threshold 0 has been kept since the last. */
static int next_generation(const model_service *service, generations *g)
{
    const uint32_t *t = service->thresholds;
    int generation = 0;
    g->young = t[0] + 1.0;
    if (g->counts[2] > t[2] && g->pending >= (double)((size_t)g->total / 4))
        generation = 2;
    else if (g->counts[1] > t[1])
        generation = 1;
    for (int i = 0; i <= generation; i++)
        g->counts[i] = 0;
    if (generation < 2)
        g->counts[generation + 1]++;
    return generation;
}

static void promote(generations *g, int generation)
{
    if (generation == 0) {
        g->middle += g->young;
    } else {
        double moved = g->young + g->middle;
        g->old += moved;
        g->pending += moved;
        g->middle = 0;
    }
    g->young = 0;
    if (generation == 2) {
        g->total = g->old;
        g->pending = 0;
    }
}

static generations start_of(const model_service *service)
{
    return (generations){.old = (double)service->live, .total = (double)service->live};
}

size_t model_requests_for(const model_service *service, size_t full_collections, size_t limit)
{
    generations g = start_of(service);
    double kept = 0, objects = (double)limit * (double)service->kept;
    for (size_t full = 0; full < full_collections && kept < objects;) {
        int generation = next_generation(service, &g);
        kept += g.young;
        promote(&g, generation);
        full += generation == 2;
    }
    /* One request more, in which the last of them comes. */
    double requests = kept / (double)service->kept + 1;
    return requests < (double)limit ? (size_t)requests + 1 : limit;
}

static double kept_by(const model_service *service)
{
    return (double)service->requests * (double)service->kept;
}

static bool predict_generational(const model_service *service, const model_machine *machine,
                                 model_timeline *timeline)
{
    generations g = start_of(service);
    for (double kept = 0; kept + service->thresholds[0] + 1 <= kept_by(service);) {
        int generation = next_generation(service, &g);
        kept += g.young;
        double near = g.young + g.middle;
        double objects = generation == 0 ? g.young : generation == 1 ? near : near + g.old;
        double ns = cost_ns(service, machine, generation, objects, near);
        if (generation > 0) {
            g.unverified = 0;
        } else if (passes_on(service, &g)) {
            g.unverified += g.young;
            objects = 0;
            ns = machine->verify.fixed_ns;
        } else {
            g.verified++;
            g.unverified += g.unverified > 0 ? g.young : 0;
        }
        promote(&g, generation);
        if (!model_timeline_add(timeline, (model_collection){.kept = (uint64_t)kept,
                                                             .generation = generation,
                                                             .objects = objects,
                                                             .ns = ns}))
            return false;
    }
    return true;
}

/* ---- the other modes: the rules of pacing, without what they learn on the way ---- */

/* How much more than the population at the last cycle there may be. */
static double limit_of(const model_service *service, double base)
{
    const uint32_t *t = service->thresholds;
    double room = least(most((double)t[0] * t[1] * t[2], ROOM_LEAST), ROOM_MOST);
    return base + most(base / 4, room);
}

/* For how many promotions a cycle is to last: as many as let its slices fit. */
static double goal_of(double population, double cycle_ns, double slice_ns, double pace)
{
    double goal = (cycle_ns / slice_ns + 1) * pace;
    goal = most(goal, population / 24);
    goal = least(goal, population / 9);
    return most(goal, GOAL_MIN);
}

/* For a process that has so many objects. */
static double fork_ns(const model_service *service, const model_machine *machine, double population)
{
    double bytes = population * ((double)model_block_bytes(service) + HOLDER_BYTES) +
                   (double)service->work_bytes * MODEL_WORK_PARTS;
    return machine->fork_fixed_ns + bytes / MIB * machine->fork_ns_per_mib;
}

static bool predict_cycles(const model_service *service, const model_machine *machine,
                           bool has_snapshots, model_timeline *timeline)
{
    const double pace = service->thresholds[0] + 1.0, pause_ns = (double)service->pause_us * 1e3;
    double population = (double)service->live, base = population, middle = 0;
    double left_ns = 0, slice_ns = 0; /* of the cycle that is under way */
    for (double kept = pace; kept <= kept_by(service); kept += pace) {
        double candidates = pace + middle;
        double cycle_ns = cost_ns(service, machine, 2, population + candidates, candidates);
        double young_ns = cost_ns(service, machine, 0, pace, pace);
        double goal = goal_of(population, cycle_ns, most(pause_ns - young_ns, pause_ns / 4), pace);
        /* The middle generation is collected when two more young sets would not fit with it any
         * more, and before a cycle begins. */
        bool begins =
            left_ns <= 0 && population + candidates + goal * 3 / 4 >= limit_of(service, base);
        bool takes_middle =
            begins || cost_ns(service, machine, 1, candidates + 2 * pace, 0) > pause_ns * 3 / 4;
        model_collection now = {.kept = (uint64_t)kept,
                                .generation = takes_middle ? 1 : 0,
                                .objects = takes_middle ? candidates : pace};
        now.ns = cost_ns(service, machine, now.generation, now.objects, 0);
        middle = takes_middle ? 0 : candidates;
        population += takes_middle ? candidates : 0;
        if (begins) {
            base = population;
            bool is_marked_elsewhere = has_snapshots && population >= SNAPSHOT_LEAST;
            left_ns = is_marked_elsewhere ? cycle_ns * LEFT_BY_CHILD : cycle_ns;
            slice_ns = left_ns / most(goal / pace, 1);
            now.ns += is_marked_elsewhere ? fork_ns(service, machine, population) : 0;
        }
        if (left_ns > 0) {
            /* Where slices as long as the pause would come too late, they are longer. */
            double room_ns = (now.ns + slice_ns > pause_ns ? 2 : 1) * pause_ns - now.ns;
            double part_ns = least(least(slice_ns, most(room_ns, 0)), left_ns);
            left_ns -= part_ns;
            now.ns += part_ns;
            now.ends_cycle = left_ns <= 0;
        }
        if (!model_timeline_add(timeline, now))
            return false;
    }
    return true;
}

bool model_predict(const model_service *service, const model_machine *machine, neve_mode mode,
                   model_timeline *timeline)
{
    if (!neve_mode_has_cycles(mode))
        return predict_generational(service, machine, timeline);
    return predict_cycles(service, machine, mode == NEVE_MODE_SNAPSHOT, timeline);
}

/* ---- timelines ---- */

bool model_timeline_add(model_timeline *timeline, model_collection collection)
{
    if (timeline->count == timeline->capacity) {
        size_t capacity = timeline->capacity == 0 ? 256 : timeline->capacity * 2;
        model_collection *items = realloc(timeline->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        timeline->items = items;
        timeline->capacity = capacity;
    }
    timeline->items[timeline->count++] = collection;
    return true;
}

bool model_summarize(const model_timeline *timeline, int generation, model_figures *figures)
{
    *figures = (model_figures){0};
    double *values = malloc((timeline->count + 1) * 2 * sizeof *values);
    double *times = values + timeline->count;
    if (values == NULL)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < timeline->count; i++) {
        const model_collection *c = &timeline->items[i];
        if (generation >= 0 && c->generation != generation)
            continue;
        figures->runs++;
        figures->sum_ns += c->ns;
        figures->longest_ns = most(figures->longest_ns, c->ns);
        if (generation >= 0 && !(c->objects > 0))
            continue;
        values[n] = c->objects;
        times[n++] = c->ns;
    }
    figures->objects = nvcli_median(values, n);
    figures->ns = nvcli_median(times, n);
    figures->looked = n;
    free(values);
    return true;
}
