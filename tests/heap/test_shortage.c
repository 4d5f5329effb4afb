/* SPDX-License-Identifier: MIT */
/*
 * What happens before an allocation returns NULL: the hook is asked, the allocation
 * tried again, and the hook never called from within itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "neve.h"

/* A system that has so many bytes for large blocks, and a program that holds some. */
typedef struct world {
    neve_heap *heap;
    size_t available;
    void *spare[4]; /* what the hook frees, the last first */
    unsigned asked, last_attempt;
    size_t last_bytes;
    bool allocates, answer_without_freeing;
} world;

static void *limited_malloc(void *ctx, size_t size)
{
    world *w = ctx;
    if (size > w->available)
        return NULL;
    size_t *block = malloc(size + 16);
    assert_non_null(block);
    *block = size;
    w->available -= size;
    return (char *)block + 16;
}

static void limited_free(void *ctx, void *block)
{
    world *w = ctx;
    if (block == NULL)
        return;
    size_t *start = (size_t *)(void *)((char *)block - 16);
    w->available += *start;
    free(start);
}

static void *limited_realloc(void *ctx, void *block, size_t size)
{
    void *moved = limited_malloc(ctx, size);
    if (moved != NULL) {
        size_t old = *(size_t *)(void *)((char *)block - 16);
        memcpy(moved, block, old < size ? old : size);
        limited_free(ctx, block);
    }
    return moved;
}

static bool on_shortage(void *ctx, size_t bytes, unsigned attempt)
{
    world *w = ctx;
    w->asked++;
    w->last_attempt = attempt;
    w->last_bytes = bytes;
    if (w->allocates) {
        assert_null(neve_heap_alloc(w->heap, NEVE_DOMAIN_RAW, 100000));
        void *small = neve_heap_alloc(w->heap, NEVE_DOMAIN_RAW, 64);
        assert_non_null(small);
        neve_heap_free(w->heap, small);
    }
    for (int i = 3; i >= 0; i--) {
        if (w->spare[i] != NULL) {
            neve_heap_free(w->heap, w->spare[i]);
            w->spare[i] = NULL;
            return true;
        }
    }
    return w->answer_without_freeing && attempt < 3;
}

static void make(world *w)
{
    *w = (world){.available = 50000};
    neve_large_allocator large = {.struct_size = sizeof large,
                                  .malloc = limited_malloc,
                                  .realloc = limited_realloc,
                                  .free = limited_free,
                                  .ctx = w};
    neve_heap_options options = {.struct_size = sizeof options,
                                 .large = &large,
                                 .on_out_of_memory = on_shortage,
                                 .on_out_of_memory_ctx = w};
    assert_int_equal(neve_heap_create(&options, &w->heap), NEVE_OK);
    for (int i = 0; i < 4; i++) {
        w->spare[i] = neve_heap_alloc(w->heap, NEVE_DOMAIN_RAW, 10000);
        assert_non_null(w->spare[i]);
    }
    assert_int_equal(w->asked, 0);
}

static void end(world *w)
{
    char message[200];
    if (neve_heap_check(w->heap, message, sizeof message) != NEVE_OK)
        fail_msg("%s", message);
    neve_heap_destroy(w->heap);
    assert_int_equal(w->available, 50000);
}

static void test_hook_makes_room(void **state)
{
    (void)state;
    world w;
    make(&w);
    char *block = neve_heap_alloc(w.heap, NEVE_DOMAIN_RAW, 25000);
    assert_non_null(block);
    assert_int_equal(w.asked, 2);
    assert_int_equal(w.last_attempt, 2);
    assert_int_equal(w.last_bytes, 25000);
    memset(block, 7, 25000);
    /* 4,000 are left then: a copy of 14,000 bytes needs one spare more. */
    char *small = neve_heap_calloc(w.heap, NEVE_DOMAIN_RAW, 1000, 1);
    assert_non_null(small);
    small = neve_heap_realloc(w.heap, NEVE_DOMAIN_RAW, small, 14000);
    assert_non_null(small);
    assert_int_equal(w.asked, 3);
    assert_int_equal(small[999], 0);
    end(&w);
}

