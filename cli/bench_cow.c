/* SPDX-License-Identifier: MIT */
/*
 * neve bench cow: what a full collection in a forked child costs in private dirty memory, by where the
 * collector keeps its state. The layouts are those of bench/models; each measurement has a process of its
 * own, which builds the heap, collects once, and forks the child that is measured.
 */
#include "cli.h"

#include "bench/models/layouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: neve bench cow [options]\n"
    "\n"
    "The experiment that led to gc.freeze. Lists and strings are made in turn, a child is forked "
    "and\n"
    "collects all lists, of which none is garbage: what it has written then is not shared any "
    "more.\n"
    "\n"
    "options\n"
    "  --lists N      so many lists (default 16000); --objects N is the same\n"
    "  --strings N    so many distinct strings among them (default 640000)\n"
    "  --layout LIST  these layouts only, as in in-front,frozen\n"
    "  --runs N       each is measured N times, in turns; medians are shown (default 5)\n"
    "  --json         print JSON\n"
    "  -h, --help     print this and exit\n"
    "\n"
    "layouts\n";

static const char columns[] =
    "\n"
    "columns\n"
    "  dirty kB      by how much the child's private dirty memory grew by the collection\n"
    "  bytes a list  what a list takes with all that the collector keeps for it; 32 without that\n"
    "  parent ms     processor time of a collection before the fork\n"
    "  child ms      of the one in the child, the copies of the pages included\n"
    "\n"
    "The exit status is 0 if it was done, 1 if it failed, 2 if the command line cannot be "
    "followed.\n";

static const layout *const layouts[] = {
    &layout_in_front,  &layout_dense,       &layout_frozen,
    &layout_own_pages, &layout_side_tables, &layout_counts,
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, MOST_RUNS = 99 };

/* What the issue of CPython's tracker that led to gc.freeze was about, in its own figures. */
#define HOST_OBJECTS 1e6
#define HOST_PROCESSES 70.0

typedef struct figures {
    double dirty_kb, list_bytes, parent_ms, child_ms;
} figures;

typedef struct bench_options {
    layout_plan plan;
    size_t runs;
    const char *names;
    bool is_json;
} bench_options;

typedef struct job {
    const layout *how;
    layout_plan plan;
    void *world;
} job;

static double private_dirty_kb(void)
{
    char line[256];
    double kb = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Private_Dirty: %lf", &kb) == 1)
            break;
    fclose(file);
    return kb;
}

/* In the child that is measured. */
static bool measure_child(void *arg, int to)
{
    job *j = arg;
    figures result = {0};
    if (j->how->after_fork_in_child != NULL)
        j->how->after_fork_in_child(j->world);
    (void)private_dirty_kb(); /* what looking dirties is dirty now */
    double before_kb = private_dirty_kb(), begin_s = nvcli_cpu_s();
    bool is_right = j->how->work(j->world);
    result.child_ms = (nvcli_cpu_s() - begin_s) * 1e3;
    double after_kb = private_dirty_kb();
    result.dirty_kb = after_kb - before_kb;
    return is_right && before_kb >= 0 && after_kb >= 0 &&
           nvcli_write_all(to, &result, sizeof result);
}

/* In a process for this layout alone. */
static bool measure_here(void *arg, int to)
{
    job *j = arg;
    figures result = {0};
    nvcli_child child;
    j->world = j->how->build(&j->plan);
    /* Once to warm up: everything gets old, and tables are mapped for the first time. */
    if (j->world == NULL || !j->how->work(j->world))
        return false;
    double begin_s = nvcli_cpu_s();
    if (!j->how->work(j->world))
        return false;
    double parent_ms = (nvcli_cpu_s() - begin_s) * 1e3;
    if (j->how->before_fork != NULL)
        j->how->before_fork(j->world);
    if (nvcli_child_begin(&child, measure_child, j) != 0)
        return false;
    bool is_read = nvcli_read_all(child.from, &result, sizeof result);
    result.parent_ms = parent_ms;
    result.list_bytes = j->how->list_bytes(j->world);
    return nvcli_child_end(&child) && is_read && nvcli_write_all(to, &result, sizeof result);
}

