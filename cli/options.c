/* SPDX-License-Identifier: MIT */
/*
 * Options of a command from a table: "--name value", "--name=value", and flags.
 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool nvcli_wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

/* What comes behind the digits of a size: 1 for nothing, 1024 for K, ...; 0 if it is none. */
static double unit_of(const char *suffix)
{
    static const struct {
        char letter;
        double bytes;
    } units[] = {{'K', 1024.0}, {'M', 1048576.0}, {'G', 1073741824.0}};
    if (*suffix == '\0')
        return 1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (suffix[0] == units[i].letter && suffix[1] == '\0')
            return units[i].bytes;
    return 0;
}

static int refuse(const char *command, const nvcli_option *option, const char *text)
{
    const char *what = option->kind == NVCLI_REAL    ? "a number"
                       : option->kind == NVCLI_BYTES ? "a size (with K, M or G behind it, or not)"
                                                     : "a whole number";
    return nvcli_error(NVCLI_USAGE,
                       "%s: %s: '%s' is not %s from %.10g to %.10g: see neve %s --help", command,
                       option->name, text, what, option->least, option->most, command);
}

static int set_value(const char *command, const nvcli_option *option, const char *text)
{
    if (option->kind == NVCLI_TEXT) {
        if (*text == '\0')
            return nvcli_error(NVCLI_USAGE, "%s: %s needs a value: see neve %s --help", command,
                               option->name, command);
        *(const char **)option->value = text;
        return NVCLI_DONE;
    }
    /* Neither signs, nor blanks, nor hexadecimal numbers, nor "inf". */
    size_t digits = strspn(text, option->kind == NVCLI_REAL ? "0123456789." : "0123456789");
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (digits == 0 || end != text + digits || errno != 0)
        return refuse(command, option, text);
    double unit = option->kind == NVCLI_BYTES ? unit_of(end) : *end == '\0' ? 1 : 0;
    value *= unit;
    if (unit == 0 || !(value >= option->least && value <= option->most))
        return refuse(command, option, text);
    if (option->kind == NVCLI_REAL)
        *(double *)option->value = value;
    else
        *(size_t *)option->value = (size_t)value;
    return NVCLI_DONE;
}

static const nvcli_option *option_of(const nvcli_option *options, size_t count, const char *word,
                                     size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == length && strncmp(options[i].name, word, length) == 0)
            return &options[i];
    return NULL;
}

int nvcli_options_read(const char *command, int argc, char **argv, const nvcli_option *options,
                       size_t count)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *text = strchr(word, '=');
        size_t length = text == NULL ? strlen(word) : (size_t)(text - word);
        const nvcli_option *option = option_of(options, count, word, length);
        if (option == NULL)
            return nvcli_error(NVCLI_USAGE, "%s: unknown %s '%s': see neve %s --help", command,
                               *word == '-' ? "option" : "word", word, command);
        if (option->kind == NVCLI_FLAG) {
            if (text != NULL)
                return nvcli_error(NVCLI_USAGE, "%s: %s takes no value: see neve %s --help",
                                   command, option->name, command);
            *(bool *)option->value = true;
            continue;
        }
        if (text != NULL)
            text++;
        else if (++i < argc)
            text = argv[i];
        else
            return nvcli_error(NVCLI_USAGE, "%s: %s needs a value: see neve %s --help", command,
                               option->name, command);
        int status = set_value(command, option, text);
        if (status != NVCLI_DONE)
            return status;
    }
    return NVCLI_DONE;
}
