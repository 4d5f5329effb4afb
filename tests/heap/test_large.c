/* SPDX-License-Identifier: MIT */
/*
 * Blocks over NEVE_SMALL_MAX: what the heap asks of the large allocator that
 * it was given, what it does when that allocator refuses, and that it gives
 * every block back.
 */
#include "heap_support.h"

#include "heap/heap_internal.h"

/* An allocator that knows what it has given out and refuses on demand. */
typedef struct counting {
    size_t live, live_bytes;
    uint64_t mallocs, reallocs, frees;
    uint64_t refuse_from; /* this call of malloc or realloc and all later ones fail; 0: none */
    bool always_moves;
    const char *misuse;
} counting;

typedef struct tag {
    _Alignas(16) uint64_t magic;
    size_t size;
} tag;

#define MAGIC UINT64_C(0x6c61726765626c6b)

_Static_assert(sizeof(tag) % 16 == 0, "the tag keeps the alignment");

static bool refuses(counting *c)
{
    if (c->refuse_from > 1)
        c->refuse_from--;
    else if (c->refuse_from == 1)
        return true;
    return false;
}

static void *counting_malloc(void *ctx, size_t size)
{
    counting *c = ctx;
    c->mallocs++;
    if (size <= NEVE_SMALL_MAX)
        c->misuse = "malloc of a small size";
    if (refuses(c))
        return NULL;
    tag *block = nv_large_system.malloc(NULL, sizeof *block + size);
    if (block == NULL)
        return NULL;
    *block = (tag){MAGIC, size};
    c->live++;
    c->live_bytes += size;
    return block + 1;
}

static void counting_free(void *ctx, void *at)
{
    counting *c = ctx;
    tag *block = (tag *)at - 1;
    c->frees++;
    if (at == NULL || block->magic != MAGIC) {
        c->misuse = "free of what was not given out";
        return;
    }
    block->magic = 0;
    c->live--;
    c->live_bytes -= block->size;
    free(block);
}

static void *counting_realloc(void *ctx, void *at, size_t size)
{
    counting *c = ctx;
    tag *block = (tag *)at - 1;
    c->reallocs++;
    if (at == NULL || block->magic != MAGIC) {
        c->misuse = "realloc of what was not given out";
        return NULL;
    }
    if (refuses(c))
        return NULL;
    size_t old_size = block->size;
    if (c->always_moves) {
        tag *moved = nv_large_system.malloc(NULL, sizeof *moved + size);
        if (moved == NULL)
            return NULL;
        memcpy(moved, block, sizeof *moved + (size < old_size ? size : old_size));
        block->magic = 0;
        free(block);
        block = moved;
    } else {
        block = nv_large_system.realloc(NULL, block, sizeof *block + size);
        if (block == NULL)
            return NULL;
    }
    *block = (tag){MAGIC, size};
    c->live_bytes = c->live_bytes - old_size + size;
    return block + 1;
}

static neve_heap *heap_create_counting(counting *c)
{
    neve_large_allocator large = {sizeof large, counting_malloc, counting_realloc, counting_free, c,
                                  NULL};
    neve_heap_options options = {.struct_size = sizeof options};
    options.large = &large;
    memset(c, 0, sizeof *c);
    neve_heap *heap = NULL;
    assert_ok(neve_heap_create(&options, &heap));
    /* The heap has copied it. */
    memset(&large, 0xEE, sizeof large);
    return heap;
}

static void assert_counts_agree(const counting *c, const neve_heap *heap)
{
    neve_heap_stats stats = heap_stats(heap);
    assert_null(c->misuse);
    assert_int_equal(stats.large_blocks, c->live);
    assert_int_equal(stats.large_bytes, c->live_bytes);
}

