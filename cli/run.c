/* SPDX-License-Identifier: MIT */
/*
 * neve run: a Python program, or any program that runs Python, on Neve.
 *
 * A Python program is handed to `python -m neve` with the words as they are;
 * any other is started with NEVE=1 in its environment. Either way the program
 * takes this process over: its id, its signals and its exit status are the
 * program's.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: neve run [options] PROGRAM [argument ...]\n"
    "       neve run [options] -- PROGRAM [argument ...]\n"
    "\n"
    "Runs a Python program, or any program that runs Python, with Neve as the object allocator "
    "and\n"
    "cycle collector.\n"
    "\n"
    "PROGRAM is one of\n"
    "  script.py         a file that exists, or a folder or an archive with a __main__.py: it is "
    "run\n"
    "                    by the interpreter, as `python script.py` would\n"
    "  -m module         a module or a package\n"
    "  -c code           a piece of code\n"
    "  -                 a script that is read from standard input\n"
    "  NAME              a program in PATH, if there is no file of that name: gunicorn, celery, "
    "uwsgi\n"
    "After --, PROGRAM is a program in any case, not a script for the interpreter.\n"
    "\n"
    "options\n"
    "  --python PYTHON   the interpreter, a path or a name in PATH (default: $NEVE_PYTHON, that "
    "of\n"
    "                    the virtual environment that holds neve or is active, or else python3)\n"
    "  --mode MODE       the collector: generational, incremental or snapshot (default: "
    "$NEVE_MODE)\n"
    "  --pause-us N      the pause that the latter two aim at, in microseconds\n"
    "  --stats           print at exit, to standard error, what was collected, with pauses and "
    "memory\n"
    "  --stats-json FILE write the same to FILE as JSON at exit\n"
    "  -h, --help        print this and exit\n"
    "\n"
    "A program in PATH that is a Python script is run by the interpreter that its first line "
    "names,\n"
    "or by that of --python. Any other (uWSGI, a shell script) gets NEVE=1 in its environment, and "
    "so\n"
    "do those that it starts: Neve must be installed for the interpreter that they use.\n"
    "\n"
    "The exit status is the program's; 1 if it cannot be started, 2 if the command line cannot be\n"
    "followed.\n";

/* Options that are passed on: to `python -m neve` as they are, to other
 * programs as variables of the environment. */
static const struct {
    const char *option, *variable;
    bool has_value;
} passed_on[] = {
    {"--mode", "NEVE_MODE", true},
    {"--pause-us", "NEVE_PAUSE_US", true},
    {"--stats", "NEVE_STATS", false},
    {"--stats-json", "NEVE_STATS_JSON", true},
};

enum { PASSED_ON = sizeof passed_on / sizeof *passed_on, MAX_FLAGS = 8 };

typedef struct run_options {
    const char *python;
    const char *values[PASSED_ON]; /* NULL: not given */
    bool is_program;               /* after -- */
    char **words;                  /* the program and its arguments; NULL ends them */
} run_options;

static int replace_process(const char *path, char **words)
{
    fflush(stdout);
    execv(path, words);
    return nvcli_error(NVCLI_FAILED, "cannot start %s: %s", path, strerror(errno));
}

/* PYTHON [flags] -m neve [options] [script] words... `script`, if not NULL, stands for words[0]. */
static int run_on_python(const nvcli_interpreter *python, char *const *flags,
                         const run_options *options, char *script)
{
    size_t count = 0;
    while (options->words[count] != NULL)
        count++;
    char **words = calloc(count + MAX_FLAGS + 2 * PASSED_ON + 4, sizeof *words);
    if (words == NULL)
        return nvcli_error(NVCLI_FAILED, "not enough memory");
    size_t at = 0;
    words[at++] = nvcli_format("%s", python->path);
    for (; flags != NULL && *flags != NULL; flags++)
        words[at++] = *flags;
    words[at++] = "-m";
    words[at++] = "neve";
    for (size_t i = 0; i < PASSED_ON; i++) {
        if (options->values[i] == NULL)
            continue;
        words[at++] = passed_on[i].has_value
                          ? nvcli_format("%s=%s", passed_on[i].option, options->values[i])
                          : nvcli_format("%s", passed_on[i].option);
    }
    memcpy(words + at, options->words, count * sizeof *words);
    if (script != NULL)
        words[at] = script;
    if (python->search_path != NULL) {
        /* For this process only: `python -m neve` takes it out again, so that
         * what the program starts finds the environment as it was. */
        const char *before = getenv("PYTHONPATH");
        char *after = before == NULL ? nvcli_format("%s", python->search_path)
                                     : nvcli_format("%s:%s", python->search_path, before);
        if (setenv("PYTHONPATH", after, 1) != 0 ||
            setenv("NEVE_RUN_PYTHONPATH", python->search_path, 1) != 0)
            return nvcli_error(NVCLI_FAILED, "not enough memory");
    }
    return replace_process(python->path, words);
}

