/* SPDX-License-Identifier: MIT */
/*
 * platform/process.h for Linux: the files of /proc/PID, read with plain system calls and
 * without malloc, because the process that is looked at may be this one.
 */
#include "process.h"

#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int open_file(int pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* What it means that a file of the process cannot be opened. */
static nv_process_answer answer_of(int pid, int error)
{
    char path[64];
    if (error == EACCES || error == EPERM)
        return NV_PROCESS_DENIED;
    if (error != ENOENT && error != ESRCH)
        return NV_PROCESS_UNKNOWN;
    /* One that has ended stays in the table until its parent asks how. */
    snprintf(path, sizeof path, "/proc/%d", pid);
    return access(path, F_OK) == 0 ? NV_PROCESS_EMPTY : NV_PROCESS_NONE;
}

/* Names are cut to what fits, at their start. */
static void set_name(char name[128], const char *from, size_t length)
{
    if (length > 127) {
        from += length - 127;
        length = 127;
    }
    memcpy(name, from, length);
    name[length] = '\0';
}

static void find_program(nv_process *process)
{
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", process->pid);
    ssize_t length = readlink(path, target, sizeof target);
    set_name(process->program, target, length > 0 ? (size_t)length : 0);
}

nv_process_answer nv_process_open(nv_process *process, int pid)
{
    process->pid = pid;
    process->memory = process->page_map = -1;
    if (access("/proc/self/maps", R_OK) != 0)
        return NV_PROCESS_UNKNOWN;
    process->memory = open_file(pid, "mem");
    if (process->memory < 0)
        return answer_of(pid, errno);
    process->page_map = open_file(pid, "pagemap");
    if (process->page_map < 0) {
        nv_process_answer answer = answer_of(pid, errno);
        nv_process_close(process);
        return answer;
    }
    find_program(process);
    return NV_PROCESS_OK;
}

void nv_process_close(nv_process *process)
{
    if (process->memory >= 0)
        close(process->memory);
    if (process->page_map >= 0)
        close(process->page_map);
    process->memory = process->page_map = -1;
}

/* As pread, until all is there. */
static size_t read_at(int file, void *out, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(file, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return done;
}

size_t nv_process_read(const nv_process *process, uintptr_t address, void *out, size_t bytes)
{
    return read_at(process->memory, out, bytes, address);
}

bool nv_process_page_bits(const nv_process *process, uintptr_t address, uint64_t *bits,
                          size_t count)
{
    size_t wanted = count * sizeof *bits;
    uint64_t offset = address / nv_os_page_bytes() * sizeof *bits;
    size_t done = read_at(process->page_map, bits, wanted, offset);
    memset((char *)bits + done, 0, wanted - done);
    return done != 0;
}

/* A whole file of /proc/PID as a string, in memory of nv_os_map; NULL without memory, or
 * with errno set. Such a file tells its size only to who reads it. */
static char *read_whole(int pid, const char *name, size_t *length, size_t *capacity)
{
    int file = open_file(pid, name);
    if (file < 0)
        return NULL;
    *capacity = (size_t)1 << 18;
    *length = 0;
    char *text = nv_os_map(*capacity);
    while (text != NULL) {
        ssize_t got = read(file, text + *length, *capacity - 1 - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        *length += (size_t)got;
        if (*length + 1 < *capacity)
            continue;
        char *grown = nv_os_remap(text, *capacity, 2 * *capacity);
        if (grown == NULL) {
            nv_os_unmap(text, *capacity);
            text = NULL;
        } else {
            text = grown;
            *capacity *= 2;
        }
    }
    if (text != NULL)
        text[*length] = '\0';
    else
        errno = ENOMEM;
    close(file);
    return text;
}

static size_t mappings_bytes(size_t count)
{
    size_t page = nv_os_page_bytes();
    return ((count + 1) * sizeof(nv_mapping) + page - 1) & ~(page - 1);
}

/* One line of the file maps: addresses, rights, offset, device, inode, name. */
static bool parse_mapping(const char *line, nv_mapping *mapping)
{
    char rights[5];
    int name_at = 0;
    memset(mapping, 0, sizeof *mapping);
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %" SCNu64 "%n", &mapping->start,
               &mapping->end, rights, &mapping->inode, &name_at) != 4)
        return false;
    mapping->is_readable = rights[0] == 'r';
    mapping->is_writable = rights[1] == 'w';
    mapping->is_executable = rights[2] == 'x';
    mapping->is_shared = rights[3] == 's';
    const char *name = line + name_at;
    name += strspn(name, " ");
    set_name(mapping->name, name, strcspn(name, "\n"));
    return true;
}

