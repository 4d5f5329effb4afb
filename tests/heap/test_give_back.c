/* SPDX-License-Identifier: MIT */
/*
 * Empty pools and arenas go back to the operating system, by themselves down
 * to what the heap retains, and all of them on neve_heap_trim. Measured at
 * the pages themselves (memory.h), beside what the statistics claim.
 */
#include "heap_support.h"

#include "heap/heap_internal.h"

#define TOTAL_BYTES ((size_t)64 << 20)
#define MIB ((size_t)1 << 20)

typedef struct crowd {
    neve_heap *heap;
    unsigned char **blocks;
    size_t *sizes;
    size_t *order;
    size_t count;
    page_set pages; /* all that the blocks lay on */
} crowd;

/* Fills a heap with 64 MB of blocks that are written from end to end. */
static void crowd_create(crowd *c, neve_domain domain, size_t smallest, size_t largest)
{
    uint64_t random = 3;
    memset(c, 0, sizeof *c);
    c->heap = heap_create_default();
    size_t room = TOTAL_BYTES / ((smallest + largest) / 2) + 4096;
    c->blocks = calloc(room, sizeof *c->blocks);
    c->sizes = calloc(room, sizeof *c->sizes);
    c->order = calloc(room, sizeof *c->order);
    assert_true(c->blocks != NULL && c->sizes != NULL && c->order != NULL);
    for (size_t sum = 0; sum < TOTAL_BYTES && c->count < room; c->count++) {
        size_t size = smallest + random_below(&random, largest - smallest + 1);
        c->blocks[c->count] = neve_heap_alloc(c->heap, domain, size);
        assert_non_null(c->blocks[c->count]);
        memset(c->blocks[c->count], 0x5A, size);
        page_set_add(&c->pages, c->blocks[c->count], size);
        c->sizes[c->count] = size;
        sum += size;
    }
    page_set_finish(&c->pages);
    random_order(&random, c->order, c->count);
}

static void crowd_destroy(crowd *c)
{
    neve_heap_destroy(c->heap);
    free(c->blocks);
    free(c->sizes);
    free(c->order);
    page_set_clear(&c->pages);
}

static size_t crowd_present_bytes(const crowd *c)
{
    int map = page_map_open();
    assert_true(map >= 0);
    size_t bytes = page_set_count_with(&c->pages, map, PAGE_PRESENT) * page_bytes();
    close(map);
    return bytes;
}

/* Frees 64 MB in shuffled order; at most 4 MiB may stay, after a trim nothing. */
static void free_shuffled(neve_domain domain, size_t smallest, size_t largest)
{
    if (is_emulated() && !runs_under_valgrind())
        SKIP_BECAUSE("the page map is the emulator's");
    crowd c;
    crowd_create(&c, domain, smallest, largest);
    neve_heap_stats full = heap_stats(c.heap);
    size_t resident_full = resident_bytes();
    assert_true(crowd_present_bytes(&c) >= TOTAL_BYTES);
    assert_true(full.arena_bytes >= TOTAL_BYTES);
    assert_true(full.cached_bytes <= TOTAL_BYTES / 10);

    for (size_t i = 0; i < c.count; i++)
        neve_heap_free(c.heap, c.blocks[c.order[i]]);
    neve_heap_stats empty = heap_stats(c.heap);
    size_t resident_empty = resident_bytes(), present = crowd_present_bytes(&c);
    print_message("# %zu..%zu bytes: %zu kB of %zu kB stay, %zu kB of side tables\n", smallest,
                  largest, present / 1024, TOTAL_BYTES / 1024, empty.side_table_bytes / 1024);
    assert_true(present <= 4 * MIB);
    assert_int_equal(empty.pools_used, 0);
    assert_true(empty.cached_bytes <= 4 * MIB);
    /* Honest: what is there and what is claimed differ by what nobody touched. */
    assert_true(empty.cached_bytes + MIB / 4 >= present);
    assert_true(empty.returned_bytes >= TOTAL_BYTES - 4 * MIB);
    assert_true(empty.arena_bytes <= full.arena_bytes);
    if (!IS_SANITIZED && !runs_under_valgrind()) /* heap, tables and all */
        assert_true(resident_full - resident_empty >= TOTAL_BYTES - 4 * MIB);

    size_t trimmed = neve_heap_trim(c.heap);
    neve_heap_stats bare = heap_stats(c.heap);
    assert_int_equal(bare.cached_bytes, 0);
    assert_int_equal(bare.pools_cached, 0);
    if (!runs_under_valgrind()) /* which puts mappings of its own there */
        assert_int_equal(crowd_present_bytes(&c), 0);
    assert_true(trimmed >= present);
    assert_int_equal(bare.returned_bytes, empty.returned_bytes + trimmed);
    assert_int_equal(neve_heap_trim(c.heap), 0);
    assert_heap_sound(c.heap);

    /* And the heap is none the worse for it. */
    for (size_t i = 0; i < 1000; i++) {
        void *block = neve_heap_alloc(c.heap, domain, smallest + i % (largest - smallest + 1));
        assert_non_null(block);
        memset(block, 1, smallest);
    }
    assert_heap_sound(c.heap);
    crowd_destroy(&c);
}

