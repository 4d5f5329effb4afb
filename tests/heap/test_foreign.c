/* SPDX-License-Identifier: MIT */
/*
 * Blocks that are not the heap's: told apart, left alone by try_free, and
 * reported through the corruption hook when somebody frees them.
 */
#include "heap_support.h"

static unsigned char static_bytes[2048] __attribute__((aligned(16)));

/* Addresses from everywhere but the heap, all readable and 16-byte aligned. */
typedef struct strangers {
    unsigned char *at[12];
    size_t count;
    void *malloced[2];
    neve_heap *other;
} strangers;

static void strangers_create(strangers *s, unsigned char *on_stack)
{
    memset(s, 0, sizeof *s);
    s->malloced[0] = malloc(64);
    s->malloced[1] = malloc(1 << 20);
    s->other = heap_create_default();
    assert_true(s->malloced[0] != NULL && s->malloced[1] != NULL);
    s->at[s->count++] = s->malloced[0];
    s->at[s->count++] = s->malloced[1];
    s->at[s->count++] = on_stack;
    s->at[s->count++] = static_bytes;
    s->at[s->count++] = neve_heap_alloc(s->other, NEVE_DOMAIN_OBJECT, 64);
    s->at[s->count++] = neve_heap_alloc(s->other, NEVE_DOMAIN_RAW, 512);
    s->at[s->count++] = neve_heap_alloc(s->other, NEVE_DOMAIN_RAW, 5000);
    for (size_t i = 0; i < s->count; i++) {
        assert_non_null(s->at[i]);
        pattern_fill(s->at[i], 64, i);
    }
}

static void strangers_destroy(strangers *s)
{
    for (size_t i = 0; i < s->count; i++)
        assert_true(pattern_holds(s->at[i], 64, i));
    assert_heap_sound(s->other);
    free(s->malloced[0]);
    free(s->malloced[1]);
    neve_heap_destroy(s->other);
}

/* Some life of all kinds, so that tables and lists exist. */
static void populate(neve_heap *heap)
{
    for (size_t i = 0; i < 3000; i++) {
        void *block = neve_heap_alloc(heap, (neve_domain)(i % NEVE_DOMAINS), 1 + i % 1200);
        assert_non_null(block);
        if (i % 2 != 0)
            neve_heap_free(heap, block);
    }
}

static void strangers_are_told_apart(void **state)
{
    (void)state;
    _Alignas(16) unsigned char on_stack[64];
    strangers s;
    strangers_create(&s, on_stack);
    for (int round = 0; round < 2; round++) { /* an empty heap, then one with life */
        neve_heap *heap = heap_create_default();
        if (round == 1)
            populate(heap);
        neve_heap_stats before = heap_stats(heap);
        for (size_t i = 0; i < s.count; i++) {
            assert_false(neve_heap_owns(heap, s.at[i]));
            assert_int_equal(neve_heap_usable_size(heap, s.at[i]), 0);
            assert_false(neve_heap_try_free(heap, s.at[i]));
        }
        neve_heap_stats after = heap_stats(heap);
        assert_int_equal(stats_blocks(&before), stats_blocks(&after));
        /* Addresses that no allocator gives out must not crash it either. */
        assert_false(neve_heap_owns(heap, (void *)(uintptr_t)16));
        assert_false(neve_heap_owns(heap, (void *)(UINTPTR_MAX - 15)));
        assert_false(neve_heap_owns(heap, (void *)(UINTPTR_MAX / 2 + 1)));
        assert_int_equal(neve_heap_usable_size(heap, (void *)(UINTPTR_MAX - 15)), 0);
        assert_heap_sound(heap);
        neve_heap_destroy(heap);
    }
    strangers_destroy(&s);
}

static void *last_size; /* what the other allocator was asked for, as a pointer */
static char others[64];

static void *alloc_elsewhere(void *ctx, size_t size)
{
    last_size = (char *)ctx + size;
    return others;
}

static void *last_freed;

static void free_elsewhere(void *ctx, void *block)
{
    assert_ptr_equal(ctx, others);
    last_freed = block;
}

