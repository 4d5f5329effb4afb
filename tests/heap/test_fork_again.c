/* SPDX-License-Identifier: MIT */
/*
 * Processes that fork again and again: what comes before a fork, holes that a
 * child gets back, chains of processes, thousands of short-lived children, forks
 * from threads. Nothing may grow for ever, in the parent or along a chain.
 */
#include "inheritance.h"

#include "heap/heap_internal.h"

#include <pthread.h>

/* ---- before the fork ---- */

static void before_a_fork_memory_goes_back_and_holes_are_filled(void **state)
{
    (void)state;
    /* Pools of 64-byte blocks: every one of them has as many free blocks as its
     * number says, in an order that has nothing to do with it. */
    enum { POOLS = 60, BLOCKS = (int)(POOL_BYTES / 64) };
    static unsigned char *blocks[POOLS][BLOCKS];
    neve_heap *heap = heap_create_default();
    for (int p = 0; p < POOLS; p++)
        for (int b = 0; b < BLOCKS; b++)
            assert_non_null(blocks[p][b] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 64));
    unsigned char *current = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 64);
    assert_non_null(current);
    for (int i = 0; i < POOLS; i++) {
        int p = i * 37 % POOLS;
        for (int b = 0; b <= p; b++)
            neve_heap_free(heap, blocks[p][b]);
    }
    void *batch[2000];
    for (int i = 0; i < 2000; i++)
        assert_non_null(batch[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 512));
    for (int i = 0; i < 2000; i++)
        neve_heap_free(heap, batch[i]);
    assert_true(heap_stats(heap).pools_cached > 0);
    neve_heap_before_fork(heap);
    assert_int_equal(heap_stats(heap).pools_cached, 0);
    assert_heap_sound(heap);

    /* First the current pool fills up, then that with one hole, that with two ... */
    for (int b = 1; b < BLOCKS; b++)
        assert_non_null(neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 64));
    for (int p = 0; p < POOLS; p++) {
        for (int b = 0; b <= p; b++) {
            unsigned char *block = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 64);
            assert_non_null(block);
            if ((uintptr_t)block / POOL_BYTES != (uintptr_t)blocks[p][0] / POOL_BYTES)
                fail_msg("hole %d of %d was filled in another pool", b, p);
        }
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

/* ---- what a child gets back ---- */

/* Frees all of one inherited pool, and uses its memory again. */
static const char *empty_pools(void *arg)
{
    neve_domain domain = *(const neve_domain *)arg;
    neve_heap_after_fork_child(inherited.heap);
    watch w;
    CHECK(watch_begin(&w), "no page map");
    size_t freed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] != NULL && inherited.domains[i] == domain) {
            neve_heap_free(inherited.heap, inherited.blocks[i]);
            inherited.freed[i] = true;
            freed++;
        }
    }
    CHECK(freed > 10000, "only %zu blocks were freed", freed);
    CHECK_HEAP(inherited.heap);
    /* Their memory comes back as fresh pages, not as copies of the parent's. */
    size_t reused = 0;
    for (size_t i = 0; i < 1000; i++) {
        const unsigned char *block = neve_heap_alloc(inherited.heap, NEVE_DOMAIN_RAW, 512);
        CHECK(block != NULL, "no memory");
        if (!page_set_has(&w.pages, block) || !page_set_has(&w.pages, block + 511))
            continue;
        reused++;
        for (size_t k = 16; k < 512; k++)
            CHECK(block[k] == 0, "a new block lies on an old page");
    }
    CHECK(reused > 500, "only %zu new blocks lie in pools that were emptied", reused);
    growth g;
    const char *wrong = grow(&g, 60000);
    if (wrong != NULL)
        return wrong;
    CHECK_HEAP(inherited.heap);
    if ((wrong = check_growth(&g)) != NULL || (wrong = check_inherited_contents()) != NULL)
        return wrong;
    watch_end(&w);
    free(g.blocks);
    return NULL;
}

static void emptied_pools_are_used_again(void **state)
{
    (void)state;
    if (!page_map_works())
        SKIP_BECAUSE("this kernel does not tell which pages are shared");
    inherit(16, 256);
    for (neve_domain domain = 0; domain < NEVE_DOMAINS; domain++)
        assert_child(empty_pools, &domain);
    disinherit();
}

