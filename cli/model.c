/* SPDX-License-Identifier: MIT */
/*
 * neve model: what collection costs a web service, computed and then measured. This file owns the command
 * line and the order of things; docs/model-service.md derives the figures.
 */
#include "model.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: neve model [options]\n"
    "\n"
    "What collection costs a web service whose requests keep objects for good: first the estimate "
    "as it\n"
    "was published, then a prediction for this machine, in each mode of the collector, beside what "
    "a run\n"
    "of the service on libneve gave.\n"
    "\n"
    "the service\n"
    "  --rate R           requests a second (default 100)\n"
    "  --kept N           objects that each keeps (default 20)\n"
    "  --size N           bytes of an object (default 24; in the run at least its header and "
    "references)\n"
    "  --references N     from each to others (default 2)\n"
    "  --live N           objects that are old before the first request (default 0)\n"
    "  --request-ms T     what a request takes without a collection (default 12)\n"
    "  --work SIZE        memory that a request of the run reads (default 64K)\n"
    "  --thresholds A,B,C of the generations (default 2000,10,10)\n"
    "  --pause-us N       that the incremental and the snapshot mode aim at (default 500)\n"
    "  --requests N       so many requests (default: until two full collections)\n"
    "  --seconds T        as many as come in T seconds\n"
    "\n"
    "the machine\n"
    "  --calibrate WHAT   yes (default): measure latencies, the collector's work on an object, and "
    "fork;\n"
    "                     no: the figures of the estimate, latencies alone\n"
    "  --l1 SIZE, --l2 SIZE, --l3 SIZE\n"
    "                     sizes of the caches (default: this machine's)\n"
    "  --latency A,B,C,D  cycles of a reference in L1, L2, L3 and memory (default: measured, or, "
    "with\n"
    "                     --calibrate no, 4,4,30,200)\n"
    "  --clock-ghz F      the clock that they are cycles of (default 1)\n"
    "\n"
    "  --no-run           predict only\n"
    "  --plot FILE        write a picture to FILE, which ends in .svg or .html\n"
    "  --json             print JSON\n"
    "  -h, --help         print this and exit\n"
    "\n"
    "The run does not wait between requests: it takes seconds, however long the service would.\n"
    "\n"
    "The exit status is 0 if it was done, 1 if it failed, 2 if the command line cannot be "
    "followed.\n";

/* Without --requests: at most so many objects are kept, some hundred megabytes. */
#define MOST_KEPT_BY_DEFAULT ((size_t)2000000)
#define MOST_OBJECTS 1e9
/* Of each some figures are kept, in each mode, predicted and measured: some gigabytes of them. */
#define MOST_COLLECTIONS 5e6

typedef struct model_options {
    model_report report;
    const char *thresholds, *latency, *calibrate, *plot;
    size_t caches[MODEL_LEVELS - 1];
    double seconds;
    bool no_run, is_json;
} model_options;

static const size_t cache_defaults[MODEL_LEVELS - 1] = {32 << 10, 1 << 20, 32 << 20};

/* `count` numbers with commas between them. */
static int read_list(const char *name, const char *text, double smallest, double largest,
                     size_t count, double *numbers)
{
    const char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        size_t length = strspn(at, "0123456789.");
        numbers[i] = length > 0 ? strtod(at, &end) : -1;
        bool is_last = i + 1 == count;
        if (end != at + length || *end != (is_last ? '\0' : ',') || !(numbers[i] >= smallest) ||
            numbers[i] > largest)
            return nvcli_error(NVCLI_USAGE,
                               "model: %s: '%s' is not %zu numbers from %.10g to %.10g with commas "
                               "between them: see neve model --help",
                               name, text, count, smallest, largest);
        at = end + 1;
    }
    return NVCLI_DONE;
}

static int set_thresholds(const char *text, model_service *service)
{
    double numbers[NEVE_GENERATIONS];
    int status = read_list("--thresholds", text, 0, 1e6, NEVE_GENERATIONS, numbers);
    for (int i = 0; i < NEVE_GENERATIONS && status == NVCLI_DONE; i++) {
        service->thresholds[i] = (uint32_t)numbers[i];
        if ((double)service->thresholds[i] != numbers[i])
            return nvcli_error(NVCLI_USAGE, "model: --thresholds: '%s' has a fraction in it", text);
    }
    if (status == NVCLI_DONE && service->thresholds[0] == 0)
        return nvcli_error(NVCLI_USAGE, "model: --thresholds: the first is at least 1: 0 would "
                                        "switch automatic collection off");
    return status;
}