static void only_large_blocks_come_from_it(void **state)
{
    (void)state;
    counting c;
    neve_heap *heap = heap_create_counting(&c);
    void *small = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, NEVE_SMALL_MAX);
    assert_int_equal(c.mallocs, 0);
    void *large = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, NEVE_SMALL_MAX + 1);
    assert_int_equal(c.mallocs, 1);
    assert_counts_agree(&c, heap);
    assert_true(neve_heap_owns(heap, large));
    assert_int_equal(neve_heap_usable_size(heap, large), NEVE_SMALL_MAX + 1);
    /* Not its inside, and not the allocator's own header. */
    assert_false(neve_heap_owns(heap, (char *)large + 16));
    assert_false(neve_heap_owns(heap, (char *)large - 16));
    neve_heap_free(heap, small);
    assert_int_equal(c.frees, 0);
    assert_true(neve_heap_try_free(heap, large));
    assert_int_equal(c.frees, 1);
    assert_counts_agree(&c, heap);
    neve_heap_destroy(heap);
    assert_null(c.misuse);
}

static void destroy_gives_every_block_back(void **state)
{
    (void)state;
    counting c;
    neve_heap *heap = heap_create_counting(&c);
    uint64_t random = 1;
    for (size_t i = 0; i < 5000; i++) {
        void *block = neve_heap_alloc(heap, (neve_domain)(i % NEVE_DOMAINS),
                                      513 + random_below(&random, 3000));
        assert_non_null(block);
        if (i % 3 == 0)
            neve_heap_free(heap, block);
    }
    assert_counts_agree(&c, heap);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
    assert_int_equal(c.live, 0);
    assert_int_equal(c.live_bytes, 0);
    assert_null(c.misuse);
}

static void random_operations(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        counting c;
        shadow s;
        neve_heap *heap = heap_create_counting(&c);
        c.always_moves = seed % 2 == 0;
        assert_true(shadow_create(&s, heap, 500, seed));
        for (size_t step = 0; step < affordable(20000); step++)
            assert_shadow(&s, shadow_step(&s));
        assert_shadow(&s, shadow_verify(&s));
        assert_shadow(&s, shadow_check_heap(&s));
        assert_shadow(&s, shadow_check_stats(&s));
        assert_counts_agree(&c, heap);
        assert_shadow(&s, shadow_free_all(&s));
        assert_int_equal(c.live, 0);
        shadow_destroy(&s);
        neve_heap_destroy(heap);
        assert_null(c.misuse);
    }
}

static void refusals_are_passed_on(void **state)
{
    (void)state;
    counting c;
    neve_heap *heap = heap_create_counting(&c);
    unsigned char *large = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 1000);
    unsigned char *small = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 100);
    assert_true(large != NULL && small != NULL);
    pattern_fill(large, 1000, 1);
    pattern_fill(small, 100, 2);
    c.refuse_from = 1;
    for (int d = 0; d < NEVE_DOMAINS; d++) {
        assert_null(neve_heap_alloc(heap, (neve_domain)d, 1000));
        assert_null(neve_heap_calloc(heap, (neve_domain)d, 10, 100));
        assert_null(neve_heap_realloc(heap, (neve_domain)d, NULL, 1000));
    }
    assert_null(neve_heap_realloc(heap, NEVE_DOMAIN_RAW, large, 2000));
    assert_null(neve_heap_realloc(heap, NEVE_DOMAIN_OBJECT, small, 2000));
    assert_true(pattern_holds(large, 1000, 1));
    assert_true(pattern_holds(small, 100, 2));
    assert_true(neve_heap_owns(heap, large) && neve_heap_owns(heap, small));
    assert_counts_agree(&c, heap);
    assert_heap_sound(heap);
    /* Small blocks go on; a large one becomes a small one without it. */
    void *other = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 500);
    assert_non_null(other);
    large = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, large, 50);
    assert_non_null(large);
    assert_true(pattern_holds(large, 50, 1));
    assert_counts_agree(&c, heap);
    c.refuse_from = 0;
    void *again = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 1000);
    assert_non_null(again);
    neve_heap_free(heap, again);
    neve_heap_free(heap, other);
    neve_heap_free(heap, large);
    neve_heap_free(heap, small);
    neve_heap_destroy(heap);
    assert_int_equal(c.live, 0);
    assert_null(c.misuse);
}