/* In each page one object dies: all holes of these pages serve again. */
static const char *fill_holes(void *arg)
{
    const neve_heap_stats *before = arg;
    neve_heap_after_fork_child(inherited.heap);
    page_set seen;
    memset(&seen, 0, sizeof seen);
    for (size_t i = 0; i < COUNT; i++)
        if (inherited.blocks[i] != NULL)
            page_set_add(&seen, inherited.blocks[i], 1);
    page_set_finish(&seen);
    size_t pages = seen.count, freed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] == NULL)
            continue;
        uintptr_t number = (uintptr_t)inherited.blocks[i] / page_bytes();
        uintptr_t *at = bsearch(&number, seen.numbers, seen.count, sizeof number, page_compare);
        if (at == NULL)
            continue;
        neve_heap_free(inherited.heap, inherited.blocks[i]);
        inherited.freed[i] = true;
        freed++;
        memmove(at, at + 1, (seen.count - (size_t)(at - seen.numbers) - 1) * sizeof *at);
        seen.count--;
    }
    CHECK(freed == pages, "freed %zu blocks of %zu pages", freed, pages);
    CHECK_HEAP(inherited.heap);
    /* As many blocks as were free in the parent need no more pools than it had. */
    for (size_t i = 0; i < COUNT / 2; i++)
        CHECK(neve_heap_alloc(inherited.heap, NEVE_DOMAIN_LEAF, 64) != NULL, "no memory");
    neve_heap_stats after = heap_stats(inherited.heap);
    CHECK(after.pools_used <= before->pools_used + before->pools_used / 20, "%zu pools became %zu",
          before->pools_used, after.pools_used);
    CHECK_HEAP(inherited.heap);
    page_set_clear(&seen);
    return check_inherited_contents();
}

static void holes_come_back_with_their_page(void **state)
{
    (void)state;
    memset(&inherited, 0, sizeof inherited);
    inherited.heap = heap_create_default();
    for (size_t i = 0; i < COUNT; i++) {
        inherited.sizes[i] = 64;
        inherited.domains[i] = NEVE_DOMAIN_LEAF;
        inherited.blocks[i] = neve_heap_alloc(inherited.heap, NEVE_DOMAIN_LEAF, 64);
        assert_non_null(inherited.blocks[i]);
        pattern_fill(inherited.blocks[i], 64, stamp_of(i));
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 8 != 0) {
            neve_heap_free(inherited.heap, inherited.blocks[i]);
            inherited.blocks[i] = NULL;
        }
    }
    neve_heap_stats stats = heap_stats(inherited.heap);
    assert_child(fill_holes, &stats);
    disinherit();
}

/* ---- large blocks ---- */

enum { LARGE = 6000 };
static void *large[LARGE];

/* The registry of large blocks is read, and what changes is noted elsewhere. */
static const char *change_large_blocks(void *arg)
{
    neve_heap *heap = arg;
    int map = page_map_open();
    neve_heap_after_fork_child(heap);
    page_set pages;
    memset(&pages, 0, sizeof pages);
    page_set_add(&pages, heap->large_inherited.slots,
                 heap->large_inherited.capacity * sizeof(nv_large));
    page_set_finish(&pages);
    page_set_keep_shared(&pages, map);
    CHECK(pages.count > 40, "only %zu pages of the registry are shared", pages.count);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = round; i < LARGE; i += 5) {
            neve_heap_free(heap, large[i]);
            CHECK(!neve_heap_owns(heap, large[i]), "a freed block is still known");
            large[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 700 + i % 90);
            CHECK(large[i] != NULL, "no memory");
        }
        for (size_t i = round; i < LARGE; i += 7) {
            large[i] = neve_heap_realloc(heap, NEVE_DOMAIN_LEAF, large[i], 800 + i);
            CHECK(large[i] != NULL && neve_heap_usable_size(heap, large[i]) == 800 + i, "size");
        }
        CHECK_HEAP(heap);
    }
    CHECK(page_set_count_with(&pages, map, PAGE_PRESENT | PAGE_EXCLUSIVE) == 0,
          "%zu pages of the registry were written",
          page_set_count_with(&pages, map, PAGE_PRESENT | PAGE_EXCLUSIVE));
    page_set_clear(&pages);
    close(map);
    CHECK(heap_stats(heap).large_blocks == LARGE, "a block was lost or counted twice");
    for (size_t i = 0; i < LARGE; i += 2)
        neve_heap_free(heap, large[i]);
    CHECK_HEAP(heap);
    neve_heap_destroy(heap); /* with the others; leaks are looked for */
    return NULL;
}