static void another_allocator_serves_the_rest(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    /* What the heap has it gives, whatever the size; what it owns it frees. */
    static const size_t sizes[] = {0, 1, 48, NEVE_SMALL_MAX, NEVE_SMALL_MAX + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = neve_heap_alloc_or(heap, NEVE_DOMAIN_OBJECT, sizes[i], alloc_elsewhere, NULL);
        assert_true(neve_heap_owns(heap, block));
        neve_heap_free_or(heap, block, free_elsewhere, others);
        assert_false(neve_heap_owns(heap, block) && sizes[i] > NEVE_SMALL_MAX);
    }
    neve_heap_free_or(heap, NULL, free_elsewhere, others);
    assert_null(last_size);
    assert_null(last_freed);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);

    neve_heap_free_or(heap, others + 16, free_elsewhere, others);
    assert_ptr_equal(last_freed, others + 16);
    if (neve_heap_fail_alloc_at(heap, 1) == NEVE_OK) {
        assert_ptr_equal(neve_heap_alloc_or(heap, NEVE_DOMAIN_RAW, 40, alloc_elsewhere, others),
                         others);
        assert_ptr_equal(last_size, others + 40);
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static size_t asked_elsewhere;

static void *count_elsewhere(void *ctx, size_t size)
{
    (void)size;
    asked_elsewhere++;
    return ctx;
}

static void rare_sizes_are_left_to_the_other_allocator(void **state)
{
    (void)state;
    enum { RARE = 3 };
    neve_heap_options options = {.struct_size = sizeof options, .rare_requests = RARE};
    neve_heap *heap = NULL;
    assert_ok(neve_heap_create(&options, &heap));
    asked_elsewhere = 0;
    size_t expected = 0;
    for (int d = 0; d < NEVE_DOMAINS; d++)
        for (size_t size = 1; size <= NEVE_SMALL_MAX; size += NEVE_GRANULE) {
            for (int i = 0; i < RARE; i++)
                assert_ptr_equal(
                    neve_heap_alloc_or(heap, (neve_domain)d, size, count_elsewhere, others),
                    others);
            expected += RARE;
            for (int i = 0; i < 2 * RARE; i++)
                assert_true(neve_heap_owns(
                    heap, neve_heap_alloc_or(heap, (neve_domain)d, size, count_elsewhere, others)));
        }
    assert_int_equal(asked_elsewhere, expected);
    neve_heap_destroy(heap);

    /* The child of a fork has pages of its own to fill. */
    assert_ok(neve_heap_create(&options, &heap));
    neve_heap_after_fork_child(heap);
    for (int d = 0; d < NEVE_DOMAINS; d++)
        assert_true(neve_heap_owns(
            heap, neve_heap_alloc_or(heap, (neve_domain)d, 48, count_elsewhere, others)));
    assert_int_equal(asked_elsewhere, expected);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

/* More arenas than the heap's filter has entries in a build for tests. */
static void blocks_of_all_arenas_are_known(void **state)
{
    (void)state;
    enum { BLOCKS = 12 * 2048 };
    neve_heap *heap = heap_create_default();
    static void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 512);
        assert_non_null(blocks[i]);
    }
    assert_true(heap_stats(heap).arenas >= 12);
    for (size_t i = 0; i < BLOCKS; i++)
        assert_true(neve_heap_try_free(heap, blocks[i]));
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void the_inside_of_a_block_is_not_a_block(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    for (size_t size = 16; size <= 2000; size += 48) {
        char *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size);
        assert_non_null(block);
        for (size_t inside = 1; inside < size; inside++) {
            if (neve_heap_owns(heap, block + inside))
                fail_msg("byte %zu of a block of %zu is taken for a block", inside, size);
        }
        assert_true(neve_heap_owns(heap, block));
    }
    neve_heap_destroy(heap);
}

