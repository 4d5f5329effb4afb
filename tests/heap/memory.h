/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about this process's memory: totals from /proc/self,
 * and single pages from /proc/self/pagemap, which is exact and which
 * sanitizers' own memory does not disturb.
 *
 * Of pagemap's bits two are used, both readable without privileges: bit 63,
 * the page is present, and bit 56, it is mapped by this process alone. After a
 * fork, pages that parent and child share lack bit 56 until one of them writes.
 */
#ifndef TESTS_HEAP_MEMORY_H
#define TESTS_HEAP_MEMORY_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_PRESENT ((uint64_t)1 << 63)
#define PAGE_EXCLUSIVE ((uint64_t)1 << 56)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

/* Under valgrind address space, page counts and speed are not the program's own. */
static inline bool runs_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* The same holds under an emulator of another processor (qemu-user), which also ends by exiting where
 * the program was killed by a signal, and starts no program for that processor by itself. Whoever runs
 * the tests under one sets NEVE_TEST_EMULATOR to its name. */
static inline bool is_emulated(void)
{
    const char *emulator = getenv("NEVE_TEST_EMULATOR");
    return runs_under_valgrind() || (emulator != NULL && emulator[0] != '\0');
}

/* The sum of a field over a /proc file, in bytes; 0 if there is none. */
static inline size_t proc_field_bytes(const char *path, const char *field)
{
    char line[256];
    size_t sum_kb = 0, length = strlen(field);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            sum_kb += (size_t)strtoul(line + length + 1, NULL, 10);
    }
    fclose(file);
    return sum_kb * 1024;
}

static inline size_t resident_bytes(void)
{
    return proc_field_bytes("/proc/self/status", "RssAnon");
}

static inline size_t address_space_bytes(void)
{
    return proc_field_bytes("/proc/self/status", "VmSize");
}

static inline size_t private_dirty_bytes(void)
{
    return proc_field_bytes("/proc/self/smaps_rollup", "Private_Dirty");
}

static inline size_t page_bytes(void)
{
    static size_t bytes; /* called often, by one thread */
    if (bytes == 0)
        bytes = (size_t)sysconf(_SC_PAGESIZE);
    return bytes;
}

/* How many of `count` random steps a test can afford here; NEVE_TEST_QUICK=1
 * is set where every instruction is dear. */
static inline size_t affordable(size_t count)
{
    const char *quick = getenv("NEVE_TEST_QUICK");
    if (runs_under_valgrind() || (quick != NULL && strcmp(quick, "1") == 0))
        return count / 8;
    return IS_SANITIZED ? count / 4 : count;
}

/* A set of OS pages by number, sorted, without doubles. Its own memory comes
 * from malloc, which may itself lie beside large blocks, never in pools. */
typedef struct page_set {
    uintptr_t *numbers;
    size_t count, capacity;
} page_set;

static inline void page_set_add(page_set *set, const void *address, size_t bytes)
{
    uintptr_t first = (uintptr_t)address / page_bytes();
    uintptr_t last = ((uintptr_t)address + (bytes == 0 ? 0 : bytes - 1)) / page_bytes();
    for (uintptr_t number = first; number <= last; number++) {
        if (set->count == set->capacity) {
            set->capacity = set->capacity == 0 ? 1024 : 2 * set->capacity;
            set->numbers = realloc(set->numbers, set->capacity * sizeof *set->numbers);
            if (set->numbers == NULL)
                abort();
        }
        set->numbers[set->count++] = number;
    }
}

static inline int page_compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

/* To be called after the last page_set_add. */
static inline void page_set_finish(page_set *set)
{
    if (set->count == 0)
        return;
    qsort(set->numbers, set->count, sizeof *set->numbers, page_compare);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++) {
        if (set->numbers[i] != set->numbers[kept - 1])
            set->numbers[kept++] = set->numbers[i];
    }
    set->count = kept;
}

static inline bool page_set_has(const page_set *set, const void *address)
{
    uintptr_t number = (uintptr_t)address / page_bytes();
    return set->count != 0 &&
           bsearch(&number, set->numbers, set->count, sizeof number, page_compare) != NULL;
}

static inline void page_set_clear(page_set *set)
{
    free(set->numbers);
    memset(set, 0, sizeof *set);
}

/* Opens the calling process's page map; a child has to open its own. -1: none. */
static inline int page_map_open(void)
{
    return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

/* The bits of a page; 0 where nothing is mapped. */
static inline uint64_t page_bits(int map, uintptr_t number)
{
    uint64_t bits = 0;
    if (pread(map, &bits, sizeof bits, (off_t)(number * sizeof bits)) != (ssize_t)sizeof bits)
        return 0;
    return bits;
}

/* How many pages of the set have all of `bits`. */
static inline size_t page_set_count_with(const page_set *set, int map, uint64_t bits)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++)
        count += (page_bits(map, set->numbers[i]) & bits) == bits;
    return count;
}

/* Keeps the pages that this process shares with its parent: present, not exclusive. */
static inline void page_set_keep_shared(page_set *set, int map)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        uint64_t bits = page_bits(map, set->numbers[i]);
        if ((bits & PAGE_PRESENT) != 0 && (bits & PAGE_EXCLUSIVE) == 0)
            set->numbers[kept++] = set->numbers[i];
    }
    set->count = kept;
}

#endif