static bool set_environment(const run_options *options)
{
    if (setenv("NEVE", "1", 1) != 0)
        return false;
    for (size_t i = 0; i < PASSED_ON; i++)
        if (options->values[i] != NULL &&
            setenv(passed_on[i].variable, passed_on[i].has_value ? options->values[i] : "1", 1) !=
                0)
            return false;
    return true;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Whether the path's last part is python, python3, python3.11... */
static bool is_python_name(const char *path)
{
    const char *name = last_part(path);
    return strncmp(name, "python", 6) == 0 && strspn(name + 6, "0123456789.") == strlen(name + 6);
}

/* Cuts the line into words at blanks, in place; returns their number. */
static size_t split(char *line, char **words, size_t limit)
{
    size_t count = 0;
    for (char *word = strtok(line, " \t"); word != NULL && count < limit;
         word = strtok(NULL, " \t"))
        words[count++] = word;
    return count;
}

/* Whether the first line of the file names a Python interpreter; then *python
 * is it, and `flags` are the options that it is given there. */
static bool is_python_script(const char *path, char **python, char *flags[MAX_FLAGS])
{
    char line[512];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t length = read(file, line, sizeof line - 1);
    close(file);
    if (length < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[length] = '\0';
    char *end = strchr(line, '\n');
    if (end == NULL)
        return false;
    *end = '\0';
    char *words[MAX_FLAGS] = {NULL};
    size_t count = split(nvcli_format("%s", line + 2), words, MAX_FLAGS);
    size_t first = 0;
    if (count > 1 && strcmp(last_part(words[0]), "env") == 0) {
        first = strcmp(words[1], "-S") == 0 ? 2 : 1;
        if (first < count && strchr(words[first], '=') != NULL)
            return false; /* variables for the interpreter: env knows what to do */
    }
    if (count <= first || !is_python_name(words[first]))
        return false;
    *python = nvcli_find_program(words[first]);
    if (*python == NULL)
        return false; /* starting it will tell */
    size_t at = 0;
    for (size_t i = first + 1; i < count && at < MAX_FLAGS - 1; i++)
        flags[at++] = words[i];
    flags[at] = NULL;
    return true;
}

static int run_program(const run_options *options)
{
    const char *name = options->words[0];
    char *path = nvcli_find_program(name);
    if (path == NULL)
        return nvcli_error(NVCLI_USAGE,
                           strchr(name, '/') != NULL || options->is_program
                               ? "'%s' is not a program that can be run: give a script, -m module, "
                                 "-c code, or the name of a program in PATH"
                               : "'%s' is neither a file nor a program in PATH: give a script, "
                                 "-m module, -c code, or the name of a program",
                           name);
    char *script_python, *flags[MAX_FLAGS];
    nvcli_interpreter python;
    if (!is_python_script(path, &script_python, flags)) {
        if (options->python != NULL)
            return nvcli_error(NVCLI_USAGE,
                               "%s is not a Python script, and --python has no effect on it", path);
        nvcli_interpreter_warn(path);
    } else {
        if (options->python != NULL)
            flags[0] = NULL; /* they are meant for another interpreter */
        int status = nvcli_interpreter_require(
            options->python != NULL ? options->python : script_python, flags, &python);
        if (status != NVCLI_DONE)
            return status;
        if (options->python != NULL || !python.obeys_env)
            return set_environment(options) ? run_on_python(&python, flags, options, path)
                                            : nvcli_error(NVCLI_FAILED, "not enough memory");
    }
    if (!set_environment(options))
        return nvcli_error(NVCLI_FAILED, "not enough memory");
    return replace_process(path, options->words);
}

/* The value of option `word` (or what follows its '='), and *at moved behind
 * it; NULL if there is none. */
static const char *value_of(const char *glued, char **argv, int *at)
{
    if (glued != NULL)
        return glued;
    return argv[*at] == NULL ? NULL : argv[(*at)++];
}

/* Returns -1 if the program is to be run, else the status to exit with. */
static int parse(char **argv, run_options *options)
{
    int at = 1;
    while (argv[at] != NULL) {
        const char *word = argv[at];
        if (strcmp(word, "--") == 0) {
            options->is_program = true;
            at++;
            break;
        }
        if (word[0] != '-' || word[1] == '\0' || word[1] == 'm' || word[1] == 'c')
            break;
        at++;
        if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            fputs(usage, stdout);
            return NVCLI_DONE;
        }
        const char *equals = strchr(word, '=');
        size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
        const char *glued = equals != NULL ? equals + 1 : NULL, **target = NULL;
        bool has_value = true;
        if (length == strlen("--python") && strncmp(word, "--python", length) == 0)
            target = &options->python;
        for (size_t i = 0; i < PASSED_ON && target == NULL; i++) {
            if (length == strlen(passed_on[i].option) &&
                strncmp(word, passed_on[i].option, length) == 0) {
                target = &options->values[i];
                has_value = passed_on[i].has_value;
            }
        }
        if (target == NULL)
            return nvcli_error(NVCLI_USAGE, "unknown option %s: see neve run --help", word);
        if (!has_value && glued != NULL)
            return nvcli_error(NVCLI_USAGE, "option %.*s takes no value: see neve run --help",
                               (int)length, word);
        *target = has_value ? value_of(glued, argv, &at) : "";
        if (*target == NULL)
            return nvcli_error(NVCLI_USAGE, "option %s needs a value: see neve run --help", word);
    }
    options->words = argv + at;
    if (argv[at] == NULL)
        return nvcli_error(NVCLI_USAGE, "no program to run: give a script, -m module, -c code, or "
                                        "the name of a program in PATH");
    return -1;
}

int nvcli_run(int argc, char **argv)
{
    (void)argc;
    run_options options = {0};
    int status = parse(argv, &options);
    if (status >= 0)
        return status;
    const char *first = options.words[0];
    struct stat file;
    if (options.is_program || (first[0] != '-' && stat(first, &file) != 0))
        return run_program(&options);
    nvcli_interpreter python;
    status = nvcli_interpreter_require(options.python, NULL, &python);
    if (status != NVCLI_DONE)
        return status;
    return run_on_python(&python, NULL, &options, NULL);
}
