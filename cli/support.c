/* SPDX-License-Identifier: MIT */
/*
 * Errors, strings and programs in PATH, for all commands.
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int nvcli_error(int status, const char *format, ...)
{
    fputs("neve: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

char *nvcli_format(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        exit(nvcli_error(NVCLI_FAILED, "not enough memory"));
    return text;
}

const char *nvcli_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

bool nvcli_is_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static char *temporary_name(const char *path)
{
    return nvcli_format("%s.%d.tmp", path, (int)getpid());
}

FILE *nvcli_replacement_begin(const char *command, const char *path)
{
    char *temporary = temporary_name(path);
    FILE *file = fopen(temporary, "wx");
    if (file == NULL)
        nvcli_error(NVCLI_FAILED, "%s: cannot write %s: %s", command, path, strerror(errno));
    free(temporary);
    return file;
}

int nvcli_replacement_finish(const char *command, const char *path, FILE *file)
{
    char *temporary = temporary_name(path);
    bool is_written = ferror(file) == 0;
    is_written = fclose(file) == 0 && is_written && rename(temporary, path) == 0;
    int error = errno;
    if (!is_written)
        unlink(temporary);
    free(temporary);
    return is_written ? NVCLI_DONE
                      : nvcli_error(NVCLI_FAILED, "%s: cannot write %s: %s", command, path,
                                    strerror(error));
}

static bool is_program(const char *path)
{
    return nvcli_is_file(path) && access(path, X_OK) == 0;
}

char *nvcli_find_program(const char *name)
{
    if (strchr(name, '/') != NULL)
        return is_program(name) ? nvcli_format("%s", name) : NULL;
    if (*name == '\0')
        return NULL;
    const char *folder = getenv("PATH");
    if (folder == NULL)
        folder = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t length = strcspn(folder, ":");
        /* An empty entry is the working directory. */
        char *path = length == 0 ? nvcli_format("./%s", name)
                                 : nvcli_format("%.*s/%s", (int)length, folder, name);
        if (is_program(path))
            return path;
        free(path);
        if (folder[length] == '\0')
            return NULL;
        folder += length + 1;
    }
}