static void small_objects(void **state)
{
    (void)state;
    free_shuffled(NEVE_DOMAIN_OBJECT, 16, 128);
}

static void mixed_leaves(void **state)
{
    (void)state;
    free_shuffled(NEVE_DOMAIN_LEAF, 16, 512);
}

static void one_class_of_buffers(void **state)
{
    (void)state;
    free_shuffled(NEVE_DOMAIN_RAW, 64, 64);
}

static void a_heap_of_264_mb_leaves_4_behind(void **state)
{
    /* All of it counts: pools, tables and descriptors, without any trim. */
    (void)state;
    if (IS_SANITIZED || is_emulated())
        SKIP_BECAUSE("no figures for the process as a whole");
    enum { MANY = 1000000 };
    uint64_t random = 6;
    void **blocks = calloc(MANY, sizeof *blocks);
    size_t *order = calloc(MANY, sizeof *order);
    assert_true(blocks != NULL && order != NULL);
    memset(blocks, 1, MANY * sizeof *blocks); /* resident already */
    random_order(&random, order, MANY);
    neve_heap *heap = heap_create_default();
    size_t before = resident_bytes();
    for (size_t i = 0; i < MANY; i++) {
        size_t size = 16 + random_below(&random, 497);
        blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, size);
    }
    size_t full = resident_bytes();
    for (size_t i = 0; i < MANY; i++)
        neve_heap_free(heap, blocks[order[i]]);
    size_t after = resident_bytes();
    size_t stays = after > before ? after - before : 0;
    print_message("# of %zu kB %zu kB stay\n", (full - before) / 1024, stays / 1024);
    assert_true(full - before >= MANY * (size_t)250);
    assert_true(stays <= 4 * MIB);
    neve_heap_destroy(heap);
    free(blocks);
    free(order);
}

static void survivors_keep_their_pools_only(void **state)
{
    /* One block of a thousand stays: its pool stays, the others go. */
    (void)state;
    crowd c;
    crowd_create(&c, NEVE_DOMAIN_OBJECT, 200, 208);
    for (size_t i = 0; i < c.count; i++) {
        if (c.order[i] % 1000 != 0)
            neve_heap_free(c.heap, c.blocks[c.order[i]]);
    }
    neve_heap_trim(c.heap);
    neve_heap_stats stats = heap_stats(c.heap);
    size_t survivors = (c.count + 999) / 1000;
    assert_int_equal(stats.small_blocks[NEVE_DOMAIN_OBJECT], survivors);
    assert_true(stats.pools_used <= survivors + 1);
    size_t present = crowd_present_bytes(&c);
    print_message("# %zu survivors in %zu pools hold %zu kB\n", survivors, stats.pools_used,
                  present / 1024);
    if (!is_emulated() || runs_under_valgrind()) /* the page map is the emulator's */
        assert_true(present <= stats.pools_used * 16 * 1024);
    for (size_t i = 0; i < c.count; i += 1000) {
        for (size_t k = 0; k < c.sizes[i]; k++)
            assert_int_equal(c.blocks[i][k], 0x5A);
    }
    assert_heap_sound(c.heap);
    crowd_destroy(&c);
}

static void retained_memory_is_what_was_asked_for(void **state)
{
    (void)state;
    static const size_t wishes[] = {64 * 1024, 512 * 1024, 8 << 20};
    for (size_t w = 0; w < sizeof wishes / sizeof wishes[0]; w++) {
        neve_heap_options options = {.struct_size = sizeof options};
        options.retain_bytes = wishes[w];
        neve_heap *heap = NULL;
        assert_ok(neve_heap_create(&options, &heap));
        enum { COUNT = 65536 };
        static void *blocks[COUNT];
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 256);
            assert_non_null(blocks[i]);
            memset(blocks[i], 1, 256);
        }
        for (size_t i = 0; i < COUNT; i++)
            neve_heap_free(heap, blocks[i]);
        neve_heap_stats stats = heap_stats(heap);
        /* Whole arenas go at once, so that what stays may be 1 MiB less. */
        if (stats.cached_bytes > wishes[w] + MIB / 4 || stats.cached_bytes + MIB < wishes[w] / 2)
            fail_msg("asked to retain %zu kB, %zu kB are cached", wishes[w] / 1024,
                     stats.cached_bytes / 1024);
        neve_heap_destroy(heap);
    }
}

