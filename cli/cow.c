/* SPDX-License-Identifier: MIT */
/*
 * neve cow: what a process no longer shares with the one that it was forked from, and why.
 *
 * The looking is the library's (neve/cow.h); this file owns the command line and the
 * table for people, cow_html.c the picture.
 */
#include "cli.h"

#include <neve/cow.h>

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "usage: neve cow [options] PID\n"
    "\n"
    "Shows how much of a forked process's memory is still shared, and what made the rest private: "
    "by\n"
    "part of the memory, by cause, and for a Python program on Neve by type of object. The process "
    "is\n"
    "neither stopped nor changed. What changed is found by comparing with the memory at the fork, "
    "if\n"
    "the parent keeps a copy of it (neve.cow_reference(), NEVE_COW_REFERENCE=1), or else with the\n"
    "parent's memory as it is now.\n"
    "\n"
    "options\n"
    "  --against PID    compare with the memory of this process, a relative by fork\n"
    "  --every S        look every S seconds, until the process ends, and print a line each time: "
    "what\n"
    "                   is private and dirty, by main cause, in kB; with --json a report a line\n"
    "  --times N        with --every: look N times\n"
    "  --html FILE      write a picture of the pages, with the tables, to FILE; prints nothing "
    "else\n"
    "  --json           print JSON\n"
    "  --pages          with --json: every page as well\n"
    "  --types N        print at most N types of objects (default 20)\n"
    "  -h, --help       print this and exit\n"
    "\n"
    "One must be permitted to debug the process: its user, or root.\n"
    "\n"
    "The exit status is 0 if it was done, 1 if it failed, 2 if the command line cannot be "
    "followed.\n";

typedef struct cow_options {
    size_t pid, against; /* 0: not given */
    const char *html;    /* NULL: not given */
    bool is_json, has_pages;
    size_t types, every, times; /* the latter two 0: not given */
} cow_options;

static int parse(int argc, char **argv, cow_options *options)
{
    const nvcli_option table[] = {
        {"PID", NVCLI_COUNT, &options->pid, 1, INT_MAX},
        {"--against", NVCLI_COUNT, &options->against, 1, INT_MAX},
        {"--every", NVCLI_COUNT, &options->every, 1, INT_MAX},
        {"--times", NVCLI_COUNT, &options->times, 1, INT_MAX},
        {"--types", NVCLI_COUNT, &options->types, 0, INT_MAX},
        {"--html", NVCLI_TEXT, &options->html, 0, 0},
        {"--json", NVCLI_FLAG, &options->is_json, 0, 0},
        {"--pages", NVCLI_FLAG, &options->has_pages, 0, 0},
    };
    int status = nvcli_options_read("cow", argc, argv, table, sizeof table / sizeof *table);
    if (status != NVCLI_DONE)
        return status;
    if (options->pid == 0)
        return nvcli_error(NVCLI_USAGE, "cow: no process number: see neve cow --help");
    if (options->is_json && options->html != NULL)
        return nvcli_error(NVCLI_USAGE, "cow: choose one of --json and --html");
    if (options->times != 0 && options->every == 0)
        return nvcli_error(NVCLI_USAGE, "cow: --times needs --every");
    if (options->every != 0 && options->html != NULL)
        return nvcli_error(NVCLI_USAGE, "cow: choose one of --every and --html");
    if (options->has_pages && !options->is_json)
        return nvcli_error(NVCLI_USAGE, "cow: --pages needs --json");
    return NVCLI_DONE;
}

/* ---- the table ---- */

static double kib(const neve_cow_report *report, size_t pages)
{
    return (double)pages * (double)report->page_bytes / 1024.0;
}

static void print_head(const neve_cow_report *report)
{
    printf("process %d, ", report->pid);
    switch (report->basis) {
    case NEVE_COW_BASIS_NONE:
        puts("compared with nothing");
        break;
    case NEVE_COW_BASIS_PARENT:
        printf("compared with the memory of process %d now\n", report->basis_pid);
        break;
    case NEVE_COW_BASIS_REFERENCE:
        printf("compared with the copy that process %d keeps\n", report->basis_pid);
        break;
    }
    if (report->remark[0] != '\0')
        printf("note: %s\n", report->remark);
    printf("\nkB: shared %.0f, private clean %.0f, private dirty %.0f, Rss %.0f, Pss %.0f, "
           "swapped %.0f\n",
           (double)(report->shared_clean + report->shared_dirty) / 1024,
           (double)report->private_clean / 1024, (double)report->private_dirty / 1024,
           (double)report->rss / 1024, (double)report->pss / 1024, (double)report->swap / 1024);
}

static void print_areas(const neve_cow_report *report)
{
    printf("\n%-34s%10s%10s%10s%10s\n", "kB, by part of the memory", "shared", "clean", "dirty",
           "swapped");
    for (unsigned i = 0; i <= NEVE_COW_AREAS; i++) {
        const neve_cow_sum *sum = i < NEVE_COW_AREAS ? &report->areas[i] : &report->whole;
        const char *name = i < NEVE_COW_AREAS ? neve_cow_area_text((neve_cow_area)i) : "all";
        printf("%-34s", name);
        for (unsigned s = 0; s < NEVE_COW_STATES; s++)
            printf("%10.0f", kib(report, sum->pages[s]));
        putchar('\n');
    }
}

