/* SPDX-License-Identifier: MIT */
/*
 * What the files behind neve/cow.h share.
 *
 *   cow_note.c     what a process tells of its heaps; the kept copy
 *   cow_look.c     the order of the work: whom to look at, whom to compare with, sums
 *   cow_pages.c    mappings and pages: present, shared, dirty
 *   cow_heap.c     Neve's heap in another process: arenas, pools, blocks, tables
 *   cow_malloc.c   the chunks of glibc's main arena
 *   cow_json.c     the report as JSON
 *   cow_cached.c   the heap's blocks that are free without their pools' knowing
 *   cow_objects.c  a block now and then: which object it is, what of it changed
 *
 * Whatever is read of another process may be torn, stale or nonsense: every number is
 * checked before it is used as a size or an index, every list has a bound.
 */
#ifndef NV_COW_INTERNAL_H
#define NV_COW_INTERNAL_H

#include "heap/heap_internal.h"
#include "neve/cow.h"
#include "platform/process.h"

/* ---- the note (cow_note.c) ---- */

#define NV_NOTE_HEAPS 8u
#define NV_NOTE_VERSION 1u
/* The name of the process that keeps the copy, for `ps` and to know it again. */
#define NV_REFERENCE_NAME "neve-reference"

typedef struct nv_note_heap {
    uintptr_t heap;  /* 0: not in use */
    uintptr_t ready; /* the same, once all else is written */
    uint32_t has_model;
    neve_cow_model model;
} nv_note_heap;

/* Lies in the data of whatever holds the library, where it is found by its first bytes.
 * The layouts differ between versions and with NEVE_DEBUG: whoever reads the heap must have
 * been built with the same numbers. */
typedef struct nv_note {
    unsigned char magic[24];
    uint32_t version;
    uint32_t bytes;
    uintptr_t self; /* where it lies: copies of it elsewhere are not meant */
    uint32_t heap_bytes, chunk_bytes, pool_bytes, slab_bytes, leaf_bytes, class_limit;
    int32_t reference;       /* the process that keeps the copy; 0: none */
    int32_t reference_owner; /* the one that made it */
    nv_note_heap heaps[NV_NOTE_HEAPS];
} nv_note;

/* The note that lies at `address` in the process; false if none does. */
bool nv_note_read(const nv_process *process, uintptr_t address, nv_note *note);
/* Whether this library can read the heaps that the note names. */
bool nv_note_is_readable(const nv_note *note);
/* The first bytes of every note. */
#define NV_NOTE_ALIGNMENT 64u
extern const unsigned char nv_note_magic[24];
/* Where this process's own note lies. */
const nv_note *nv_note_own(void);

/* ---- a look ---- */

/* Memory that grows, and lies on pages of its own. */
typedef struct nv_store {
    void *items;
    size_t item_bytes, count;
    size_t bytes; /* of the mapping */
} nv_store;
/* A new, zeroed item; NULL without memory. */
void *nv_store_add(nv_store *store);
void nv_store_free(nv_store *store);

/* A part of the memory of which more is known than its mapping. */
typedef struct nv_region {
    uintptr_t start, end;
    uint8_t area;
} nv_region;

/* A type of the process's, or one of the kinds of blocks without a type. */
enum { NV_TYPE_BUFFER, NV_TYPE_BLOCK, NV_TYPE_MALLOC, NV_TYPES_FIXED };
typedef struct nv_type {
    neve_cow_type sums;
    char name[96];
    uintptr_t last_page;                    /* the last page that was counted */
    uint32_t start;                         /* where its instances begin in their blocks */
    neve_cow_cache caches[NEVE_COW_CACHES]; /* ... of its instances; `type` is NULL at the end */
} nv_type;

#define NV_TYPE_SLOTS 8192u /* twice as many as types that are told apart */
typedef struct nv_type_slot {
    uintptr_t address; /* 0: free */
    uint32_t type;     /* index */
} nv_type_slot;

typedef struct nv_arena {
    uintptr_t base, high; /* its address; that of its table of high state bits */
} nv_arena;