static void steady_churn_gives_nothing_back_in_vain(void **state)
{
    /* Allocating and freeing under what is retained must not call the system
     * all the time. */
    (void)state;
    neve_heap *heap = heap_create_default();
    enum { COUNT = 2048 }; /* 512 kB */
    void *blocks[COUNT];
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 256);
            assert_non_null(blocks[i]);
        }
        for (size_t i = 0; i < COUNT; i++)
            neve_heap_free(heap, blocks[i]);
    }
    assert_int_equal(heap_stats(heap).returned_bytes, 0);
    neve_heap_destroy(heap);
}

static void much_goes_back_in_steps(void **state)
{
    /* 128 MB are freed in order: half of a sixteenth would go at once. */
    (void)state;
    enum { SIZE = 512, COUNT = 128 * MIB / SIZE };
    neve_heap *heap = heap_create_default();
    void **blocks = calloc(COUNT, sizeof *blocks);
    assert_non_null(blocks);
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, SIZE);
        assert_non_null(blocks[i]);
    }
    size_t returned = 0, most = 0, steps = 0;
    for (size_t i = 0; i < COUNT; i++) {
        neve_heap_free(heap, blocks[i]);
        size_t now = heap->returned_bytes, step = now - returned; /* cheaper than all statistics */
        most = step > most ? step : most;
        steps += step > 0;
        returned = now;
    }
    print_message("# %zu MB went back in %zu steps of at most %zu kB\n", returned / MIB, steps,
                  most / 1024);
    assert_true(returned >= (128 - 4) * MIB);
    assert_true(most <= 3 * MIB); /* two, and the rest of an arena */
    free(blocks);
    neve_heap_destroy(heap);
}

static void side_tables_are_small(void **state)
{
    /* At most 1 byte of tables per 64-byte object when no collection runs. */
    (void)state;
    crowd c;
    crowd_create(&c, NEVE_DOMAIN_OBJECT, 64, 64);
    neve_heap_stats stats = heap_stats(c.heap);
    print_message("# %zu kB of tables are mapped for %zu objects of 64 bytes\n",
                  stats.side_table_bytes / 1024, c.count);
    /* Mapped, not touched: three bits per granule and the descriptors. */
    assert_true(stats.side_table_bytes <= 3 * c.count + MIB);
    crowd_destroy(&c);
}

static void what_is_needed_again_at_once_stays(void **state)
{
    /* 6 MB that a program fills and drops in turn: given back at first, then kept. */
    (void)state;
    enum { COUNT = 6 * 4096, SIZE = 256, ROUNDS = 60, QUIET = 3 };
    neve_heap *heap = heap_create_default();
    void **blocks = calloc(COUNT, sizeof *blocks);
    assert_non_null(blocks);
    size_t first = 0, returned = 0, quiet = 0;
    /* A machine that stalls for a second in between may need some rounds more. */
    for (size_t round = 0; round < ROUNDS && quiet < QUIET; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, SIZE);
            assert_non_null(blocks[i]);
        }
        for (size_t i = 0; i < COUNT; i++)
            neve_heap_free(heap, blocks[i]);
        size_t now = heap_stats(heap).returned_bytes;
        quiet = now == returned ? quiet + 1 : 0;
        returned = now;
        if (round == 0)
            first = now;
    }
    assert_true(first >= 4 * MIB);
    assert_int_equal(quiet, QUIET);
    assert_true(heap_stats(heap).cached_bytes <= 8 * MIB);
    assert_heap_sound(heap);
    assert_true(neve_heap_trim(heap) >= 4 * MIB);
    neve_heap_destroy(heap);
    free(blocks);
}

static void fill_and_drop(neve_heap *heap, void **blocks, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        assert_non_null(blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, size));
    for (size_t i = 0; i < count; i++)
        neve_heap_free(heap, blocks[i]);
}

