/* SPDX-License-Identifier: MIT */
/*
 * What a process no longer shares with the one that it was forked from, and what made
 * its pages private ("page" is always the operating system's).
 *
 * Two parties. The process that is looked at publishes its heap, so that others find it:
 * neve_cow_publish writes some words into the library's own memory and costs nothing
 * afterwards. Whoever looks, mostly another process (`neve cow PID`), calls
 * neve_cow_look, which only reads, through /proc: the process is neither stopped nor
 * asked. What it reads is therefore not of one moment.
 *
 * What has changed is found by comparing with the memory as it was at the fork: a copy
 * that the parent keeps (neve_cow_keep_reference), or else the parent's memory as it is
 * now, in which the parent may have written itself.
 *
 * Linux only; elsewhere neve_cow_look answers NEVE_EUNSUPPORTED.
 */
#ifndef NEVE_COW_H
#define NEVE_COW_H

#include "heap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the process that is looked at ---- */

/* A part of the objects of one type that is filled when somebody reads them. */
typedef struct neve_cow_cache {
    const void *type;
    uint32_t offset;
    uint32_t bytes; /* 0: up to the object's end */
} neve_cow_cache;
#define NEVE_COW_CACHES 8

/* How objects lie in the blocks of the domains of counted objects, in bytes from an
 * object's address unless it says otherwise. A type is a structure of the program's. */
typedef struct neve_cow_model {
    uint32_t count_offset, count_bytes; /* the reference count */
    uint64_t immortal_mask;             /* bits of the count that only immortal objects have */
    uint32_t type_offset;               /* the pointer to the type */
    uint32_t type_name_offset;          /* in the type: a pointer to its name */
    uint32_t type_flags_offset;         /* in the type: a word of flags; 0: there are none */
    uint64_t type_flag;                 /* of a type whose instances are types themselves; or 0 */
    const void *type_of_types;          /* every type's type derives from it; or NULL */
    /* What lies in a block in front of the object: always `head_bytes`, and more for types
     * with these flags. */
    uint32_t head_bytes;
    struct {
        uint64_t flags; /* any of them */
        uint32_t bytes;
    } heads[2];
    neve_cow_cache caches[NEVE_COW_CACHES];
} neve_cow_model;

/* Lets others find the heap; `model` (copied) may be NULL: its objects are then nameless
 * blocks. NEVE_ENOMEM: as many heaps as there is room for are published already. Call it
 * before the fork. May be called in any thread. */
NEVE_API neve_status neve_cow_publish(const neve_heap *heap, const neve_cow_model *model);
/* Before the heap is destroyed; does nothing if it was not published. */
NEVE_API void neve_cow_withdraw(const neve_heap *heap);

/* Makes a paused child that keeps the memory as it is now, to be compared with; one that
 * this process made before ends. It costs the copy of the page tables (about as long as a
 * fork), its own page tables, and, for as long as it lives, the old contents of every page
 * that the parent writes or gives up. It ends with this process, and takes part in
 * nothing: see nv_os_child_begin. Children that are forked afterwards know it.
 * NEVE_EUNSUPPORTED: the system refuses. */
NEVE_API neve_status neve_cow_keep_reference(void);
/* Ends it; in the process that made it only. */
NEVE_API void neve_cow_drop_reference(void);
/* Its process number; 0 if this process, or those that it was forked from, made none. */
NEVE_API int neve_cow_reference(void);

/* ---- whoever looks ---- */

/* X(name, key, what it is for people) */
#define NEVE_COW_STATE_MAP(X)                                                                      \
    X(SHARED, "shared", "shared")                                                                  \
    X(CLEAN, "clean", "private, clean")                                                            \
    X(DIRTY, "dirty", "private, dirty")                                                            \
    X(SWAPPED, "swapped", "swapped out")

#define NEVE_COW_AREA_MAP(X)                                                                       \
    X(OBJECTS, "objects", "Neve: objects")                                                         \
    X(BUFFERS, "buffers", "Neve: buffers")                                                         \
    X(EMPTY, "empty", "Neve: empty pools")                                                         \
    X(TABLES, "tables", "Neve: descriptors, side tables")                                          \
    X(MALLOC, "malloc", "malloc's heap")                                                           \
    X(ANONYMOUS, "anonymous", "other allocators, thread stacks")                                   \
    X(STACK, "stack", "main thread's stack")                                                       \
    X(PROGRAM, "program", "data of the program (the interpreter)")                                 \
    X(LIBRARIES, "libraries", "data of libraries")                                                 \
    X(FILES, "files", "code, files, shared memory")

/* What made a private dirty page so. A page has each cause that is found on it; the one
 * that stands last here is its main cause. */
#define NEVE_COW_CAUSE_MAP(X)                                                                      \
    X(UNKNOWN, "unknown", "unknown: nothing to compare with")                                      \
    X(NEW, "new", "not there at the fork")                                                         \
    X(SAME, "same", "written, same contents again (counts up and down)")                           \
    X(COUNT, "count", "reference counts")                                                          \
    X(HEAD, "head", "heads in front of objects")                                                   \
    X(CACHE, "cache", "hashes, caches, bytecode")                                                  \
    X(LINK, "link", "free blocks: the allocator's links")                                          \
    X(FREED, "freed", "objects and buffers freed")                                                 \
    X(ALLOCATED, "allocated", "objects and buffers allocated")                                     \
    X(BODY, "body", "contents of objects and buffers")                                             \
    X(OTHER, "other", "other memory that was written")

