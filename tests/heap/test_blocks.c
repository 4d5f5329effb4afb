/* SPDX-License-Identifier: MIT */
/*
 * Tests of single blocks: sizes, alignment, contents, zeroing, growing and
 * shrinking, NULL, and arguments out of range.
 */
#include "heap_support.h"

static int create_heap(void **state)
{
    *state = heap_create_default();
    return 0;
}

static int destroy_heap(void **state)
{
    neve_heap_destroy(*state);
    return 0;
}

static size_t class_bytes(size_t size)
{
    return size == 0 ? NEVE_GRANULE : (size + NEVE_GRANULE - 1) / NEVE_GRANULE * NEVE_GRANULE;
}

static void every_size_in_every_domain(void **state)
{
    neve_heap *heap = *state;
    enum { LIMIT = 2001 };
    static unsigned char *blocks[NEVE_DOMAINS][LIMIT];
    for (int d = 0; d < NEVE_DOMAINS; d++) {
        for (size_t size = 0; size < LIMIT; size++) {
            unsigned char *block = neve_heap_alloc(heap, (neve_domain)d, size);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % NEVE_GRANULE, 0);
            assert_true(neve_heap_owns(heap, block));
            size_t usable = neve_heap_usable_size(heap, block);
            assert_true(usable >= size && usable >= 1);
            if (size <= NEVE_SMALL_MAX)
                assert_int_equal(usable, class_bytes(size));
            /* All that is said to be usable is ours to write. */
            pattern_fill(block, usable, size * 3 + (size_t)d * 100003);
            blocks[d][size] = block;
        }
    }
    assert_heap_sound(heap);
    for (int d = 0; d < NEVE_DOMAINS; d++) {
        for (size_t size = 0; size < LIMIT; size++) {
            unsigned char *block = blocks[d][size];
            assert_true(pattern_holds(block, neve_heap_usable_size(heap, block),
                                      size * 3 + (size_t)d * 100003));
            neve_heap_free(heap, block);
        }
    }
    assert_heap_sound(heap);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
    assert_int_equal(stats.pools_used, 0);
    assert_int_equal(stats.large_bytes, 0);
}

static void a_pool_of_each_class_fills_to_the_brim(void **state)
{
    neve_heap *heap = *state;
    enum { COUNT = 3000 }; /* more than two pools of the smallest class hold */
    static unsigned char *blocks[COUNT];
    for (size_t size = NEVE_GRANULE; size <= NEVE_SMALL_MAX; size += NEVE_GRANULE) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, size);
            assert_non_null(blocks[i]);
            pattern_fill(blocks[i], size, i * 1000 + size);
        }
        assert_heap_sound(heap);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(pattern_holds(blocks[i], size, i * 1000 + size));
            neve_heap_free(heap, blocks[i]);
        }
        assert_heap_sound(heap);
    }
}

static void freed_memory_is_used_again(void **state)
{
    neve_heap *heap = *state;
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 64);
    for (int i = 0; i < 200000; i++) {
        neve_heap_free(heap, block);
        block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 64);
        assert_non_null(block);
    }
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats.small_blocks[NEVE_DOMAIN_OBJECT], 1);
    assert_int_equal(stats.arenas, 1);
    neve_heap_free(heap, block);
}

/* Small programs use the first blocks of every class over and over: they are not to compete for
 * the same few sets of the processor's caches. */
static void first_blocks_lie_apart(void **state)
{
    neve_heap *heap = *state;
    enum { LINE = 64, PLACES = 4096 / LINE };
    unsigned at[PLACES] = {0}, most = 0;
    for (size_t size = NEVE_GRANULE; size <= NEVE_SMALL_MAX; size += NEVE_GRANULE) {
        unsigned place =
            (unsigned)((uintptr_t)neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size) / LINE % PLACES);
        if (++at[place] > most)
            most = at[place];
    }
    assert_true(most <= 4);
}

static void null_is_allowed(void **state)
{
    neve_heap *heap = *state;
    neve_heap_free(heap, NULL);
    neve_heap_destroy(NULL);
    assert_false(neve_heap_owns(heap, NULL));
    assert_int_equal(neve_heap_usable_size(heap, NULL), 0);
    void *block = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, NULL, 100);
    assert_non_null(block);
    assert_true(neve_heap_owns(heap, block));
    neve_heap_free(heap, block);
    assert_heap_sound(heap);
}

