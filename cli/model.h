/* SPDX-License-Identifier: MIT */
/*
 * What the files of `neve model` share: the service, the machine, and collections, predicted or measured.
 *
 *   model.c            the command line, the order of things
 *   model_calibrate.c  what a reference costs in each cache of this machine, and an object in the collector
 *   model_predict.c    the collections that the service will see, by rules and arithmetic alone
 *   model_run.c        the collections that it did see: the service on libneve
 *   model_report.c     tables and JSON
 *   model_plot.c       the picture
 *
 * (The model of the incremental cycle in tests/model is another thing.)
 */
#ifndef NVCLI_MODEL_H
#define NVCLI_MODEL_H

#include <neve.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_LEVELS = 4,       /* L1, L2, L3, memory */
    MODEL_MODES = 3,        /* those of neve_mode */
    MODEL_WORK_PARTS = 128, /* requests read one part after another of so much work_bytes */
};

/* A web service: each request keeps some objects for good. */
typedef struct model_service {
    double rate; /* requests a second */
    size_t kept, size, references;
    uint32_t thresholds[NEVE_GENERATIONS];
    size_t live; /* objects that are there, and old, before the first request */
    size_t requests;
    size_t pause_us;
    size_t work_bytes; /* that a request reads beside */
    double request_ms; /* what it takes without a collection */
} model_service;

/* For the marking or the verification of n objects: fixed_ns + n * object_ns, while all lies in L1. */
typedef struct model_cost {
    double fixed_ns, object_ns;
} model_cost;

typedef struct model_level {
    size_t bytes;    /* SIZE_MAX: memory */
    double ns;       /* a load that the next one has to wait for */
    double apart_ns; /* one of many that do not wait for one another */
} model_level;

typedef struct model_machine {
    model_level levels[MODEL_LEVELS];
    model_cost verify, mark;
    /* For which a process stands still that makes a child. */
    double fork_fixed_ns, fork_ns_per_mib;
} model_machine;

typedef struct model_collection {
    uint64_t kept;   /* objects that requests have kept by then */
    double objects;  /* looked at; none where a young set is passed on unverified */
    double ns;       /* processor time */
    int generation;  /* the oldest that was collected at once */
    bool ends_cycle; /* of the incremental and the snapshot mode */
} model_collection;

typedef struct model_timeline {
    model_collection *items;
    size_t count, capacity;
} model_timeline;

/* What a run tells besides its collections. */
typedef struct model_loop {
    double longest_cpu_ns, longest_wall_ns; /* of a request */
    uint64_t snapshots, snapshots_taken, late_slices, longest_fork_ns;
} model_loop;

typedef struct model_figures {
    size_t runs;        /* collections of a generation, or all */
    size_t looked;      /* of a generation, those that looked at any object */
    double objects, ns; /* medians of these */
    double longest_ns;  /* at once */
    double sum_ns;
} model_figures;

/* ---- model_predict.c ---- */

/* A block of the service's objects on this machine: a header of 16 bytes, references, the class. */
size_t model_block_bytes(const model_service *service);
/* The estimate as it was published, at 1 GHz: objects and nanoseconds of each generation. */
void model_estimate(const model_service *service, double objects[NEVE_GENERATIONS],
                    double ns[NEVE_GENERATIONS]);
/* References times latencies, nothing else, as the estimate counts; near_objects of them are
 * young or middle. */
double model_latencies_ns(const model_service *service, const model_machine *machine,
                          int generation, double objects, double near_objects);
/* How many requests lead to so many full collections, but at most `most`. */
size_t model_requests_for(const model_service *service, size_t full_collections, size_t most);
/* False: no memory. */
bool model_predict(const model_service *service, const model_machine *machine, neve_mode mode,
                   model_timeline *timeline);
bool model_timeline_add(model_timeline *timeline, model_collection collection);
/* Of the collections of a generation, or, where that is negative, of all. False: no memory. */
bool model_summarize(const model_timeline *timeline, int generation, model_figures *figures);

/* ---- model_calibrate.c ---- */

/* Latencies of the levels whose sizes are set. False: no memory. */
bool model_calibrate_latencies(model_machine *machine);
/* What the collector and fork() cost; false: something failed. */
bool model_calibrate_collector(const model_service *service, model_machine *machine);

/* ---- model_run.c ---- */

/* The service, in a process of its own; `has_collector` false: for comparison, without any
 * collection. False: it failed, most likely for want of memory. */
bool model_run(const model_service *service, neve_mode mode, bool has_collector,
               model_timeline *timeline, model_loop *loop);

/* `count` objects of the service in a new runtime, whose collector is off; those who need them free
 * nothing but the runtime. NULL: no memory. */
typedef struct model_population model_population;
model_population *model_populate(const model_service *service, neve_mode mode, size_t count,
                                 size_t room);
neve_runtime *model_population_runtime(model_population *population);
void model_population_destroy(model_population *population);

/* ---- model_report.c, model_plot.c ---- */

typedef struct model_report {
    model_service service;
    model_machine machine;
    double clock_ghz;
    bool is_calibrated, has_run;
    model_timeline predicted[MODEL_MODES], measured[MODEL_MODES];
    model_loop loops[MODEL_MODES], control;
} model_report;

const char *model_mode_name(neve_mode mode);
/* False: no memory. */
bool model_print_tables(const model_report *report);
bool model_print_json(const model_report *report);
/* An SVG, or a page with it if the name ends in .html. NVCLI_DONE, or a status after an error. */
int model_plot(const model_report *report, const char *path);

#endif
