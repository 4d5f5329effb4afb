/* SPDX-License-Identifier: MIT */
/*
 * What the files of the program `neve` share.
 *
 *   main.c         the table of commands, --help, --version
 *   run.c          neve run
 *   cow.c          neve cow: the command line, the table
 *   cow_html.c     ... the picture
 *   bench.c        neve bench: the table of benchmarks
 *   bench_cow.c    neve bench cow; the layouts that it compares are in bench/models
 *   model.c        neve model; what its files share is in model.h
 *   interpreter.c  which Python, and where the package for it is
 *   options.c      the options of a command, from a table
 *   machine.c      what the machine is, its caches
 *   measure.c      clocks, medians, processes for measurements
 *   support.c      errors, strings, programs in PATH
 *
 * A command is a function of its own file and a line of the table in main.c.
 * Exit status: 0 done, 1 it failed, 2 the command line cannot be followed; an
 * error is one line on standard error that says what to do. The program is
 * short-lived and single-threaded, and ends in an exec or in an exit, so
 * strings are not freed.
 */
#ifndef NVCLI_CLI_H
#define NVCLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum { NVCLI_DONE = 0, NVCLI_FAILED = 1, NVCLI_USAGE = 2 };

/* ---- commands; argv[0] is the command's name ---- */

int nvcli_run(int argc, char **argv);
int nvcli_cow(int argc, char **argv);
int nvcli_bench(int argc, char **argv);
int nvcli_bench_cow(int argc, char **argv);
int nvcli_model(int argc, char **argv);

/* ---- cow_html.c ---- */

struct neve_cow_report;
/* Writes the file; NVCLI_DONE, or the status to exit with after an error was printed. */
int nvcli_cow_html(const struct neve_cow_report *report, const char *path);

/* ---- options.c ---- */

typedef enum nvcli_kind {
    NVCLI_FLAG,  /* without a value; sets a bool */
    NVCLI_COUNT, /* a whole number, into a size_t */
    NVCLI_BYTES, /* the same, with K, M or G behind it, or not */
    NVCLI_REAL,  /* a double */
    NVCLI_TEXT,  /* a const char * into argv, not empty */
} nvcli_kind;

typedef struct nvcli_option {
    const char *name; /* "--name" */
    nvcli_kind kind;
    void *value;        /* where it goes; unchanged if the option is not given */
    double least, most; /* of numbers */
} nvcli_option;

bool nvcli_wants_help(int argc, char **argv);
/* Reads all of argv from argv[1] on; `command` is for messages ("bench cow").
 * NVCLI_DONE, or the status to exit with after an error was printed. */
int nvcli_options_read(const char *command, int argc, char **argv, const nvcli_option *options,
                       size_t count);

/* ---- machine.c ---- */

typedef struct nvcli_machine {
    char cpu[128], kernel[256], date[24];
    long cpus;
} nvcli_machine;

void nvcli_machine_get(nvcli_machine *machine);
void nvcli_machine_print(const nvcli_machine *machine);
/* As a member of an object: "machine": {...} */
void nvcli_machine_print_json(const nvcli_machine *machine);
/* Of the first processor's cache of this level (for data, if there is one); 0: unknown. */
size_t nvcli_machine_cache_bytes(unsigned level);

/* ---- measure.c ---- */

double nvcli_cpu_s(void); /* of the process */
double nvcli_wall_s(void);
/* `values` are sorted on return; 0 of none. */
double nvcli_median(double *values, size_t count);
void nvcli_print_json_string(const char *text);
/* All bytes, or false. */
bool nvcli_write_all(int file, const void *data, size_t bytes);
bool nvcli_read_all(int file, void *data, size_t bytes);

typedef struct nvcli_child {
    pid_t pid;
    int from; /* what it writes into its `to` */
} nvcli_child;
/* Forks a child that ends with work(); 0, or -1 if there is none. Every child must be ended. */
int nvcli_child_begin(nvcli_child *child, bool (*work)(void *arg, int to), void *arg);
/* Waits for its end; whether `work` returned true. */
bool nvcli_child_end(nvcli_child *child);

/* ---- support.c ---- */

/* Prints "neve: " and the message as one line; returns `status`. */
int nvcli_error(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As printf, into new memory; ends the process where there is none. */
char *nvcli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The value of a variable, or NULL if it is unset or empty. */
const char *nvcli_env(const char *name);
bool nvcli_is_file(const char *path);
/* Opens a file that is to replace `path`, whole or not at all; NULL after an error was printed in
 * the name of `command`. */
FILE *nvcli_replacement_begin(const char *command, const char *path);
/* Closes it, and puts it in its place; NVCLI_DONE, or the status to exit with after an error. */
int nvcli_replacement_finish(const char *command, const char *path, FILE *file);
/* The file that a shell would run for the name: the name itself if it holds a
 * slash and can be run, else the first in PATH; NULL if there is none. */
char *nvcli_find_program(const char *name);

/* ---- interpreter.c ---- */

typedef struct nvcli_interpreter {
    const char *path;  /* as it is to be executed: links lead to virtual environments */
    char version[32];  /* "3.11.2" */
    char tag[64];      /* its cache tag, "cpython-311" */
    bool has_package;  /* `import neve` works there, or will with `search_path` */
    bool obeys_env;    /* it switches Neve on when NEVE=1 is in its environment */
    char *search_path; /* goes in front of PYTHONPATH; NULL: not needed */
} nvcli_interpreter;

/* Finds the interpreter that `chosen` names (a path or a name), or, where that
 * is NULL, the default one, asks it what it is, started with the `flags` (a
 * list that NULL ends, or NULL), and looks for the package.
 * NVCLI_DONE, or the status to exit with after an error was printed. */
int nvcli_interpreter_find(const char *chosen, char *const *flags, nvcli_interpreter *out);
/* The same, and an error if there is no package for it. */
int nvcli_interpreter_require(const char *chosen, char *const *flags, nvcli_interpreter *out);
/* Before a program that need not be Python is started with NEVE=1: prints a
 * line if that has no effect on the interpreter that it would most likely use. */
void nvcli_interpreter_warn(const char *program);

#endif