static void refused_at_each_call_in_turn(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 60; n++) {
        counting c;
        shadow s;
        neve_heap *heap = heap_create_counting(&c);
        assert_true(shadow_create(&s, heap, 40, n));
        s.may_refuse = true;
        for (int step = 0; step < 400; step++) {
            if (step == 100)
                c.refuse_from = n; /* from the n-th call on, all are refused ... */
            if (step == 250)
                c.refuse_from = 0; /* ... until memory is there again */
            assert_shadow(&s, shadow_step(&s));
        }
        assert_shadow(&s, shadow_verify(&s));
        assert_shadow(&s, shadow_check_heap(&s));
        assert_shadow(&s, shadow_check_stats(&s));
        assert_counts_agree(&c, heap);
        assert_shadow(&s, shadow_free_all(&s));
        assert_int_equal(c.live, 0);
        shadow_destroy(&s);
        neve_heap_destroy(heap);
    }
}

static void incomplete_allocators_are_refused(void **state)
{
    (void)state;
    for (int missing = 0; missing < 3; missing++) {
        counting c;
        memset(&c, 0, sizeof c);
        neve_large_allocator large = {
            sizeof large, counting_malloc, counting_realloc, counting_free, &c, NULL};
        if (missing == 0)
            large.malloc = NULL;
        else if (missing == 1)
            large.realloc = NULL;
        else
            large.free = NULL;
        neve_heap_options options = {.struct_size = sizeof options};
        options.large = &large;
        neve_heap *heap = NULL;
        assert_int_equal(neve_heap_create(&options, &heap), NEVE_EINVAL);
        assert_null(heap);
    }
}

static void many_large_blocks(void **state)
{
    /* Through several sizes of the registry, freed in shuffled order. */
    (void)state;
    enum { COUNT = 20000 };
    static void *blocks[COUNT];
    static size_t order[COUNT];
    counting c;
    neve_heap *heap = heap_create_counting(&c);
    uint64_t random = 9;
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = neve_heap_alloc(heap, (neve_domain)(i % NEVE_DOMAINS), 513 + i % 100);
        assert_non_null(blocks[i]);
    }
    assert_counts_agree(&c, heap);
    assert_heap_sound(heap);
    random_order(&random, order, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(neve_heap_usable_size(heap, blocks[order[i]]), 513 + order[i] % 100);
        neve_heap_free(heap, blocks[order[i]]);
        assert_false(neve_heap_owns(heap, blocks[order[i]]));
        if (i % 5000 == 0)
            assert_heap_sound(heap);
    }
    assert_counts_agree(&c, heap);
    assert_int_equal(c.live, 0);
    neve_heap_destroy(heap);
}

static void churn_does_not_grow_the_tables(void **state)
{
    /* First in, first out: the next block is made before the last one goes, so
     * that lists of the heap's own never find a moment of emptiness. With a
     * collector that is switched off nobody takes the list of young objects. */
    (void)state;
    enum { WINDOW = 8 };
    for (int d = 0; d < NEVE_DOMAINS; d++) {
        counting c;
        neve_heap *heap = heap_create_counting(&c);
        heap->tracks_touched = true;
        void *window[WINDOW] = {NULL};
        size_t before = 0;
        for (size_t i = 0; i < affordable(300000); i++) {
            void *next = neve_heap_alloc(heap, (neve_domain)d, 600);
            assert_non_null(next);
            neve_heap_free(heap, window[i % WINDOW]);
            window[i % WINDOW] = next;
            if (i == 1000)
                before = heap_stats(heap).side_table_bytes;
        }
        size_t after = heap_stats(heap).side_table_bytes;
        if (after > before + 32 * 1024)
            fail_msg("domain %d: %d live blocks, tables grew by %zu kB", d, WINDOW,
                     (after - before) / 1024);
        neve_heap_destroy(heap);
        assert_int_equal(c.live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_large_blocks_come_from_it),
        cmocka_unit_test(destroy_gives_every_block_back),
        cmocka_unit_test(random_operations),
        cmocka_unit_test(refusals_are_passed_on),
        cmocka_unit_test(refused_at_each_call_in_turn),
        cmocka_unit_test(incomplete_allocators_are_refused),
        cmocka_unit_test(many_large_blocks),
        cmocka_unit_test(churn_does_not_grow_the_tables),
    };
    return cmocka_run_group_tests_name("heap large blocks", tests, NULL, NULL);
}
