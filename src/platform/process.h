/* SPDX-License-Identifier: MIT */
/*
 * Another process (or this one) as its files in /proc show it: mappings, the page map,
 * memory. Everything is only read, and the process runs on meanwhile: what is read is not
 * of one moment. It may end at any time; reading then gives nothing.
 */
#ifndef NV_PLATFORM_PROCESS_H
#define NV_PLATFORM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nv_process_answer {
    NV_PROCESS_OK,
    NV_PROCESS_NONE,      /* there is no such process */
    NV_PROCESS_DENIED,    /* the system does not let us look at its memory */
    NV_PROCESS_EMPTY,     /* it has no memory: a kernel thread, or it has ended */
    NV_PROCESS_NO_MEMORY, /* we have none for what we read */
    NV_PROCESS_UNKNOWN,   /* this system has no such files */
} nv_process_answer;

typedef struct nv_process {
    int pid;
    int memory; /* open files, or -1 */
    int page_map;
    char program[128]; /* the file that it runs, named as its mappings are; "" if hidden */
} nv_process;

nv_process_answer nv_process_open(nv_process *process, int pid);
void nv_process_close(nv_process *process);

/* Reads memory; returns how many bytes from the first on could be read. What was never
 * touched is touched by that, so ask the page map first. */
size_t nv_process_read(const nv_process *process, uintptr_t address, void *out, size_t bytes);

/* Of each page, as the kernel documents them ("pagemap"). */
#define NV_PAGE_PRESENT ((uint64_t)1 << 63)
#define NV_PAGE_SWAPPED ((uint64_t)1 << 62)
#define NV_PAGE_OF_FILE ((uint64_t)1 << 61)   /* of a file, or of shared memory */
#define NV_PAGE_EXCLUSIVE ((uint64_t)1 << 56) /* no other process maps it */
/* Reads the words of `count` pages from the one that holds `address` on; those that
 * cannot be read are 0. False: none could be. */
bool nv_process_page_bits(const nv_process *process, uintptr_t address, uint64_t *bits,
                          size_t count);

typedef struct nv_mapping {
    uintptr_t start, end;
    uint64_t inode; /* 0: of no file */
    bool is_writable, is_executable, is_shared, is_readable;
    char name[128]; /* the path's end if it is longer; "[heap]" and the like; "" */
} nv_mapping;
/* All mappings by address, in memory to be given back by nv_process_mappings_free. */
nv_process_answer nv_process_mappings(const nv_process *process, nv_mapping **out, size_t *count);
void nv_process_mappings_free(nv_mapping *mappings, size_t count);

/* What the system itself says of the whole process, in bytes. */
typedef struct nv_process_sums {
    uint64_t rss, pss, shared_clean, shared_dirty, private_clean, private_dirty, swap;
} nv_process_sums;
bool nv_process_get_sums(const nv_process *process, nv_process_sums *sums);

/* The parent's number; 0 if there is none to be seen. */
int nv_process_parent(int pid);
/* Its name, as the system shows it (at most 15 characters); false if it is gone. */
bool nv_process_name(int pid, char name[16]);
/* Whether one comes from the other by fork(), or both from a third, without an exec()
 * since: the addresses at which the system placed their parts are the same. */
bool nv_process_is_relative(int a, int b);

#endif