static void the_swing_follows_what_is_in_use(void **state)
{
    /* 20 MB come and go beside 12 MB that stay: they are kept, until these go as well. */
    (void)state;
    enum { SIZE = 256, LIVE = 12 * 4096, COUNT = 20 * 4096, ROUNDS = 60, QUIET = 3 };
    neve_heap *heap = heap_create_default();
    void **live = calloc(LIVE, sizeof *live), **blocks = calloc(COUNT, sizeof *blocks);
    assert_true(live != NULL && blocks != NULL);
    for (size_t i = 0; i < LIVE; i++)
        assert_non_null(live[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, SIZE));
    fill_and_drop(heap, blocks, COUNT, SIZE);
    /* What was not needed again yet goes at once. */
    assert_true(heap_stats(heap).cached_bytes <= 2 * MIB);
    size_t peak = heap_stats(heap).arena_bytes, quiet = 0;
    for (size_t round = 0; round < ROUNDS && quiet < QUIET; round++) {
        size_t before = heap_stats(heap).returned_bytes;
        fill_and_drop(heap, blocks, COUNT, SIZE);
        quiet = heap_stats(heap).returned_bytes == before ? quiet + 1 : 0;
        if (peak < heap_stats(heap).arena_bytes)
            peak = heap_stats(heap).arena_bytes;
    }
    assert_int_equal(quiet, QUIET);
    assert_true(heap_stats(heap).cached_bytes >= 16 * MIB);
    assert_true(peak <= 36 * MIB);
    assert_heap_sound(heap);

    for (size_t i = 0; i < LIVE; i++)
        neve_heap_free(heap, live[i]);
    assert_true(heap_stats(heap).cached_bytes <= 9 * MIB);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
    free(live);
    free(blocks);
}

static void a_swing_that_is_over_is_forgotten(void **state)
{
    /* 20 MB came and went beside 12 MB that stay. After that little moves, less than would ask
     * for memory to go back, and nobody collects. */
    (void)state;
    enum { SIZE = 256, LIVE = 12 * 4096, COUNT = 20 * 4096, FEW = 512, ROUNDS = 10 };
    neve_heap *heap = heap_create_default();
    void **live = calloc(LIVE, sizeof *live), **blocks = calloc(COUNT, sizeof *blocks);
    assert_true(live != NULL && blocks != NULL);
    for (size_t i = 0; i < LIVE; i++)
        assert_non_null(live[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, SIZE));
    for (size_t round = 0; round < ROUNDS; round++)
        fill_and_drop(heap, blocks, COUNT, SIZE);
    assert_true(heap_stats(heap).cached_bytes >= 8 * MIB);
    for (size_t period = 0; period < 12; period++) {
        heap->period_ns = 0; /* long ago */
        for (size_t round = 0; round < 2 * ROUNDS; round++)
            fill_and_drop(heap, blocks, FEW, SIZE);
    }
    print_message("# %zu kB stay\n", heap_stats(heap).cached_bytes / 1024);
    assert_true(heap_stats(heap).cached_bytes <= 2 * MIB);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
    free(live);
    free(blocks);
}

/* Of two arenas the one with fewer free pools has none with memory: the other serves. */
static void memory_that_lies_idle_is_used_before_fresh_memory(void **state)
{
    (void)state;
    enum { BLOCKS = 16384 / NEVE_SMALL_MAX, POOLS = 100, IDLE = 60, AGAIN = 20 };
    static unsigned char *blocks[POOLS * BLOCKS];
    neve_heap *heap = heap_create_default();
    for (size_t i = 0; i < POOLS * BLOCKS; i++)
        assert_non_null(blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, NEVE_SMALL_MAX));
    assert_int_equal(heap_stats(heap).arenas, 2);
    /* 63 pools are in the first arena, and of the second 26 were never touched. */
    for (size_t i = 0; i < IDLE * BLOCKS; i++)
        neve_heap_free(heap, blocks[i]);
    assert_int_equal(heap_stats(heap).pools_cached, IDLE);
    assert_heap_sound(heap);

    for (size_t i = 0; i < AGAIN * BLOCKS; i++)
        assert_non_null(blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, NEVE_SMALL_MAX));
    assert_int_equal(heap_stats(heap).pools_cached, IDLE - AGAIN);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_needed_again_at_once_stays),
        cmocka_unit_test(the_swing_follows_what_is_in_use),
        cmocka_unit_test(a_swing_that_is_over_is_forgotten),
        cmocka_unit_test(small_objects),
        cmocka_unit_test(mixed_leaves),
        cmocka_unit_test(one_class_of_buffers),
        cmocka_unit_test(a_heap_of_264_mb_leaves_4_behind),
        cmocka_unit_test(survivors_keep_their_pools_only),
        cmocka_unit_test(retained_memory_is_what_was_asked_for),
        cmocka_unit_test(steady_churn_gives_nothing_back_in_vain),
        cmocka_unit_test(memory_that_lies_idle_is_used_before_fresh_memory),
        cmocka_unit_test(much_goes_back_in_steps),
        cmocka_unit_test(side_tables_are_small),
    };
    return cmocka_run_group_tests_name("heap giving back", tests, NULL, NULL);
}