static int set_sizes(const model_options *options, model_machine *machine)
{
    size_t before = 0;
    for (unsigned i = 0; i + 1 < MODEL_LEVELS; i++) {
        size_t bytes = options->caches[i];
        if (bytes == 0 && options->report.is_calibrated)
            bytes = nvcli_machine_cache_bytes(i + 1);
        if (bytes == 0)
            bytes = cache_defaults[i] > before ? cache_defaults[i] : before;
        if (bytes < before)
            return nvcli_error(NVCLI_USAGE,
                               "model: --l%u: it is smaller than the cache before it, of %zu bytes",
                               i + 1, before);
        machine->levels[i].bytes = before = bytes;
    }
    machine->levels[MODEL_LEVELS - 1].bytes = SIZE_MAX;
    return NVCLI_DONE;
}

static int set_requests(const model_options *options, model_service *service)
{
    if (options->seconds > 0 && service->requests > 0)
        return nvcli_error(NVCLI_USAGE, "model: choose one of --requests and --seconds");
    double requests = options->seconds > 0 ? options->seconds * service->rate : 0;
    if (options->seconds > 0 && requests < 1)
        return nvcli_error(NVCLI_USAGE,
                           "model: no request comes in these --seconds at this --rate");
    if (requests > 0 && requests < MOST_OBJECTS)
        service->requests = (size_t)requests;
    if (options->seconds == 0 && service->requests == 0) {
        size_t limit = MOST_KEPT_BY_DEFAULT / service->kept;
        service->requests = model_requests_for(service, 2, limit > 0 ? limit : 1);
    }
    if (requests >= MOST_OBJECTS ||
        (double)service->requests * (double)service->kept + (double)service->live > MOST_OBJECTS)
        return nvcli_error(NVCLI_USAGE,
                           "model: more than %.0f objects in all: choose fewer "
                           "requests, or fewer that they keep",
                           MOST_OBJECTS);
    if ((double)service->requests * (double)service->kept >
        MOST_COLLECTIONS * (service->thresholds[0] + 1.0))
        return nvcli_error(NVCLI_USAGE,
                           "model: more than %.0f collections: choose fewer requests, or a higher "
                           "first threshold",
                           MOST_COLLECTIONS);
    return NVCLI_DONE;
}

static int calibrate(const model_options *options, model_report *report)
{
    static const double textbook[MODEL_LEVELS] = {4, 4, 30, 200};
    model_machine *machine = &report->machine;
    double cycles[MODEL_LEVELS];
    memcpy(cycles, textbook, sizeof cycles);
    if (options->latency != NULL) {
        int status = read_list("--latency", options->latency, 0.01, 1e5, MODEL_LEVELS, cycles);
        if (status != NVCLI_DONE)
            return status;
    }
    if (report->is_calibrated && !model_calibrate_latencies(machine))
        return nvcli_error(NVCLI_FAILED, "model: measuring latencies failed, most likely for want "
                                         "of memory: try --calibrate no");
    if (!report->is_calibrated || options->latency != NULL)
        for (size_t i = 0; i < MODEL_LEVELS; i++)
            machine->levels[i].ns = machine->levels[i].apart_ns = cycles[i] / report->clock_ghz;
    if (report->is_calibrated && !model_calibrate_collector(&report->service, machine))
        return nvcli_error(NVCLI_FAILED, "model: measuring the collector failed: run it again, or "
                                         "with --calibrate no");
    return NVCLI_DONE;
}

