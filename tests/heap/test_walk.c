/* SPDX-License-Identifier: MIT */
/*
 * The walk over all live blocks: it shows each of them once, as it was allocated, and
 * no other, also in the child of a fork, where freed blocks are held back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "neve.h"

enum { BLOCKS = 3000 };

typedef struct owned {
    void *block;
    size_t size;
    neve_domain domain;
    int seen;
} owned;

typedef struct world {
    neve_heap *heap;
    owned blocks[BLOCKS];
    size_t live, strange, stop_after, seen;
} world;

static size_t size_of(unsigned i)
{
    return i % 40 == 0 ? 600 + i : 1 + i * 7 % 512;
}

static void allocate(world *w, unsigned i)
{
    owned *one = &w->blocks[i];
    *one = (owned){.size = size_of(i), .domain = (neve_domain)(i % NEVE_DOMAINS)};
    one->block = neve_heap_alloc(w->heap, one->domain, one->size);
    assert_non_null(one->block);
    memcpy(one->block, &(char){(char)i}, 1);
    w->live++;
}

static void release(world *w, unsigned i)
{
    neve_heap_free(w->heap, w->blocks[i].block);
    w->blocks[i].block = NULL;
    w->live--;
}

static int by_address(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t)((const owned *)left)->block;
    uintptr_t b = (uintptr_t)((const owned *)right)->block;
    return a < b ? -1 : a > b;
}

static int see(void *arg, const neve_block *block)
{
    world *w = arg;
    owned key = {.block = block->address};
    owned *one = bsearch(&key, w->blocks, BLOCKS, sizeof *w->blocks, by_address);
    if (one == NULL || one->domain != block->domain || block->bytes < one->size ||
        block->is_large != (one->size > NEVE_SMALL_MAX) ||
        block->bytes != neve_heap_usable_size(w->heap, block->address))
        w->strange++;
    else
        one->seen++;
    return ++w->seen == w->stop_after ? 5 : 0;
}

/* Whether the walk shows what is live; sorts the blocks. */
static bool is_walked(world *w)
{
    qsort(w->blocks, BLOCKS, sizeof *w->blocks, by_address);
    for (unsigned i = 0; i < BLOCKS; i++)
        w->blocks[i].seen = 0;
    w->seen = 0;
    if (neve_heap_walk(w->heap, see, w) != 0 || w->strange != 0 || w->seen != w->live)
        return false;
    for (unsigned i = 0; i < BLOCKS; i++)
        if (w->blocks[i].seen != (w->blocks[i].block != NULL))
            return false;
    return true;
}

static void make(world *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(neve_heap_create(NULL, &w->heap), NEVE_OK);
    assert_true(is_walked(w));
    for (unsigned i = 0; i < BLOCKS; i++)
        allocate(w, i);
}

static void test_walk_shows_live_blocks(void **state)
{
    (void)state;
    static world w;
    make(&w);
    assert_true(is_walked(&w));
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i % 3 != 0)
            release(&w, i);
    assert_true(is_walked(&w));
    w.seen = 0;
    w.stop_after = 100;
    assert_int_equal(neve_heap_walk(w.heap, see, &w), 5);
    assert_int_equal(w.seen, 100);
    /* The last of all is a large one. */
    w.seen = 0;
    w.stop_after = w.live;
    assert_int_equal(neve_heap_walk(w.heap, see, &w), 5);
    neve_heap_destroy(w.heap);
}

static void test_walk_in_a_forked_child(void **state)
{
    (void)state;
    static world w;
    make(&w);
    for (unsigned i = 0; i < BLOCKS; i += 5)
        release(&w, i);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        neve_heap_after_fork_child(w.heap);
        bool is_right = is_walked(&w);
        for (unsigned i = 0; i < BLOCKS; i += 2)
            if (w.blocks[i].block != NULL)
                release(&w, i);
        is_right &= is_walked(&w);
        for (unsigned i = 0; i < BLOCKS; i++)
            if (w.blocks[i].block == NULL)
                allocate(&w, i);
        _exit(is_right && is_walked(&w) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(is_walked(&w));
    neve_heap_destroy(w.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_shows_live_blocks),
        cmocka_unit_test(test_walk_in_a_forked_child),
    };
    return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