static bool measure(const layout *how, const layout_plan *plan, figures *result)
{
    job j = {.how = how, .plan = *plan};
    nvcli_child child;
    if (nvcli_child_begin(&child, measure_here, &j) != 0)
        return false;
    bool is_read = nvcli_read_all(child.from, result, sizeof *result);
    return nvcli_child_end(&child) && is_read;
}

/* Sets which[] for each layout of the list. */
static int choose(const char *names, bool which[LAYOUTS])
{
    for (size_t i = 0; i < LAYOUTS; i++)
        which[i] = names == NULL;
    for (const char *name = names; name != NULL;) {
        size_t length = strcspn(name, ","), i = 0;
        while (i < LAYOUTS &&
               (strlen(layouts[i]->name) != length || strncmp(layouts[i]->name, name, length) != 0))
            i++;
        if (i == LAYOUTS)
            return nvcli_error(NVCLI_USAGE,
                               "bench cow: unknown layout '%.*s': see neve bench cow --help",
                               (int)length, name);
        which[i] = true;
        name = name[length] == ',' ? name + length + 1 : NULL;
    }
    return NVCLI_DONE;
}

static figures median_of(const figures *runs, size_t count)
{
    double values[4][MOST_RUNS];
    for (size_t i = 0; i < count; i++) {
        values[0][i] = runs[i].dirty_kb;
        values[1][i] = runs[i].list_bytes;
        values[2][i] = runs[i].parent_ms;
        values[3][i] = runs[i].child_ms;
    }
    return (figures){nvcli_median(values[0], count), nvcli_median(values[1], count),
                     nvcli_median(values[2], count), nvcli_median(values[3], count)};
}

/* ---- what it says ---- */

static size_t index_of(const layout *how)
{
    size_t i = 0;
    while (layouts[i] != how)
        i++;
    return i;
}

/* Bytes for each list that heads elsewhere cost over heads in front; negative: not measured. */
static double price_bytes(const bool which[LAYOUTS], const figures *all)
{
    size_t dense = index_of(&layout_dense), in_front = index_of(&layout_in_front);
    return which[dense] && which[in_front] ? all[dense].list_bytes - all[in_front].list_bytes : -1;
}

static void print_reports(const bool which[LAYOUTS], const figures *all)
{
    size_t in_front = index_of(&layout_in_front), frozen = index_of(&layout_frozen),
           own_pages = index_of(&layout_own_pages);
    puts(
        "\nThe reports that this reproduces, from a web service with a parent and forked workers:");
    printf("  private memory of a child, 60 MB as it was, 0.9 MB with the remedy");
    if (which[in_front] && (which[frozen] || which[own_pages]))
        printf(";\n    here %.1f MB", all[in_front].dirty_kb / 1024);
    if (which[in_front] && which[frozen])
        printf(", %.2f MB frozen", all[frozen].dirty_kb / 1024);
    if (which[in_front] && which[own_pages])
        printf(", %.2f MB in pages of their own", all[own_pages].dirty_kb / 1024);
    printf("\n  heads elsewhere cost 16 bytes an object, about 1 GB a host");
    double price = price_bytes(which, all);
    if (price >= 0)
        printf(";\n    here %.0f bytes: for a million objects in each of 70 processes %.2f GB",
               price, price * HOST_OBJECTS * HOST_PROCESSES / 1e9);
    putchar('\n');
}

