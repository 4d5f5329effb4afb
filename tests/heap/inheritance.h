/* SPDX-License-Identifier: MIT */
/*
 * A heap that a child inherits, and which of its pages the child has written: what
 * the tests of fork() share. Each test program includes it once.
 *
 * "Inherited" are the pages of pools with live blocks when the process forked.
 * The kernel's page map says which of them a process still shares (memory.h).
 */
#ifndef TESTS_HEAP_INHERITANCE_H
#define TESTS_HEAP_INHERITANCE_H

#include "heap_support.h"

#define MIB ((size_t)1 << 20)
#define POOL_BYTES ((size_t)16 * 1024) /* as the design says; the pages around a block */

enum { COUNT = 150000 };

/* A heap of about 20 MB in which every second block is missing, at random. */
typedef struct inheritance {
    neve_heap *heap;
    unsigned char *blocks[COUNT]; /* NULL where freed */
    uint16_t sizes[COUNT];
    uint8_t domains[COUNT];
    bool freed[COUNT]; /* by a child */
} inheritance;

static inheritance inherited; /* too large for the stack; each process has its copy */

static inline uint64_t stamp_of(size_t i)
{
    return 7919 * (uint64_t)i;
}

static inline void inherit(size_t smallest, size_t largest)
{
    uint64_t random = 17;
    memset(&inherited, 0, sizeof inherited);
    inherited.heap = heap_create_default();
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = smallest + random_below(&random, largest - smallest + 1);
        inherited.domains[i] = (uint8_t)random_below(&random, NEVE_DOMAINS);
        inherited.sizes[i] = (uint16_t)size;
        inherited.blocks[i] =
            neve_heap_alloc(inherited.heap, (neve_domain)inherited.domains[i], size);
        assert_non_null(inherited.blocks[i]);
        pattern_fill(inherited.blocks[i], size, stamp_of(i));
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (random_below(&random, 2) == 0) {
            neve_heap_free(inherited.heap, inherited.blocks[i]);
            inherited.blocks[i] = NULL;
        }
    }
    assert_heap_sound(inherited.heap);
}

static inline void disinherit(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] != NULL)
            assert_true(pattern_holds(inherited.blocks[i], inherited.sizes[i], stamp_of(i)));
    }
    assert_heap_sound(inherited.heap);
    neve_heap_destroy(inherited.heap);
    inherited.heap = NULL;
}

static inline const char *check_inherited_contents(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] == NULL || inherited.freed[i])
            continue;
        CHECK(pattern_holds(inherited.blocks[i], inherited.sizes[i], stamp_of(i)),
              "inherited block %zu is damaged", i);
        CHECK(neve_heap_owns(inherited.heap, inherited.blocks[i]), "block %zu is not owned", i);
    }
    return NULL;
}

/* What the child sees of the pages it has inherited. */
typedef struct watch {
    page_set pages; /* shared with the parent when the watch began */
    int map;
} watch;

/* The pages of all pools that hold inherited blocks. False: the kernel does
 * not tell which pages are shared. */
static inline bool watch_begin(watch *w)
{
    page_set firsts; /* each pool's first page */
    memset(&firsts, 0, sizeof firsts);
    memset(w, 0, sizeof *w);
    w->map = page_map_open();
    if (w->map < 0)
        return false;
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] != NULL && !inherited.freed[i])
            page_set_add(&firsts, (void *)((uintptr_t)inherited.blocks[i] & ~(POOL_BYTES - 1)), 1);
    }
    page_set_finish(&firsts);
    for (size_t i = 0; i < firsts.count; i++)
        page_set_add(&w->pages, (void *)(firsts.numbers[i] * page_bytes()), POOL_BYTES);
    page_set_clear(&firsts);
    page_set_finish(&w->pages);
    page_set_keep_shared(&w->pages, w->map);
    return true;
}

static inline size_t watch_dirtied(const watch *w)
{
    return page_set_count_with(&w->pages, w->map, PAGE_PRESENT | PAGE_EXCLUSIVE);
}

static inline bool watch_is_dirty(const watch *w, const void *address)
{
    uint64_t bits = page_bits(w->map, (uintptr_t)address / page_bytes());
    return (bits & PAGE_PRESENT) != 0 && (bits & PAGE_EXCLUSIVE) != 0;
}

static inline void watch_end(watch *w)
{
    page_set_clear(&w->pages);
    close(w->map);
}

/* The kernel's bits mean what memory.h believes: writing to a shared page is
 * seen, reading is not. */
static inline const char *see_a_page_being_written(void *arg)
{
    unsigned char *pages = arg;
    page_set set;
    memset(&set, 0, sizeof set);
    int map = page_map_open();
    CHECK(map >= 0, "no page map");
    page_set_add(&set, pages, 8 * page_bytes());
    page_set_finish(&set);
    page_set_keep_shared(&set, map);
    CHECK(set.count == 8, "%zu of 8 pages are shared", set.count);
    volatile unsigned char *at = pages;
    at[3 * page_bytes()] = at[2 * page_bytes()];
    CHECK(page_set_count_with(&set, map, PAGE_PRESENT | PAGE_EXCLUSIVE) == 1,
          "%zu pages seem written, not 1",
          page_set_count_with(&set, map, PAGE_PRESENT | PAGE_EXCLUSIVE));
    close(map);
    page_set_clear(&set);
    return NULL;
}

static inline bool page_map_works(void)
{
    static int known = -1;
    if (known >= 0)
        return known != 0;
    unsigned char *pages = aligned_alloc(page_bytes(), 8 * page_bytes());
    assert_non_null(pages);
    memset(pages, 1, 8 * page_bytes());
    const char *verdict = child_verdict(see_a_page_being_written, pages);
    if (verdict != NULL)
        print_message("# %s\n", verdict);
    free(pages);
    known = verdict == NULL && !is_emulated();
    return known != 0;
}

#define NEEDS_PAGE_MAP()                                                                           \
    do {                                                                                           \
        if (!page_map_works())                                                                     \
            SKIP_BECAUSE("this kernel does not tell which pages are shared");                      \
    } while (0)

typedef struct growth {
    unsigned char **blocks;
    size_t count, bytes;
} growth;

/* `count` new blocks of the sizes of the inherited ones, written. */
static inline const char *grow(growth *g, size_t count)
{
    uint64_t random = (uint64_t)getpid();
    g->count = count;
    g->bytes = 0;
    g->blocks = calloc(count, sizeof *g->blocks);
    CHECK(g->blocks != NULL, "no memory for the test");
    for (size_t i = 0; i < count; i++) {
        size_t like = random_below(&random, COUNT);
        size_t size = inherited.sizes[like];
        neve_domain domain = (neve_domain)inherited.domains[like];
        g->blocks[i] = i % 8 == 0 ? neve_heap_calloc(inherited.heap, domain, 1, size)
                                  : neve_heap_alloc(inherited.heap, domain, size);
        CHECK(g->blocks[i] != NULL, "no memory");
        size_t usable = neve_heap_usable_size(inherited.heap, g->blocks[i]);
        pattern_fill(g->blocks[i], usable, i);
        g->bytes += usable;
    }
    return NULL;
}

static inline const char *check_growth(const growth *g)
{
    for (size_t i = 0; i < g->count; i++)
        CHECK(pattern_holds(g->blocks[i], neve_heap_usable_size(inherited.heap, g->blocks[i]), i),
              "new block %zu is damaged", i);
    return NULL;
}

#endif