static void test_hook_gives_up(void **state)
{
    (void)state;
    world w;
    make(&w);
    char *block = w.spare[0];
    w.spare[0] = NULL;
    block[9999] = 'x';
    assert_null(neve_heap_alloc(w.heap, NEVE_DOMAIN_RAW, 60000));
    assert_int_equal(w.asked, 4); /* three spares, and once in vain */
    assert_int_equal(w.last_attempt, 4);
    w.answer_without_freeing = true;
    w.asked = 0;
    assert_null(neve_heap_realloc(w.heap, NEVE_DOMAIN_RAW, block, 60000));
    assert_int_equal(w.asked, 3);
    assert_int_equal(block[9999], 'x');
    /* With another allocator to turn to, nobody is asked. */
    w.asked = 0;
    assert_null(neve_heap_alloc_or(w.heap, NEVE_DOMAIN_RAW, 60000, limited_malloc, &w));
    assert_int_equal(w.asked, 0);
    end(&w);
}

static void test_hook_is_not_called_from_within_itself(void **state)
{
    (void)state;
    world w;
    make(&w);
    w.allocates = true;
    assert_non_null(neve_heap_alloc(w.heap, NEVE_DOMAIN_RAW, 15000));
    assert_int_equal(w.asked, 1);
    end(&w);
}

/* The hook frees blocks of the very size class that is asked for: the second attempt
 * takes one of these. */
static void test_small_blocks(void **state)
{
    (void)state;
    world w;
    make(&w);
    if (neve_heap_fail_alloc_at(w.heap, 0) != NEVE_OK) {
        end(&w);
        skip();
    }
    for (int i = 0; i < 4; i++) {
        neve_heap_free(w.heap, w.spare[i]);
        w.spare[i] = neve_heap_alloc(w.heap, NEVE_DOMAIN_LEAF, 500);
    }
    void *expected = w.spare[3];
    neve_heap_fail_alloc_at(w.heap, 1);
    assert_ptr_equal(neve_heap_alloc(w.heap, NEVE_DOMAIN_LEAF, 500), expected);
    assert_int_equal(w.asked, 1);
    end(&w);
}

/* A size of 0 is one request like any other: it is asked for once, and not at all
 * where there is another allocator to turn to. */
static void test_size_0_is_one_request(void **state)
{
    (void)state;
    world w;
    make(&w);
    if (neve_heap_fail_alloc_at(w.heap, 0) != NEVE_OK) {
        end(&w);
        skip();
    }
    void *blocks[4]; /* the first so that there is a pool */
    assert_non_null(blocks[3] = neve_heap_alloc(w.heap, NEVE_DOMAIN_LEAF, 1));
    neve_heap_fail_alloc_at(w.heap, 2);
    assert_non_null(blocks[0] = neve_heap_alloc(w.heap, NEVE_DOMAIN_LEAF, 0));
    assert_int_equal(w.asked, 0);
    assert_non_null(blocks[1] = neve_heap_alloc(w.heap, NEVE_DOMAIN_LEAF, 0));
    assert_int_equal(w.asked, 1);
    assert_int_equal(w.last_bytes, 1); /* as which it counts */
    neve_heap_fail_alloc_at(w.heap, 2);
    blocks[2] = neve_heap_alloc_or(w.heap, NEVE_DOMAIN_LEAF, 0, limited_malloc, &w);
    assert_true(neve_heap_owns(w.heap, blocks[2]));
    assert_int_equal(w.asked, 1);
    for (int i = 0; i < 4; i++)
        neve_heap_free(w.heap, blocks[i]);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hook_makes_room),
        cmocka_unit_test(test_hook_gives_up),
        cmocka_unit_test(test_hook_is_not_called_from_within_itself),
        cmocka_unit_test(test_small_blocks),
        cmocka_unit_test(test_size_0_is_one_request),
    };
    return cmocka_run_group_tests_name("shortage", tests, NULL, NULL);
}
