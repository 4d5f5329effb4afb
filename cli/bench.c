/* SPDX-License-Identifier: MIT */
/*
 * neve bench: the experiments that the program holds; each is a file bench_*.c and a line of the table.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} benchmarks[] = {
    {"cow", "what a collection in a forked child dirties, by where its state lies",
     nvcli_bench_cow},
};

enum { BENCHMARKS = sizeof benchmarks / sizeof *benchmarks };

static int print_help(void)
{
    puts("usage: neve bench NAME [option ...]\n"
         "\n"
         "Runs an experiment on this machine and prints what it measured.\n"
         "\n"
         "benchmarks");
    for (size_t i = 0; i < BENCHMARKS; i++)
        printf("  %-12s%s\n", benchmarks[i].name, benchmarks[i].summary);
    puts("\n"
         "options\n"
         "  -h, --help  print this and exit; after a benchmark, its own help\n"
         "\n"
         "More benchmarks, of Neve beside stock CPython and other allocators, come with the "
         "sources:\n"
         "make bench.");
    return NVCLI_DONE;
}

int nvcli_bench(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_help();
    for (size_t i = 0; i < BENCHMARKS; i++)
        if (strcmp(argv[1], benchmarks[i].name) == 0)
            return benchmarks[i].run(argc - 1, argv + 1);
    return nvcli_error(NVCLI_USAGE, "bench: unknown %s '%s': neve bench lists those that it knows",
                       *argv[1] == '-' ? "option" : "benchmark", argv[1]);
}