static void freeing_a_stranger_is_reported(void **state)
{
    (void)state;
    _Alignas(16) unsigned char on_stack[64];
    corruption_trap trap;
    strangers s;
    strangers_create(&s, on_stack);
    neve_heap *heap = heap_create_trapped(&trap);
    populate(heap);
    for (size_t i = 0; i < s.count; i++) {
        assert_true(free_is_reported(heap, &trap, s.at[i]));
        assert_int_equal(trap.calls, 1);
        assert_true(strlen(trap.message) > 0);
        /* The hook may leave by longjmp: the heap is as it was. */
        assert_heap_sound(heap);
    }
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 32);
    assert_false(free_is_reported(heap, &trap, block));
    assert_false(free_is_reported(heap, &trap, NULL));
    neve_heap_destroy(heap);
    strangers_destroy(&s);
}

static void resizing_a_stranger_is_reported(void **state)
{
    (void)state;
    corruption_trap trap;
    neve_heap *heap = heap_create_trapped(&trap);
    void *volatile result = NULL;
    if (setjmp(trap.target) == 0) {
        trap.is_set = true;
        result = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, static_bytes, 100);
    }
    trap.is_set = false;
    assert_null(result);
    assert_int_equal(trap.calls, 1);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void returning_hook(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

static const char *free_stranger(void *arg)
{
    neve_heap_options options = {.struct_size = sizeof options};
    options.on_corruption = arg != NULL ? returning_hook : NULL;
    neve_heap *heap = NULL;
    if (neve_heap_create(&options, &heap) == NEVE_OK)
        neve_heap_free(heap, static_bytes);
    return "neve_heap_free returned";
}

static void without_a_hook_it_prints_and_aborts(void **state)
{
    (void)state;
    child_result result;
    child_run(free_stranger, NULL, true, &result);
    assert_true(WIFSIGNALED(result.wait_status));
    assert_int_equal(WTERMSIG(result.wait_status), SIGABRT);
    assert_true(strlen(result.report) > 10);
    assert_null(strstr(result.report, "returned"));
}

static void a_hook_that_returns_is_followed_by_abort(void **state)
{
    (void)state;
    child_result result;
    child_run(free_stranger, static_bytes, true, &result);
    assert_true(WIFSIGNALED(result.wait_status));
    assert_int_equal(WTERMSIG(result.wait_status), SIGABRT);
    if (!is_emulated())                             /* an emulator tells of the signal */
        assert_int_equal(strlen(result.report), 0); /* the hook speaks, the heap does not */
}

/* Frees a block twice with others freed in between; in a child, because an
 * unnoticed second free leaves a heap that must not be used. */
static const char *free_twice(void *arg)
{
    size_t between = *(const size_t *)arg;
    corruption_trap trap;
    neve_heap *heap = heap_create_trapped(&trap);
    void *blocks[40];
    for (size_t i = 0; i < 40; i++) {
        blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 48);
        CHECK(blocks[i] != NULL, "no memory");
    }
    for (size_t i = 0; i <= between; i++)
        CHECK(!free_is_reported(heap, &trap, blocks[i]), "a first free is reported: %s",
              trap.message);
    if (free_is_reported(heap, &trap, blocks[0]))
        return NULL;
    char message[100];
    CHECK(neve_heap_check(heap, message, sizeof message) == NEVE_ECORRUPT,
          "neither the hook nor the checker noticed");
    return NULL;
}

static void freeing_twice_is_noticed(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    bool is_debug = neve_heap_fail_alloc_at(heap, 0) == NEVE_OK;
    neve_heap_destroy(heap);
    if (!is_debug)
        SKIP_BECAUSE("only builds with NEVE_DEBUG look for it");
    for (size_t between = 0; between < 30; between += 7)
        assert_child(free_twice, &between);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_told_apart),
        cmocka_unit_test(another_allocator_serves_the_rest),
        cmocka_unit_test(rare_sizes_are_left_to_the_other_allocator),
        cmocka_unit_test(blocks_of_all_arenas_are_known),
        cmocka_unit_test(the_inside_of_a_block_is_not_a_block),
        cmocka_unit_test(freeing_a_stranger_is_reported),
        cmocka_unit_test(resizing_a_stranger_is_reported),
        cmocka_unit_test(without_a_hook_it_prints_and_aborts),
        cmocka_unit_test(a_hook_that_returns_is_followed_by_abort),
        cmocka_unit_test(freeing_twice_is_noticed),
    };
    return cmocka_run_group_tests_name("heap foreign blocks", tests, NULL, NULL);
}
