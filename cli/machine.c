/* SPDX-License-Identifier: MIT */
/*
 * What the machine is: a line above each table of figures, and the sizes of its caches.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The first line of a file, or of it the first that begins with `key`, from behind its colon. */
static bool read_field(const char *path, const char *key, char *value, size_t size)
{
    char line[512];
    bool is_found = false;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    while (!is_found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *text = line;
        if (key != NULL) {
            text = strchr(line, ':');
            if (text == NULL || strncmp(line, key, strlen(key)) != 0)
                continue;
            text += 1 + strspn(text + 1, " \t");
        }
        snprintf(value, size, "%.*s", (int)size - 1, text);
        is_found = true;
    }
    fclose(file);
    return is_found;
}

void nvcli_machine_get(nvcli_machine *machine)
{
    struct utsname name;
    struct tm calendar;
    time_t now = time(NULL);
    if (!read_field("/proc/cpuinfo", "model name", machine->cpu, sizeof machine->cpu))
        snprintf(machine->cpu, sizeof machine->cpu, "unknown processor");
    machine->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(machine->kernel, sizeof machine->kernel, "unknown system");
    if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%s %s %s", name.sysname, name.release,
                 name.machine);
    gmtime_r(&now, &calendar);
    strftime(machine->date, sizeof machine->date, "%Y-%m-%d", &calendar);
}

void nvcli_machine_print(const nvcli_machine *machine)
{
    printf("%s, %ld CPUs, %s, %s\n", machine->cpu, machine->cpus, machine->kernel, machine->date);
}

void nvcli_machine_print_json(const nvcli_machine *machine)
{
    printf("\"machine\": {\"cpu\": ");
    nvcli_print_json_string(machine->cpu);
    printf(", \"cpus\": %ld, \"kernel\": ", machine->cpus);
    nvcli_print_json_string(machine->kernel);
    printf(", \"date\": \"%s\"}", machine->date);
}

size_t nvcli_machine_cache_bytes(unsigned level)
{
    for (unsigned index = 0; index < 16; index++) {
        static const char folder[] = "/sys/devices/system/cpu/cpu0/cache/index";
        char path[96], text[32];
        snprintf(path, sizeof path, "%s%u/level", folder, index);
        if (!read_field(path, NULL, text, sizeof text))
            return 0;
        if (strtoul(text, NULL, 10) != level)
            continue;
        snprintf(path, sizeof path, "%s%u/type", folder, index);
        if (!read_field(path, NULL, text, sizeof text) || strcmp(text, "Instruction") == 0)
            continue;
        snprintf(path, sizeof path, "%s%u/size", folder, index);
        char *unit;
        if (!read_field(path, NULL, text, sizeof text))
            continue;
        size_t size = strtoul(text, &unit, 10);
        return *unit == 'M' ? size << 20 : *unit == 'K' ? size << 10 : size;
    }
    return 0;
}