#define NEVE_COW_ENUM_STATE(name, key, text) NEVE_COW_STATE_##name,
#define NEVE_COW_ENUM_AREA(name, key, text) NEVE_COW_AREA_##name,
#define NEVE_COW_ENUM_CAUSE(name, key, text) NEVE_COW_CAUSE_##name,
typedef enum neve_cow_state {
    NEVE_COW_STATE_MAP(NEVE_COW_ENUM_STATE) NEVE_COW_STATES
} neve_cow_state;
typedef enum neve_cow_area { NEVE_COW_AREA_MAP(NEVE_COW_ENUM_AREA) NEVE_COW_AREAS } neve_cow_area;
typedef enum neve_cow_cause {
    NEVE_COW_CAUSE_MAP(NEVE_COW_ENUM_CAUSE) NEVE_COW_CAUSES
} neve_cow_cause;
#undef NEVE_COW_ENUM_STATE
#undef NEVE_COW_ENUM_AREA
#undef NEVE_COW_ENUM_CAUSE

/* The keys for machines and the texts for people of the tables above. */
NEVE_API const char *neve_cow_state_key(neve_cow_state state);
NEVE_API const char *neve_cow_state_text(neve_cow_state state);
NEVE_API const char *neve_cow_area_key(neve_cow_area area);
NEVE_API const char *neve_cow_area_text(neve_cow_area area);
NEVE_API const char *neve_cow_cause_key(neve_cow_cause cause);
NEVE_API const char *neve_cow_cause_text(neve_cow_cause cause);

/* A page that is present or swapped. `causes` (a bit for each), `cause` and `type` are
 * meant for dirty ones. */
typedef struct neve_cow_page {
    uintptr_t address;
    uint32_t type; /* index + 1 of the only type whose objects changed here; 0: none, or several */
    uint16_t causes;
    uint8_t state, area, cause;
    uint32_t mapping; /* index in the report's mappings */
} neve_cow_page;

typedef struct neve_cow_mapping {
    uintptr_t start, end;
    const char *name; /* "" for anonymous memory */
    bool is_writable;
    size_t pages[NEVE_COW_STATES];
} neve_cow_mapping;

typedef struct neve_cow_sum {
    size_t pages[NEVE_COW_STATES];
    size_t main_causes[NEVE_COW_CAUSES]; /* dirty pages by their main cause: they add up */
    size_t causes[NEVE_COW_CAUSES];      /* dirty pages by every cause: they overlap */
    uint64_t bytes[NEVE_COW_CAUSES];     /* that differ */
} neve_cow_sum;

/* Objects by type, and blocks that are no object as far as can be seen. */
typedef struct neve_cow_type {
    const char *name;
    size_t changed;    /* objects that lived through, with any byte changed */
    size_t count_only; /* ... with nothing changed but the count */
    size_t allocated, freed;
    size_t pages;       /* dirty pages, present at the fork, on which they changed */
    size_t pages_alone; /* ... and nothing else did */
    size_t pages_same;  /* pages with the same contents again on which most mortal objects are
                         * of this type: their counts went up and down, most likely */
    uint64_t bytes[NEVE_COW_CAUSES];
} neve_cow_type;

typedef enum neve_cow_basis {
    NEVE_COW_BASIS_NONE,      /* there is nothing to compare with */
    NEVE_COW_BASIS_PARENT,    /* the parent's memory as it is now */
    NEVE_COW_BASIS_REFERENCE, /* the copy that was kept before the fork */
} neve_cow_basis;

typedef struct neve_cow_report {
    int pid;
    neve_cow_basis basis;
    int basis_pid;
    bool has_heap;    /* a heap of Neve's was found, and understood */
    char remark[512]; /* what is missing from the report, and what to do; "" if nothing is */
    size_t page_bytes;
    /* The kernel's own sums for the process, in bytes; all 0 where it has none. */
    uint64_t rss, pss, shared_clean, shared_dirty, private_clean, private_dirty, swap;
    neve_cow_sum areas[NEVE_COW_AREAS];
    neve_cow_sum whole;
    size_t mapping_count, page_count, type_count;
    neve_cow_mapping *mappings; /* by address */
    neve_cow_page *pages;       /* by address */
    neve_cow_type *types;       /* those with most pages first */
} neve_cow_report;

/* Looks at the process `pid` (which may be the calling one) and makes a report, to be
 * given back by neve_cow_report_free. `basis_pid`: a process to compare with, or 0: the
 * kept copy, or else the parent. On failure `problem` holds one line that says what to do.
 * NEVE_EINVAL: there is no such process, or it has no memory; NEVE_EBUSY: the system does
 * not permit to look at it; NEVE_ENOMEM; NEVE_EUNSUPPORTED.
 *
 * Takes about 30 ms, and 15 us for each dirty page; 24 bytes of memory for each page that is
 * present. Uses no malloc. */
NEVE_API neve_status neve_cow_look(int pid, int basis_pid, neve_cow_report **out,
                                   char problem[256]);
NEVE_API void neve_cow_report_free(neve_cow_report *report);

/* Takes a piece of text, which no NUL ends. */
typedef void (*neve_cow_write_fn)(void *ctx, const char *text, size_t length);
/* Writes the report as one JSON object, ASCII, and a newline; docs/cow.md names its fields.
 * `has_pages`: every page that is present as well. */
NEVE_API void neve_cow_write_json(const neve_cow_report *report, bool has_pages,
                                  neve_cow_write_fn write, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