static void calloc_zeroes_recycled_memory(void **state)
{
    neve_heap *heap = *state;
    enum { COUNT = 300 };
    static unsigned char *blocks[COUNT];
    static const size_t sizes[] = {1,   15,  16,  17,  48,  100,  255,
                                   256, 496, 511, 512, 513, 4096, 70000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int d = 0; d < NEVE_DOMAINS; d++) {
            for (size_t i = 0; i < COUNT; i++) {
                blocks[i] = neve_heap_alloc(heap, (neve_domain)d, sizes[s]);
                assert_non_null(blocks[i]);
                memset(blocks[i], 0xA5, neve_heap_usable_size(heap, blocks[i]));
            }
            for (size_t i = 0; i < COUNT; i++)
                neve_heap_free(heap, blocks[i]);
            for (size_t i = 0; i < COUNT; i++) {
                blocks[i] = neve_heap_calloc(heap, (neve_domain)d, 1, sizes[s]);
                assert_non_null(blocks[i]);
                for (size_t k = 0; k < sizes[s]; k++) {
                    if (blocks[i][k] != 0)
                        fail_msg("byte %zu of a block of %zu is not zero", k, sizes[s]);
                }
            }
            for (size_t i = 0; i < COUNT; i++)
                neve_heap_free(heap, blocks[i]);
        }
    }
}

static void calloc_refuses_what_overflows(void **state)
{
    neve_heap *heap = *state;
    static const size_t pairs[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX, SIZE_MAX},
        {SIZE_MAX / 16 + 1, 16}, /* wraps to 0 */
        {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4)},
        {SIZE_MAX / 15, 16},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_null(neve_heap_calloc(heap, NEVE_DOMAIN_RAW, pairs[i][0], pairs[i][1]));
    /* Nothing of anything is a block all the same, as a size of 0 counts as 1. */
    void *none = neve_heap_calloc(heap, NEVE_DOMAIN_RAW, 0, 16);
    assert_non_null(none);
    neve_heap_free(heap, none);
    none = neve_heap_calloc(heap, NEVE_DOMAIN_RAW, SIZE_MAX, 0);
    assert_non_null(none);
    neve_heap_free(heap, none);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
}

static void sizes_that_no_system_has_are_refused(void **state)
{
    /* ASan's malloc aborts on such sizes by default. */
    if (IS_SANITIZED || runs_under_valgrind())
        SKIP_BECAUSE("the sanitizer's malloc does not return NULL");
    neve_heap *heap = *state;
    /* Half of all address space, less one byte, is to be had where that is 4 GiB. */
    static const size_t sizes[] = {SIZE_MAX,
                                   SIZE_MAX - 1,
                                   SIZE_MAX - 15,
                                   SIZE_MAX - 16,
                                   SIZE_MAX - 4096,
                                   SIZE_MAX / 2 + 1,
                                   SIZE_MAX / (sizeof(size_t) > 4 ? 2 : 1)};
    unsigned char *block = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 100);
    assert_non_null(block);
    pattern_fill(block, 100, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int d = 0; d < NEVE_DOMAINS; d++) {
            assert_null(neve_heap_alloc(heap, (neve_domain)d, sizes[i]));
            assert_null(neve_heap_calloc(heap, (neve_domain)d, 1, sizes[i]));
        }
        assert_null(neve_heap_realloc(heap, NEVE_DOMAIN_RAW, block, sizes[i]));
        assert_null(neve_heap_realloc(heap, NEVE_DOMAIN_RAW, NULL, sizes[i]));
        assert_true(pattern_holds(block, 100, 1));
    }
    neve_heap_free(heap, block);
    assert_heap_sound(heap);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
}

static void realloc_keeps_contents_between_all_sizes(void **state)
{
    neve_heap *heap = *state;
    static const size_t sizes[] = {0,   1,   8,    15,   16,   17,   32,    33,    64,    100, 128,
                                   240, 256, 257,  400,  496,  497,  511,   512,   513,   514, 528,
                                   600, 800, 1000, 1024, 4000, 4096, 10000, 65536, 200000};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (size_t from = 0; from < SIZES; from++) {
        for (size_t to = 0; to < SIZES; to++) {
            neve_domain domain = (neve_domain)((from + to) % NEVE_DOMAINS);
            unsigned char *block = neve_heap_alloc(heap, domain, sizes[from]);
            assert_non_null(block);
            pattern_fill(block, sizes[from], from * 77 + to);
            block = neve_heap_realloc(heap, domain, block, sizes[to]);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % NEVE_GRANULE, 0);
            assert_true(neve_heap_owns(heap, block));
            assert_true(neve_heap_usable_size(heap, block) >= sizes[to]);
            size_t common = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            assert_true(pattern_holds(block, common, from * 77 + to));
            neve_heap_stats stats = heap_stats(heap);
            assert_int_equal(stats_blocks(&stats), 1);
            neve_heap_free(heap, block);
        }
    }
    assert_heap_sound(heap);
}

static void realloc_in_place_where_the_class_is_the_same(void **state)
{
    neve_heap *heap = *state;
    for (size_t size = 1; size <= NEVE_SMALL_MAX; size++) {
        void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size);
        assert_non_null(block);
        void *same = neve_heap_realloc(heap, NEVE_DOMAIN_OBJECT, block, class_bytes(size));
        assert_ptr_equal(same, block);
        same = neve_heap_realloc(heap, NEVE_DOMAIN_OBJECT, block, size);
        assert_ptr_equal(same, block);
        neve_heap_free(heap, block);
    }
}