nv_process_answer nv_process_mappings(const nv_process *process, nv_mapping **out, size_t *count)
{
    size_t length, capacity;
    *count = 0;
    char *text = read_whole(process->pid, "maps", &length, &capacity);
    if (text == NULL)
        return errno == ENOMEM ? NV_PROCESS_NO_MEMORY : answer_of(process->pid, errno);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    if (lines == 0) {
        nv_os_unmap(text, capacity);
        return NV_PROCESS_EMPTY;
    }
    nv_mapping *mappings = nv_os_map(mappings_bytes(lines));
    if (mappings == NULL) {
        nv_os_unmap(text, capacity);
        return NV_PROCESS_NO_MEMORY;
    }
    size_t parsed = 0;
    for (const char *at = text; parsed < lines; at = strchr(at, '\n') + 1)
        if (!parse_mapping(at, &mappings[parsed++]))
            mappings[parsed - 1] = (nv_mapping){0}; /* an empty one */
    nv_os_unmap(text, capacity);
    *out = mappings;
    *count = lines;
    return NV_PROCESS_OK;
}

void nv_process_mappings_free(nv_mapping *mappings, size_t count)
{
    if (mappings != NULL)
        nv_os_unmap(mappings, mappings_bytes(count));
}

bool nv_process_get_sums(const nv_process *process, nv_process_sums *sums)
{
    const struct {
        const char *key;
        uint64_t *value;
    } fields[] = {
        {"\nRss:", &sums->rss},
        {"\nPss:", &sums->pss},
        {"\nShared_Clean:", &sums->shared_clean},
        {"\nShared_Dirty:", &sums->shared_dirty},
        {"\nPrivate_Clean:", &sums->private_clean},
        {"\nPrivate_Dirty:", &sums->private_dirty},
        {"\nSwap:", &sums->swap},
    };
    memset(sums, 0, sizeof *sums);
    size_t length, capacity;
    char *text = read_whole(process->pid, "smaps_rollup", &length, &capacity);
    if (text == NULL)
        return false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *at = strstr(text, fields[i].key);
        if (at != NULL)
            *fields[i].value = strtoull(at + strlen(fields[i].key), NULL, 10) * 1024;
    }
    nv_os_unmap(text, capacity);
    return length != 0;
}

int nv_process_parent(int pid)
{
    char text[512];
    int parent = 0;
    int file = open_file(pid, "stat");
    if (file < 0)
        return 0;
    size_t length = read_at(file, text, sizeof text - 1, 0);
    close(file);
    text[length] = '\0';
    /* The name, in parentheses, may hold parentheses and spaces itself. */
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL || sscanf(after_name + 1, " %*c %d", &parent) != 1)
        return 0;
    return parent;
}

bool nv_process_name(int pid, char name[16])
{
    int file = open_file(pid, "comm");
    if (file < 0)
        return false;
    size_t length = read_at(file, name, 15, 0);
    close(file);
    name[length] = '\0';
    name[strcspn(name, "\n")] = '\0';
    return length != 0;
}

bool nv_process_is_relative(int a, int b)
{
    /* The auxiliary vector holds the random addresses of this exec()'s parts. */
    char vectors[2][1024];
    size_t lengths[2];
    const int pids[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        int file = open_file(pids[i], "auxv");
        if (file < 0)
            return false;
        lengths[i] = read_at(file, vectors[i], sizeof vectors[i], 0);
        close(file);
    }
    return lengths[0] != 0 && lengths[0] == lengths[1] &&
           memcmp(vectors[0], vectors[1], lengths[0]) == 0;
}