static void large_blocks_leave_their_registry_alone(void **state)
{
    (void)state;
    if (!page_map_works())
        SKIP_BECAUSE("this kernel does not tell which pages are shared");
    neve_heap *heap = heap_create_default();
    for (size_t i = 0; i < LARGE; i++)
        assert_non_null(large[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 600 + i % 100));
    assert_child(change_large_blocks, heap);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

/* ---- chains ---- */

enum { CHAIN_LIVE = 20000, CHAIN_STEPS = 30000 };
static void *chain_live[CHAIN_LIVE]; /* each process has its copy */

typedef struct chain {
    neve_heap *heap;
    void **live;
    uint64_t random;
    int generation, last;
    size_t first_pools; /* in use at the end of generation 0 */
} chain;

/* A live set that stays as large as it is and is replaced at random, as each
 * process of the chain is the child of the last. */
static const char *chain_link(void *arg)
{
    chain *c = arg;
    neve_heap_after_fork_child(c->heap);
    for (size_t i = 0; i < CHAIN_STEPS; i++) {
        size_t at = random_below(&c->random, CHAIN_LIVE);
        size_t size = 16 + random_below(&c->random, 8) * 16;
        neve_heap_free(c->heap, c->live[at]);
        c->live[at] = neve_heap_alloc(c->heap, (neve_domain)(at % NEVE_DOMAINS), size);
        CHECK(c->live[at] != NULL, "no memory");
    }
    CHECK_HEAP(c->heap);
    neve_heap_stats stats = heap_stats(c->heap);
    /* It comes to rest at 1.9 times the pools of the first generation: a third of the
     * blocks are raw, and freed ones serve again when their pool is empty. Were holes
     * lost until then in all domains, it would be 2.7 times. */
    if (c->generation == 0)
        c->first_pools = stats.pools_used;
    CHECK(stats.pools_used * 5 <= 11 * c->first_pools,
          "generation %d has %zu pools in use, the first had %zu", c->generation, stats.pools_used,
          c->first_pools);
    if (c->generation++ == c->last)
        return NULL;
    return child_verdict(chain_link, c);
}

static void a_chain_of_processes_does_not_grow(void **state)
{
    (void)state;
    chain c = {.heap = heap_create_default(), .random = 5, .last = 40};
    if (IS_SANITIZED || runs_under_valgrind())
        c.last = 12;
    c.live = chain_live;
    for (size_t i = 0; i < CHAIN_LIVE; i++)
        assert_non_null(
            c.live[i] = neve_heap_alloc(c.heap, (neve_domain)(i % NEVE_DOMAINS), 16 + i % 8 * 16));
    assert_child(chain_link, &c);
    assert_heap_sound(c.heap);
    neve_heap_destroy(c.heap);
}

/* ---- a parent with many children ---- */

static const char *serve_once(void *arg)
{
    chain *c = arg;
    neve_heap_after_fork_child(c->heap);
    for (size_t i = 0; i < 200; i++) {
        size_t at = random_below(&c->random, CHAIN_LIVE);
        neve_heap_free(c->heap, c->live[at]);
        c->live[at] = neve_heap_alloc(c->heap, (neve_domain)(i % NEVE_DOMAINS), 16 + i);
        CHECK(c->live[at] != NULL, "no memory");
    }
    return NULL;
}

static void thousands_of_children_cost_the_parent_nothing(void **state)
{
    (void)state;
    size_t children = affordable(2000);
    chain c = {.heap = heap_create_default(), .random = 9};
    c.live = chain_live;
    for (size_t i = 0; i < CHAIN_LIVE; i++)
        assert_non_null(
            c.live[i] = neve_heap_alloc(c.heap, (neve_domain)(i % NEVE_DOMAINS), 16 + i % 8 * 16));
    neve_heap_stats first = {0};
    for (size_t n = 0; n < children; n++) {
        if (n % 4 == 0)
            neve_heap_before_fork(c.heap);
        assert_child(serve_once, &c);
        for (size_t i = 0; i < 200; i++) {
            size_t at = random_below(&c.random, CHAIN_LIVE);
            neve_heap_free(c.heap, c.live[at]);
            c.live[at] =
                neve_heap_alloc(c.heap, (neve_domain)(at % NEVE_DOMAINS), 16 + at % 8 * 16);
            assert_non_null(c.live[at]);
        }
        if (n == children / 4)
            first = heap_stats(c.heap);
    }
    neve_heap_stats last = heap_stats(c.heap);
    assert_heap_sound(c.heap);
    assert_int_equal(stats_blocks(&last), CHAIN_LIVE);
    assert_int_equal(last.side_table_bytes, first.side_table_bytes);
    if (last.pools_used > first.pools_used + first.pools_used / 10)
        fail_msg("%zu pools in use became %zu", first.pools_used, last.pools_used);
    assert_true(last.arena_bytes <= first.arena_bytes + MIB);
    neve_heap_destroy(c.heap);
}

/* ---- threads ---- */

/* Each thread has a heap of its own; any of them may fork between its operations,
 * and then only the forking thread's heap is used in the child. */
typedef struct forker {
    pthread_t thread;
    uint64_t seed;
    shadow s; /* not on the thread's stack, which is gone in another thread's child */
    char verdict[700];
} forker;

static const char *go_on(void *arg)
{
    shadow *s = arg;
    neve_heap_after_fork_child(s->heap);
    for (int step = 0; step < 500; step++)
        CHECK_SHADOW(s, shadow_step(s));
    CHECK_SHADOW(s, shadow_verify(s));
    CHECK_SHADOW(s, shadow_check_heap(s));
    return NULL;
}

/* child_verdict keeps its text in a static buffer. */
static pthread_mutex_t verdict_lock = PTHREAD_MUTEX_INITIALIZER;

static void *fork_from_a_thread(void *arg)
{
    forker *f = arg;
    neve_heap *heap;
    shadow *s = &f->s;
    if (neve_heap_create(NULL, &heap) != NEVE_OK || !shadow_create(s, heap, 500, f->seed)) {
        snprintf(f->verdict, sizeof f->verdict, "no memory");
        return NULL;
    }
    for (int round = 0; round < 8 && f->verdict[0] == '\0'; round++) {
        for (int step = 0; step < 300; step++)
            if (!shadow_step(s))
                snprintf(f->verdict, sizeof f->verdict, "%s", s->error);
        neve_heap_before_fork(heap);
        pthread_mutex_lock(&verdict_lock);
        const char *wrong = child_verdict(go_on, s);
        if (wrong != NULL)
            snprintf(f->verdict, sizeof f->verdict, "%s", wrong);
        pthread_mutex_unlock(&verdict_lock);
    }
    if (!shadow_check_heap(s) || !shadow_verify(s))
        snprintf(f->verdict, sizeof f->verdict, "%s", s->error);
    shadow_destroy(s);
    neve_heap_destroy(heap);
    return NULL;
}

static void threads_fork(void **state)
{
    (void)state;
    static forker forkers[4];
    if (runs_under_valgrind())
        SKIP_BECAUSE("it takes what the C library holds for threads as lost in a child");
    if (IS_SANITIZED)
        SKIP_BECAUSE("a sanitizer's own malloc may be locked in the child of a thread");
    memset(forkers, 0, sizeof forkers);
    for (size_t i = 0; i < 4; i++) {
        forkers[i].seed = i + 1;
        assert_int_equal(pthread_create(&forkers[i].thread, NULL, fork_from_a_thread, &forkers[i]),
                         0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(forkers[i].thread, NULL);
    for (size_t i = 0; i < 4; i++)
        if (forkers[i].verdict[0] != '\0')
            fail_msg("%s", forkers[i].verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_a_fork_memory_goes_back_and_holes_are_filled),
        cmocka_unit_test(emptied_pools_are_used_again),
        cmocka_unit_test(holes_come_back_with_their_page),
        cmocka_unit_test(large_blocks_leave_their_registry_alone),
        cmocka_unit_test(a_chain_of_processes_does_not_grow),
        cmocka_unit_test(thousands_of_children_cost_the_parent_nothing),
        cmocka_unit_test(threads_fork),
    };
    return cmocka_run_group_tests_name("heap and many forks", tests, NULL, NULL);
}
