/* SPDX-License-Identifier: MIT */
/*
 * The program `neve`: the table of its commands, and what it says of itself.
 */
#include "cli.h"

#include <neve/base.h>

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run a Python program, or any program that runs Python, on Neve", nvcli_run},
    {"cow", "what a forked process no longer shares, and what dirtied its pages", nvcli_cow},
    {"model", "the cost of collection for a web service, computed and measured", nvcli_model},
    {"bench", "experiments to repeat on this machine", nvcli_bench},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static int print_help(void)
{
    puts("usage: neve COMMAND [argument ...]\n"
         "\n"
         "Neve is a memory manager for CPython and for other runtimes that count references.\n"
         "\n"
         "commands");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-12s%s\n", commands[i].name, commands[i].summary);
    puts("\n"
         "options\n"
         "  -h, --help     print this and exit; after a command, its own help\n"
         "  -V, --version  print the version and exit\n"
         "\n"
         "The exit status is 0 if it was done, 1 if it failed, 2 if the command line cannot be\n"
         "followed; that of `neve run` is the program's.");
    return NVCLI_DONE;
}

/* Output that cannot be written is a failure, not something to pass over. */
static int finish(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return nvcli_error(NVCLI_FAILED, "cannot write to standard output");
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return nvcli_error(NVCLI_USAGE, "no command: see neve --help");
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return finish(print_help());
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("neve %s\n", neve_version());
        return finish(NVCLI_DONE);
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return finish(commands[i].run(argc - 1, argv + 1));
    return nvcli_error(NVCLI_USAGE, "unknown %s '%s': see neve --help",
                       *word == '-' ? "option" : "command", word);
}