static void realloc_grows_byte_by_byte(void **state)
{
    neve_heap *heap = *state;
    unsigned char *block = NULL;
    for (size_t size = 1; size <= 3000; size++) {
        block = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, block, size);
        assert_non_null(block);
        block[size - 1] = (unsigned char)(size * 7);
        if (size % 97 != 0)
            continue;
        for (size_t i = 1; i <= size; i++)
            assert_int_equal(block[i - 1], (unsigned char)(i * 7));
    }
    for (size_t size = 3000; size > 0; size--) {
        block = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, block, size);
        assert_non_null(block);
        assert_int_equal(block[size - 1], (unsigned char)(size * 7));
        assert_int_equal(block[0], 7);
    }
    neve_heap_free(heap, block);
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
}

static void a_shrunk_block_gives_its_memory_back(void **state)
{
    /* A buffer that shrinks from 1 MB to nothing must not stay 1 MB large. */
    neve_heap *heap = *state;
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 1u << 20);
    assert_non_null(block);
    block = neve_heap_realloc(heap, NEVE_DOMAIN_RAW, block, 20);
    assert_non_null(block);
    neve_heap_stats stats = heap_stats(heap);
    assert_true(stats.large_bytes <= 4096);
    neve_heap_free(heap, block);
}

static void options_are_checked(void **state)
{
    (void)state;
    neve_heap *heap = NULL;
    neve_heap_options options = {.struct_size = sizeof options};
    assert_ok(neve_heap_create(&options, &heap));
    neve_heap_destroy(heap);
    heap = NULL;
    /* A caller whose struct is no struct at all. */
    options.struct_size = 0;
    assert_int_equal(neve_heap_create(&options, &heap), NEVE_EINVAL);
    assert_null(heap);
    options = (neve_heap_options){.struct_size = sizeof options};
    options.object_starts = 1u << 31; /* no block is that long */
    assert_int_equal(neve_heap_create(&options, &heap), NEVE_EINVAL);
    options.object_starts = 1u << 1 | 1u << 2;
    assert_int_equal(neve_heap_create(&options, NULL), NEVE_EINVAL);
    assert_ok(neve_heap_create(&options, &heap));
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 16);
    assert_non_null(block);
    neve_heap_free(heap, block);
    block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 512);
    assert_non_null(block);
    neve_heap_free(heap, block);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void heaps_do_not_leak_when_destroyed(void **state)
{
    (void)state;
    if (IS_SANITIZED || is_emulated())
        SKIP_BECAUSE("address space is not the program's own here");
    uint64_t random = 5;
    size_t before = 0;
    for (int round = 0; round < 60; round++) {
        neve_heap *heap = heap_create_default();
        for (int i = 0; i < 3000; i++) /* not freed: destroy does it */
            assert_non_null(neve_heap_alloc(heap, (neve_domain)(i % NEVE_DOMAINS),
                                            random_below(&random, 2000)));
        neve_heap_destroy(heap);
        if (round == 9)
            before = address_space_bytes();
    }
    size_t after = address_space_bytes();
    if (after > before + (1u << 20))
        fail_msg("50 heaps left %zu kB of address space", (after - before) / 1024);
}

static void statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal(neve_status_name(NEVE_OK), "NEVE_OK");
    assert_string_equal(neve_status_name(NEVE_ENOMEM), "NEVE_ENOMEM");
    assert_string_equal(neve_status_name(NEVE_ECORRUPT), "NEVE_ECORRUPT");
    assert_string_equal(neve_status_name((neve_status)4711), "NEVE_UNKNOWN");
    assert_string_equal(neve_status_message((neve_status)4711), "unknown status");
    for (int i = 0; i <= 5; i++)
        assert_true(strlen(neve_status_message((neve_status)i)) > 3);
    int parts[3];
    assert_int_equal(sscanf(neve_version(), "%d.%d.%d", &parts[0], &parts[1], &parts[2]), 3);
}

#define with_heap(test) cmocka_unit_test_setup_teardown(test, create_heap, destroy_heap)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_heap(every_size_in_every_domain),
        with_heap(a_pool_of_each_class_fills_to_the_brim),
        with_heap(freed_memory_is_used_again),
        with_heap(first_blocks_lie_apart),
        with_heap(null_is_allowed),
        with_heap(calloc_zeroes_recycled_memory),
        with_heap(calloc_refuses_what_overflows),
        with_heap(sizes_that_no_system_has_are_refused),
        with_heap(realloc_keeps_contents_between_all_sizes),
        with_heap(realloc_in_place_where_the_class_is_the_same),
        with_heap(realloc_grows_byte_by_byte),
        with_heap(a_shrunk_block_gives_its_memory_back),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(heaps_do_not_leak_when_destroyed),
        cmocka_unit_test(statuses_have_names),
    };
    return cmocka_run_group_tests_name("heap blocks", tests, NULL, NULL);
}
