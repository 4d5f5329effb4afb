/* SPDX-License-Identifier: MIT */
/*
 * Which Python interpreter a command means, what it is, and where the package
 * `neve` for it is: installed there, or beside this program.
 *
 * What an interpreter is, only it can say: it is started once, to print a line.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FLAGS = 16, ANSWER_BYTES = 4096 };

/* Any Python can run this. The answer is a line of its own, because a site's
 * own start-up code may print as well. */
static const char question[] =
    "import sys\n"
    "is_active = is_found = 0\n"
    "try:\n"
    "    is_active = 'neve' in sys.modules and sys.modules['neve'].is_installed()\n"
    "    import neve\n"
    "    is_found = hasattr(neve, 'is_installed')\n"
    "except Exception:\n"
    "    pass\n"
    "tag = getattr(getattr(sys, 'implementation', None), 'cache_tag', None) or 'unknown'\n"
    "sys.stdout.write('\\nneve-answer %s %d.%d.%d %d %d\\n'\n"
    "                 % ((tag,) + tuple(sys.version_info[:3]) + (is_found, is_active)))\n";

/* The folder that holds this program, links resolved. */
static char *own_folder(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return NULL;
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    return nvcli_format("%s", path);
}

/* The interpreter of a virtual environment, or NULL. */
static char *python_in(const char *environment)
{
    static const char *const names[] = {"bin/python3", "bin/python"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = nvcli_find_program(nvcli_format("%s/%s", environment, names[i]));
        if (path != NULL)
            return path;
    }
    return NULL;
}

/* The interpreter that nobody named, or NULL. */
static char *default_python(void)
{
    /* A program that was installed into a virtual environment belongs to it. */
    const char *folder = own_folder();
    char *path = NULL;
    if (folder != NULL && nvcli_is_file(nvcli_format("%s/../pyvenv.cfg", folder))) {
        char *own = realpath(nvcli_format("%s/..", folder), NULL);
        path = own == NULL ? NULL : python_in(own);
    }
    const char *environment = nvcli_env("VIRTUAL_ENV");
    if (path == NULL && environment != NULL)
        path = python_in(environment);
    return path != NULL ? path : nvcli_find_program("python3");
}

/* Sets *path, or prints an error and returns the status to exit with. */
static int locate(const char *chosen, const char **path)
{
    const char *source = "--python";
    if (chosen == NULL) {
        chosen = nvcli_env("NEVE_PYTHON");
        source = "NEVE_PYTHON";
    }
    if (chosen != NULL) {
        *path = nvcli_find_program(chosen);
        if (*path != NULL)
            return NVCLI_DONE;
        return nvcli_error(NVCLI_USAGE,
                           "%s: there is no interpreter '%s': give its path, or a name in PATH",
                           source, chosen);
    }
    *path = default_python();
    if (*path == NULL)
        return nvcli_error(NVCLI_FAILED, "there is no python3 in PATH: install Python, or name an "
                                         "interpreter with --python");
    return NVCLI_DONE;
}
static _Noreturn void ask(const char *path, char *const *flags, int out)
{
    const char *words[MAX_FLAGS + 4] = {path};
    size_t count = 1;
    for (; flags != NULL && *flags != NULL; flags++)
        words[count++] = *flags;
    words[count++] = "-c";
    words[count++] = question;
    words[count] = NULL;
    /* With NEVE=1, so that the answer tells whether it has an effect; and
     * whatever can go wrong with Neve is not what is being asked. */
    setenv("NEVE", "1", 1);
    static const char *const unwanted[] = {"NEVE_MODE",  "NEVE_PAUSE_US",   "NEVE_GC_STRESS",
                                           "NEVE_STATS", "NEVE_STATS_JSON", "PYTHONINSPECT"};
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        unsetenv(unwanted[i]);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0 &&
        dup2(out, STDOUT_FILENO) >= 0)
        execv(path, (char **)(void *)words);
    _exit(127);
}