static void print_table(const bench_options *options, const bool which[LAYOUTS], const figures *all)
{
    nvcli_machine machine;
    nvcli_machine_get(&machine);
    nvcli_machine_print(&machine);
    printf("%zu lists among %zu strings of %d bytes; medians of %zu\n\n%-46s%11s%14s%12s%11s\n",
           options->plan.lists, options->plan.strings, LAYOUT_STRING_BYTES, options->runs, "layout",
           "dirty kB", "bytes a list", "parent ms", "child ms");
    for (size_t i = 0; i < LAYOUTS; i++)
        if (which[i])
            printf("%-46s%11.0f%14.1f%12.2f%11.2f\n", layouts[i]->title, all[i].dirty_kb,
                   all[i].list_bytes, all[i].parent_ms, all[i].child_ms);
    print_reports(which, all);
}

static void print_json(const bench_options *options, const bool which[LAYOUTS], const figures *all)
{
    nvcli_machine machine;
    nvcli_machine_get(&machine);
    printf("{\"benchmark\": \"cow\", ");
    nvcli_machine_print_json(&machine);
    printf(", \"lists\": %zu, \"strings\": %zu, \"runs\": %zu, \"layouts\": [", options->plan.lists,
           options->plan.strings, options->runs);
    const char *separator = "";
    for (size_t i = 0; i < LAYOUTS; i++) {
        if (!which[i])
            continue;
        printf("%s\n  {\"layout\": \"%s\", \"dirty_kb\": %.0f, \"bytes_per_list\": %.1f, "
               "\"parent_ms\": %.4f, \"child_ms\": %.4f}",
               separator, layouts[i]->name, all[i].dirty_kb, all[i].list_bytes, all[i].parent_ms,
               all[i].child_ms);
        separator = ",";
    }
    printf("]");
    double price = price_bytes(which, all);
    if (price >= 0)
        printf(", \"price_bytes\": %.1f, \"price_gb_per_host\": %.3f", price,
               price * HOST_OBJECTS * HOST_PROCESSES / 1e9);
    puts("}");
}

static int print_help(void)
{
    fputs(usage, stdout);
    for (size_t i = 0; i < LAYOUTS; i++)
        printf("  %-13s%s\n", layouts[i]->name, layouts[i]->title);
    fputs(columns, stdout);
    return NVCLI_DONE;
}

int nvcli_bench_cow(int argc, char **argv)
{
    bench_options options = {.plan = {.lists = 16000, .strings = 640000}, .runs = 5};
    const nvcli_option table[] = {
        {"--lists", NVCLI_COUNT, &options.plan.lists, 1, 50e6},
        {"--objects", NVCLI_COUNT, &options.plan.lists, 1, 50e6},
        {"--strings", NVCLI_COUNT, &options.plan.strings, 0, 500e6},
        {"--runs", NVCLI_COUNT, &options.runs, 1, MOST_RUNS},
        {"--layout", NVCLI_TEXT, &options.names, 0, 0},
        {"--json", NVCLI_FLAG, &options.is_json, 0, 0},
    };
    if (nvcli_wants_help(argc, argv))
        return print_help();
    int status = nvcli_options_read("bench cow", argc, argv, table, sizeof table / sizeof *table);
    bool which[LAYOUTS];
    if (status != NVCLI_DONE || (status = choose(options.names, which)) != NVCLI_DONE)
        return status;

    static figures runs[LAYOUTS][MOST_RUNS];
    figures all[LAYOUTS] = {{0}};
    for (size_t run = 0; run < options.runs; run++)
        for (size_t i = 0; i < LAYOUTS; i++)
            if (which[i] && !measure(layouts[i], &options.plan, &runs[i][run]))
                return nvcli_error(NVCLI_FAILED,
                                   "bench cow: measuring '%s' failed: there may not be enough "
                                   "memory; try fewer --lists and --strings",
                                   layouts[i]->name);
    for (size_t i = 0; i < LAYOUTS; i++)
        if (which[i])
            all[i] = median_of(runs[i], options.runs);
    if (options.is_json)
        print_json(&options, which, all);
    else
        print_table(&options, which, all);
    return NVCLI_DONE;
}