static void print_causes(const neve_cow_report *report)
{
    printf("\n%-62s%10s%12s%12s\n", "dirty pages, kB, by main cause", "kB", "any of it", "bytes");
    for (unsigned c = 0; c < NEVE_COW_CAUSES; c++)
        if (report->whole.causes[c] != 0)
            printf("%-62s%10.0f%12.0f%12llu\n", neve_cow_cause_text((neve_cow_cause)c),
                   kib(report, report->whole.main_causes[c]), kib(report, report->whole.causes[c]),
                   (unsigned long long)report->whole.bytes[c]);
}

static void print_types(const neve_cow_report *report, size_t limit)
{
    if (report->type_count == 0 || limit == 0)
        return;
    printf("\n%-30s%9s%9s%9s%10s%10s%10s%10s\n", "dirty pages by type of object", "kB", "alone",
           "same", "changed", "counts", "allocated", "freed");
    for (size_t i = 0; i < report->type_count && i < limit; i++) {
        const neve_cow_type *t = &report->types[i];
        printf("%-29.29s %9.0f%9.0f%9.0f%10zu%10zu%10zu%10zu\n", t->name, kib(report, t->pages),
               kib(report, t->pages_alone), kib(report, t->pages_same), t->changed, t->count_only,
               t->allocated, t->freed);
    }
    if (report->type_count > limit)
        printf("... and %zu more (--types)\n", report->type_count - limit);
}

/* ---- over time ---- */

/* Columns of main causes that belong together. */
static const struct {
    const char *title;
    neve_cow_cause first, last;
} columns[] = {
    {"new", NEVE_COW_CAUSE_NEW, NEVE_COW_CAUSE_NEW},
    {"same", NEVE_COW_CAUSE_SAME, NEVE_COW_CAUSE_SAME},
    {"counts", NEVE_COW_CAUSE_COUNT, NEVE_COW_CAUSE_COUNT},
    {"caches", NEVE_COW_CAUSE_HEAD, NEVE_COW_CAUSE_CACHE},
    {"blocks", NEVE_COW_CAUSE_LINK, NEVE_COW_CAUSE_ALLOCATED},
    {"contents", NEVE_COW_CAUSE_BODY, NEVE_COW_CAUSE_BODY},
    {"other", NEVE_COW_CAUSE_OTHER, NEVE_COW_CAUSE_OTHER},
    {"unknown", NEVE_COW_CAUSE_UNKNOWN, NEVE_COW_CAUSE_UNKNOWN},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void print_sample(const neve_cow_report *report, size_t seconds, bool is_first)
{
    if (is_first) {
        if (report->remark[0] != '\0')
            printf("note: %s\n", report->remark);
        printf("%9s%11s", "seconds", "kB dirty");
        for (unsigned i = 0; i < COLUMNS; i++)
            printf("%10s", columns[i].title);
        putchar('\n');
    }
    printf("%9zu%11.0f", seconds, kib(report, report->whole.pages[NEVE_COW_STATE_DIRTY]));
    for (unsigned i = 0; i < COLUMNS; i++) {
        size_t pages = 0;
        for (int c = (int)columns[i].first; c <= (int)columns[i].last; c++)
            pages += report->whole.main_causes[c];
        printf("%10.0f", kib(report, pages));
    }
    putchar('\n');
}

static void write_out(void *ctx, const char *text, size_t length)
{
    (void)fwrite(text, 1, length, ctx);
}

static int show(const neve_cow_report *report, const cow_options *options)
{
    if (options->html != NULL)
        return nvcli_cow_html(report, options->html);
    if (options->is_json) {
        neve_cow_write_json(report, options->has_pages, write_out, stdout);
        return NVCLI_DONE;
    }
    print_head(report);
    print_areas(report);
    print_causes(report);
    print_types(report, options->types);
    return NVCLI_DONE;
}

/* The end of the process is the end of the table, not a failure. */
static int watch(const cow_options *options)
{
    neve_cow_report *report;
    char problem[256];
    for (size_t i = 0; options->times == 0 || i < options->times; i++) {
        if (i > 0)
            sleep((unsigned)options->every);
        neve_status status =
            neve_cow_look((int)options->pid, (int)options->against, &report, problem);
        if (status == NEVE_EINVAL && i > 0)
            return NVCLI_DONE;
        if (status != NEVE_OK)
            return nvcli_error(NVCLI_FAILED, "cow: %s", problem);
        if (options->is_json)
            neve_cow_write_json(report, options->has_pages, write_out, stdout);
        else
            print_sample(report, i * options->every, i == 0);
        neve_cow_report_free(report);
        if (fflush(stdout) != 0)
            return NVCLI_DONE; /* main says so */
    }
    return NVCLI_DONE;
}

int nvcli_cow(int argc, char **argv)
{
    cow_options options = {.types = 20};
    if (nvcli_wants_help(argc, argv)) {
        fputs(usage, stdout);
        return NVCLI_DONE;
    }
    int status = parse(argc, argv, &options);
    if (status != NVCLI_DONE)
        return status;
    if (options.every != 0)
        return watch(&options);
    neve_cow_report *report;
    char problem[256];
    if (neve_cow_look((int)options.pid, (int)options.against, &report, problem) != NEVE_OK)
        return nvcli_error(NVCLI_FAILED, "cow: %s", problem);
    status = show(report, &options);
    neve_cow_report_free(report);
    return status;
}