typedef struct nv_look {
    nv_process now, then; /* `then` is meant if there is a basis */
    bool has_then;
    neve_cow_report *report;
    nv_mapping *mappings;
    size_t mapping_count, page_bytes;
    nv_store pages, regions, arenas, types;
    nv_store cached_now, cached_then; /* addresses, see cow_cached.c */
    const neve_cow_model *model;      /* NULL: blocks have no types */
    nv_type_slot slots[NV_TYPE_SLOTS];
    uintptr_t misses[NV_TYPE_SLOTS]; /* addresses that are no type's, each at its slot */
    bool is_out_of_memory;
    nv_note note; /* of the process, if it has one */
    bool has_note;
    unsigned char bytes_now[NV_POOL_BYTES], bytes_then[NV_POOL_BYTES];
} nv_look;

/* ---- cow_pages.c ---- */

/* Lists the pages that are present, and the mappings' sums; false without memory. */
bool nv_pages_gather(nv_look *look);
/* Finds the process's note by its first bytes. */
void nv_pages_find_note(nv_look *look);
static inline neve_cow_page *nv_pages(const nv_look *look)
{
    return look->pages.items;
}
/* The first page that begins at `address` or behind it; an index, up to the number of pages. */
size_t nv_page_at(const nv_look *look, uintptr_t address);
/* The page that holds `address`; NULL if it is not present. */
neve_cow_page *nv_page_of(const nv_look *look, uintptr_t address);
/* Gives the pages of regions their area. */
void nv_pages_set_areas(nv_look *look);
void nv_page_blame(nv_look *look, neve_cow_page *page, neve_cow_cause cause, size_t bytes);
/* Whether the page was there then as well, is dirty, and so is to be compared. Notes that
 * it was looked at, and its cause if it was not there. */
bool nv_page_is_comparable(nv_look *look, neve_cow_page *page);
/* Reads a piece of memory as it is now, and as it was then where a page of it is comparable
 * or was given up; elsewhere then is as now. */
void nv_pages_read(nv_look *look, uintptr_t address, size_t bytes, unsigned char *now,
                   unsigned char *then);
/* Compares the dirty pages that nobody has looked at. */
void nv_pages_compare_rest(nv_look *look);

/* ---- cow_heap.c, cow_malloc.c ---- */

/* Adds regions for what the heap at this address consists of. */
void nv_cow_heap_regions(nv_look *look, uintptr_t heap);
/* Compares the blocks of the pools with dirty pages. */
void nv_cow_heap_compare(nv_look *look);

/* ---- cow_cached.c ---- */

void nv_cow_cached_gather(nv_look *look);
/* The first of these addresses that is not below `address`; the end is items + count. */
const uintptr_t *nv_cow_cached_from(const nv_store *store, uintptr_t address);
/* Compares the chunks with dirty pages. */
void nv_cow_malloc_compare(nv_look *look);

/* ---- cow_objects.c ---- */

/* A block, as one of those who know blocks describes it. */
typedef struct nv_block {
    uintptr_t address;
    size_t size;
    uint32_t plain_type; /* the index of its kind, if it is no object; buffers never are */
    bool was_live, is_live;
    const unsigned char *now, *then; /* its first bytes, `first_bytes` of them */
    size_t first_bytes;
    /* What nv_block_identify finds: an index, and whether it is the same object as then. */
    uint32_t type;
    bool is_same_object;
    uint16_t causes; /* what nv_block_compare has found so far */
} nv_block;
#define NV_FIRST_BYTES 64u /* enough to identify an object */

/* Makes the types for blocks that have none; false without memory. */
bool nv_types_begin(nv_look *look);
void nv_block_identify(nv_look *look, nv_block *block);
/* Compares `piece` bytes at `offset` in the block, all on one page. */
void nv_block_compare(nv_look *look, nv_block *block, size_t offset, const unsigned char *now,
                      const unsigned char *then, size_t piece, neve_cow_page *page);
/* Counts the block by its type, after all its pieces. */
void nv_block_count(nv_look *look, const nv_block *block);
/* Counts a block that lies on a page that was not there at the fork. */
void nv_block_count_new(nv_look *look, nv_block *block);

/* Counts a block that was freed with all others of its pool. */
void nv_block_count_gone(nv_look *look, nv_block *block);

/* The mortal objects of a page whose contents are the same again, by type: those of the
 * most frequent one had their counts go up and down, most likely. */
typedef struct nv_tally {
    uint32_t types[16], counts[16];
} nv_tally;
void nv_tally_add(nv_look *look, nv_tally *tally, nv_block *block);
void nv_tally_close(nv_look *look, const nv_tally *tally);

#endif