/* A pipe whose ends are above the standard streams, which may be closed. */
static bool open_pipe(int ends[2])
{
    int low[2];
    if (pipe(low) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(low[0]);
    close(low[1]);
    return ends[0] >= 0 && ends[1] >= 0;
}

/* The answer of the interpreter; false if it gave none. */
static bool get_answer(char *const *flags, nvcli_interpreter *out)
{
    int ends[2];
    if (!open_pipe(ends))
        return false;
    pid_t child = fork();
    if (child == 0)
        ask(out->path, flags, ends[1]);
    close(ends[1]);
    char answer[ANSWER_BYTES];
    size_t length = 0;
    while (child > 0) {
        /* The end of what it prints is kept: the answer is the last line. */
        if (length == sizeof answer - 1) {
            length /= 2;
            memmove(answer, answer + sizeof answer - 1 - length, length);
        }
        ssize_t got = read(ends[0], answer + length, sizeof answer - 1 - length);
        if (got > 0)
            length += (size_t)got;
        else if (got == 0 || errno != EINTR)
            break;
    }
    close(ends[0]);
    /* How it ended does not matter once it has answered. */
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    answer[length] = '\0';
    const char *line = strstr(answer, "\nneve-answer ");
    int has_package, obeys_env;
    if (line == NULL || sscanf(line, "\nneve-answer %63s %31s %d %d", out->tag, out->version,
                               &has_package, &obeys_env) != 4)
        return false;
    out->has_package = has_package == 1;
    out->obeys_env = obeys_env == 1;
    return true;
}

/* Looks beside this program: in the build folder, and where `make install` and
 * pip put the package when they were given a prefix. */
static void look_beside(nvcli_interpreter *out)
{
    const char *folder = own_folder();
    if (folder == NULL)
        return;
    int major_minor = (int)strcspn(out->version, ".");
    major_minor += 1 + (int)strcspn(out->version + major_minor + 1, ".");
    char *candidates[] = {
        nvcli_format("%s/python/%s", folder, out->tag),
        nvcli_format("%s/../lib/python%.*s/site-packages", folder, major_minor, out->version),
        nvcli_format("%s/../lib/python%.*s/dist-packages", folder, major_minor, out->version),
    };
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        if (!nvcli_is_file(nvcli_format("%s/neve/__init__.py", candidates[i])))
            continue;
        char *resolved = realpath(candidates[i], NULL);
        /* A colon would end the folder's name in PYTHONPATH. */
        if (resolved == NULL || strchr(resolved, ':') != NULL)
            continue;
        out->search_path = resolved;
        out->has_package = true;
        return;
    }
}

int nvcli_interpreter_find(const char *chosen, char *const *flags, nvcli_interpreter *out)
{
    memset(out, 0, sizeof *out);
    size_t count = 0;
    while (flags != NULL && flags[count] != NULL)
        count++;
    if (count > MAX_FLAGS)
        return nvcli_error(NVCLI_FAILED, "more than %d options of an interpreter", MAX_FLAGS);
    int status = locate(chosen, &out->path);
    if (status != NVCLI_DONE)
        return status;
    if (!get_answer(flags, out))
        return nvcli_error(chosen == NULL ? NVCLI_FAILED : NVCLI_USAGE,
                           "%s does not run as a Python interpreter: choose another with --python",
                           out->path);
    if (!out->has_package)
        look_beside(out);
    return NVCLI_DONE;
}

int nvcli_interpreter_require(const char *chosen, char *const *flags, nvcli_interpreter *out)
{
    int status = nvcli_interpreter_find(chosen, flags, out);
    if (status == NVCLI_DONE && !out->has_package)
        return nvcli_error(NVCLI_FAILED,
                           "%s is Python %s (%s), and there is no Neve for it: in the sources of "
                           "Neve, run make PYTHON=%s install, or choose another interpreter with "
                           "--python",
                           out->path, out->version, out->tag, out->path);
    return status;
}

void nvcli_interpreter_warn(const char *program)
{
    nvcli_interpreter python = {0};
    const char *chosen = nvcli_env("NEVE_PYTHON");
    python.path = chosen != NULL ? nvcli_find_program(chosen) : default_python();
    if (python.path != NULL && get_answer(NULL, &python) && !python.obeys_env)
        nvcli_error(NVCLI_FAILED,
                    "Neve is not installed for %s (Python %s): if %s uses that, it goes on without "
                    "Neve",
                    python.path, python.version, program);
}