static int parse(int argc, char **argv, model_options *options)
{
    model_report *report = &options->report;
    model_service *service = &report->service;
    const nvcli_option table[] = {
        {"--rate", NVCLI_REAL, &service->rate, 0.001, 1e7},
        {"--kept", NVCLI_COUNT, &service->kept, 1, 1e6},
        {"--size", NVCLI_COUNT, &service->size, 1, NEVE_SMALL_MAX},
        {"--references", NVCLI_COUNT, &service->references, 1, 60},
        {"--live", NVCLI_COUNT, &service->live, 0, MOST_OBJECTS},
        {"--request-ms", NVCLI_REAL, &service->request_ms, 0.001, 1e6},
        {"--work", NVCLI_BYTES, &service->work_bytes, 0, 1 << 30},
        {"--thresholds", NVCLI_TEXT, &options->thresholds, 0, 0},
        {"--pause-us", NVCLI_COUNT, &service->pause_us, 1, 60e6},
        {"--requests", NVCLI_COUNT, &service->requests, 1, MOST_OBJECTS},
        {"--seconds", NVCLI_REAL, &options->seconds, 0.001, 1e9},
        {"--calibrate", NVCLI_TEXT, &options->calibrate, 0, 0},
        {"--l1", NVCLI_BYTES, &options->caches[0], 1024, 1e12},
        {"--l2", NVCLI_BYTES, &options->caches[1], 1024, 1e12},
        {"--l3", NVCLI_BYTES, &options->caches[2], 1024, 1e12},
        {"--latency", NVCLI_TEXT, &options->latency, 0, 0},
        {"--clock-ghz", NVCLI_REAL, &report->clock_ghz, 0.001, 1000},
        {"--no-run", NVCLI_FLAG, &options->no_run, 0, 0},
        {"--plot", NVCLI_TEXT, &options->plot, 0, 0},
        {"--json", NVCLI_FLAG, &options->is_json, 0, 0},
    };
    int status = nvcli_options_read("model", argc, argv, table, sizeof table / sizeof *table);
    if (status != NVCLI_DONE)
        return status;
    const char *word = options->calibrate;
    if (word != NULL && strcmp(word, "yes") != 0 && strcmp(word, "no") != 0)
        return nvcli_error(NVCLI_USAGE, "model: --calibrate: '%s' is neither yes nor no", word);
    report->is_calibrated = word == NULL || *word == 'y';
    report->has_run = !options->no_run;
    size_t length = options->plot == NULL ? 0 : strlen(options->plot);
    if (options->plot != NULL && !(length > 4 && strcmp(options->plot + length - 4, ".svg") == 0) &&
        !(length > 5 && strcmp(options->plot + length - 5, ".html") == 0))
        return nvcli_error(NVCLI_USAGE, "model: --plot: '%s' ends neither in .svg nor in .html",
                           options->plot);
    if (options->thresholds != NULL)
        status = set_thresholds(options->thresholds, service);
    if (status == NVCLI_DONE)
        status = set_sizes(options, &report->machine);
    return status == NVCLI_DONE ? set_requests(options, service) : status;
}

/* All predictions come before the first run: none can know what was measured. */
static int predict_and_run(model_report *report)
{
    for (int mode = 0; mode < MODEL_MODES; mode++)
        if (!model_predict(&report->service, &report->machine, (neve_mode)mode,
                           &report->predicted[mode]))
            return nvcli_error(NVCLI_FAILED, "model: not enough memory: try fewer --requests");
    model_timeline nothing;
    bool is_run = !report->has_run || model_run(&report->service, NEVE_MODE_GENERATIONAL, false,
                                                &nothing, &report->control);
    for (int mode = 0; mode < MODEL_MODES && report->has_run && is_run; mode++)
        is_run = model_run(&report->service, (neve_mode)mode, true, &report->measured[mode],
                           &report->loops[mode]);
    return is_run ? NVCLI_DONE
                  : nvcli_error(NVCLI_FAILED, "model: the run failed, most likely for want of "
                                              "memory: try fewer --requests, or --no-run");
}

int nvcli_model(int argc, char **argv)
{
    model_options options = {.report = {.service = {.rate = 100,
                                                    .kept = 20,
                                                    .size = 24,
                                                    .references = 2,
                                                    .thresholds = {2000, 10, 10},
                                                    .pause_us = NEVE_DEFAULT_PAUSE_US,
                                                    .work_bytes = 64 << 10,
                                                    .request_ms = 12},
                                        .clock_ghz = 1}};
    model_report *report = &options.report;
    if (nvcli_wants_help(argc, argv)) {
        fputs(usage, stdout);
        return NVCLI_DONE;
    }
    int status = parse(argc, argv, &options);
    if (status == NVCLI_DONE)
        status = calibrate(&options, report);
    if (status == NVCLI_DONE)
        status = predict_and_run(report);
    if (status != NVCLI_DONE)
        return status;
    bool is_printed = options.is_json ? model_print_json(report) : model_print_tables(report);
    if (!is_printed)
        return nvcli_error(NVCLI_FAILED, "model: not enough memory");
    return options.plot != NULL ? model_plot(report, options.plot) : NVCLI_DONE;
}
